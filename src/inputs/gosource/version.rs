//! Versions of Go, as `go version`, `GOROOT/VERSION`, `go.mod` and people write them.

use std::{fmt, str::FromStr};

/// A version such as `go1.19.8` or `go1.22rc1`. A release stands above its candidates; `go1.22` is `go1.22.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoVersion {
    major: u32,
    minor: u32,
    patch: u32,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Stage {
    Beta(u32),
    Candidate(u32),
    Release,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a version of Go: write it as `1.22` or `go1.22.5`")]
pub struct NotAGoVersion(pub String);

impl GoVersion {
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor, patch: 0, stage: Stage::Release }
    }

    /// Reads the words of `go version`: `go version go1.19.8 linux/amd64`, or `go version devel go1.23-4f0ab0c linux/amd64`.
    pub fn in_output(output: &str) -> Option<Self> {
        output.split_whitespace().find_map(|word| word.strip_prefix("go")?.parse().ok())
    }
}

/// What `go version` prints without its first words and without the machine's own platform, which a cross compiler's
/// results do not depend on: `go1.19.8`, or with what a vendor or an experiment adds `go1.22.5 X:nocoverageredesign`.
pub fn name_in_output(output: &str) -> &str {
    let output = output.trim();
    let name = output.strip_prefix("go version ").unwrap_or(output);
    match name.rsplit_once(' ') {
        Some((name, last)) if last.contains('/') => name,
        _ => name,
    }
}

impl FromStr for GoVersion {
    type Err = NotAGoVersion;

    /// What follows a `-` or a space (distribution suffixes, experiments) does not count.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text.trim()).ok_or_else(|| NotAGoVersion(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<GoVersion> {
    let text = text.strip_prefix("go").unwrap_or(text);
    let text = text.split(['-', ' ', '+']).next()?;
    let (major, rest) = text.split_once('.')?;
    let (minor, rest) = number(rest)?;
    let stage = |sign: &str| rest.strip_prefix(sign).and_then(whole);
    let (patch, stage) = match (stage("."), stage("rc"), stage("beta")) {
        (Some(patch), ..) => (patch, Stage::Release),
        (_, Some(candidate), _) => (0, Stage::Candidate(candidate)),
        (.., Some(beta)) => (0, Stage::Beta(beta)),
        _ if rest.is_empty() => (0, Stage::Release),
        _ => return None,
    };
    Some(GoVersion { major: whole(major)?, minor, patch, stage })
}

/// The number at the beginning of `text`, and what follows it.
fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

fn whole(text: &str) -> Option<u32> {
    number(text).filter(|(_, rest)| rest.is_empty()).map(|(number, _)| number)
}

impl fmt::Display for GoVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "go{}.{}", self.major, self.minor)?;
        match self.stage {
            Stage::Beta(number) => write!(f, "beta{number}"),
            Stage::Candidate(number) => write!(f, "rc{number}"),
            // Go's own first releases were called `go1.20`, since 1.21 they are `go1.21.0`.
            Stage::Release if self.patch == 0 && self.minor < 21 => Ok(()),
            Stage::Release => write!(f, ".{}", self.patch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> GoVersion {
        text.parse().unwrap()
    }

    #[test]
    fn versions_stand_in_the_order_of_their_releases() {
        let ordered =
            ["1.9.7", "go1.19beta1", "1.19rc2", "go1.19", "1.19.8", "go1.20-suse", "1.21rc1", "1.21.0", "2.0"];
        for pair in ordered.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
        }
        assert_eq!(version("1.19"), version("go1.19.0"));
        assert_eq!(version("go1.22.5 X:nocoverageredesign"), version("1.22.5"));
    }

    #[test]
    fn what_is_written_is_what_go_calls_itself() {
        for text in ["go1.19.8", "go1.20", "go1.21.0", "go1.22rc1", "go1.5beta2"] {
            assert_eq!(version(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in ["", "go", "1", "1.", "one.two", "1.2.x", "1.2.3.4", "1.99999999999", "v1.2", "1.22rc"] {
            assert!(text.parse::<GoVersion>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_machine_is_no_part_of_a_version() {
        let cases = [
            ("go version go1.19.8 linux/amd64\n", "go1.19.8"),
            ("go version go1.22.5 X:nocoverageredesign linux/arm64", "go1.22.5 X:nocoverageredesign"),
            ("go version devel go1.23-4f0ab0c Mon Jan 1 linux/amd64", "devel go1.23-4f0ab0c Mon Jan 1"),
            ("go1.19.8", "go1.19.8"),
            ("0.13.0", "0.13.0"),
        ];
        for (output, expected) in cases {
            assert_eq!(name_in_output(output), expected);
        }
    }

    #[test]
    fn the_version_is_found_in_what_go_prints() {
        let cases = [
            ("go version go1.19.8 linux/amd64\n", Some("go1.19.8")),
            ("go version devel go1.23-4f0ab0c Mon Jan 1 linux/amd64", Some("go1.23.0")),
            ("gccgo (GCC) 12", None),
            ("", None),
        ];
        for (output, expected) in cases {
            assert_eq!(
                GoVersion::in_output(output).map(|version| version.to_string()).as_deref(),
                expected,
                "{output}"
            );
        }
    }
}
