//! Sizes and counts for people. Tables and messages say MiB, as the published size table does (its "MB" are MiB).

use std::fmt;

/// A number of bytes, displayed with a binary unit: `22.94 MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&humansize::format_size(self.0, humansize::BINARY))
    }
}

/// A number of bytes in MiB with two decimals and no unit, for columns whose heading names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MiB(pub u64);

impl fmt::Display for MiB {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded in integers, so that no platform's floating point can print another last digit.
        let hundredths = (u128::from(self.0) * 100 + (1 << 19)) >> 20;
        f.pad(&format!("{}.{:02}", hundredths / 100, hundredths % 100))
    }
}

/// How many there are of something whose plural ends in `s`: `1 tag`, `15 tags`.
#[derive(Clone, Copy, Debug)]
pub struct Count(pub usize, pub &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, noun) = self;
        write!(f, "{count} {noun}{}", if *count == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mebibytes_are_rounded_to_hundredths() {
        let cases = [(0, "0.00"), (1 << 20, "1.00"), ((1 << 20) + 5243, "1.01"), (27_650_000, "26.37"), (5242, "0.00")];
        for (bytes, text) in cases {
            assert_eq!(MiB(bytes).to_string(), text, "{bytes}");
        }
    }

    #[test]
    fn one_is_no_plural() {
        let cases = [(0, "0 tags"), (1, "1 tag"), (2, "2 tags")];
        for (count, text) in cases {
            assert_eq!(Count(count, "tag").to_string(), text);
        }
    }
}
