//! The order of Debian versions, as Policy 5.6.12 and `dpkg --compare-versions` define it.
//!
//! Versions stay the text that the index has: they are compared where they stand, some hundred thousand of them, and
//! never taken apart for anything else. That is why this is a function over `&str` and no type that owns its parts.

use std::cmp::Ordering;

/// A comparison in a relation between packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`, and the old `<`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`, and the old `>`
    LaterOrEqual,
    /// `>>`
    Later,
}

impl Operator {
    pub fn parse(sign: &str) -> Option<Self> {
        Some(match sign {
            "<<" => Self::Earlier,
            "<=" | "<" => Self::EarlierOrEqual,
            "=" | "==" => Self::Equal,
            ">=" | ">" => Self::LaterOrEqual,
            ">>" => Self::Later,
            _ => return None,
        })
    }

    pub const fn sign(self) -> &'static str {
        match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        }
    }

    /// Whether `version <operator> bound`.
    pub fn holds(self, version: &str, bound: &str) -> bool {
        let order = compare(version, bound);
        match self {
            Self::Earlier => order.is_lt(),
            Self::EarlierOrEqual => order.is_le(),
            Self::Equal => order.is_eq(),
            Self::LaterOrEqual => order.is_ge(),
            Self::Later => order.is_gt(),
        }
    }
}

/// Compares `[epoch:]upstream[-revision]`. Any text has a place in the order, so nothing in an index can fail here.
pub fn compare(a: &str, b: &str) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let (epoch_a, upstream_a, revision_a) = parts(a);
    let (epoch_b, upstream_b, revision_b) = parts(b);
    compare_part(epoch_a, epoch_b)
        .then_with(|| compare_part(upstream_a, upstream_b))
        .then_with(|| compare_part(revision_a, revision_b))
}

/// Epoch, upstream version and revision. A missing epoch or revision counts as zero, which in this order is the same as
/// the empty text.
fn parts(version: &str) -> (&str, &str, &str) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

/// Runs of other characters and runs of digits by turns, the latter as numbers.
fn compare_part(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        let (text_a, rest_a) = a.split_at(run(a, |c| !c.is_ascii_digit()));
        let (text_b, rest_b) = b.split_at(run(b, |c| !c.is_ascii_digit()));
        let order = compare_text(text_a, text_b);
        let (number_a, rest_a) = rest_a.split_at(run(rest_a, u8::is_ascii_digit));
        let (number_b, rest_b) = rest_b.split_at(run(rest_b, u8::is_ascii_digit));
        let order = order.then_with(|| compare_number(number_a, number_b));
        if order.is_ne() {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    Ordering::Equal
}

fn run(bytes: &[u8], belongs: impl Fn(&u8) -> bool) -> usize {
    bytes.iter().position(|c| !belongs(c)).unwrap_or(bytes.len())
}

/// `~` before the end, the end before letters, letters before everything else.
fn compare_text(a: &[u8], b: &[u8]) -> Ordering {
    let weight = |c: Option<&u8>| match c {
        Some(b'~') => -1,
        None => 0,
        Some(c) if c.is_ascii_alphabetic() => i32::from(*c),
        Some(c) => i32::from(*c) + 256,
    };
    (0..a.len().max(b.len()))
        .map(|i| weight(a.get(i)).cmp(&weight(b.get(i))))
        .find(|o| o.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Numbers of any length: without leading zeroes the longer one is larger.
fn compare_number(a: &[u8], b: &[u8]) -> Ordering {
    let significant = |digits: &'_ [u8]| run(digits, |c| *c == b'0');
    let (a, b) = (&a[significant(a)..], &b[significant(b)..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_stand_in_debians_order() {
        let ordered = [
            "0~~",
            "0~",
            "0",
            "0.0~rc1",
            "0.0",
            "0.0+a",
            "0.9-1",
            "0.9-1+b1",
            "0.10",
            "1~rc1-1",
            "1",
            "1-0ubuntu1",
            "1-1~bpo12+1",
            "1-1",
            "1-1.1",
            "1a",
            "1+dfsg",
            "1.0",
            "1.0-1",
            "1.0.1",
            "1.20.5+really1.20.2-1",
            "9",
            "99999999999999999999999",
            "1:0",
            "1:0.1",
            "2:0",
        ];
        for (i, a) in ordered.iter().enumerate() {
            for (j, b) in ordered.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} and {b}");
            }
        }
        for (a, b) in [("1.0", "1.00"), ("0:1", "1"), ("1-0", "1"), ("01", "1"), ("a", "a0")] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} and {b}");
        }
    }

    #[test]
    fn operators_hold_as_their_signs_say() {
        for (version, operator, bound, expected) in [
            ("1.0", "<<", "1.0", false),
            ("1.0", "<=", "1.0", true),
            ("1.0", "=", "1.0-0", true),
            ("1.0-1", ">=", "1.0", true),
            ("1.0~", ">>", "1.0", false),
            ("1.0", "<", "1.0", true),
        ] {
            assert_eq!(
                Operator::parse(operator).unwrap().holds(version, bound),
                expected,
                "{version} {operator} {bound}"
            );
        }
        assert_eq!(Operator::parse("!="), None);
    }
}
