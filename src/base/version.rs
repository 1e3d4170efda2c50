//! Versions of Kubernetes and of the components, and ranges of them.
//!
//! Versions are semantic versions (<https://semver.org>), as Kubernetes and its neighbours number their releases.
//! Ranges are read as people write them in matrix files, which is stricter than Cargo's reading: `1.20` is that minor
//! only, `1.20.2` that patch only, and comparisons joined by commas must all hold.

use std::{fmt, str::FromStr};

use super::text::serde_as_text;

/// A version such as `1.20.2` or `1.36.0-rc.1`, without a leading `v`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(semver::Version);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVersion {
    #[error("`{text}` is not a version: write it without the `v`, as `{without}`")]
    LeadingV { text: String, without: String },
    #[error("`{text}` is not a version: write major.minor.patch, for example `1.26.0`")]
    Malformed { text: String },
    #[error(
        "`{text}` is not a range of versions: write comparisons such as `>=1.24`, `>=1.19, <1.24`, a minor `1.20`, a \
         version `1.20.2`, or `*`"
    )]
    Range { text: String },
}

impl Version {
    pub const fn new(major: u64, minor: u64, patch: u64) -> Self {
        Self(semver::Version::new(major, minor, patch))
    }

    pub fn major(&self) -> u64 {
        self.0.major
    }

    pub fn minor(&self) -> u64 {
        self.0.minor
    }

    pub fn patch(&self) -> u64 {
        self.0.patch
    }

    /// `major.minor`, the unit in which Kubernetes changes what a node needs.
    pub fn minor_line(&self) -> String {
        format!("{}.{}", self.0.major, self.0.minor)
    }
}

impl FromStr for Version {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(without) = text.strip_prefix('v').filter(|rest| semver::Version::parse(rest).is_ok()) {
            return Err(InvalidVersion::LeadingV { text: text.to_owned(), without: without.to_owned() });
        }
        semver::Version::parse(text).map(Self).map_err(|_| InvalidVersion::Malformed { text: text.to_owned() })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A set of versions such as `>=1.19, <1.24`.
#[derive(Clone, PartialEq, Eq)]
pub struct VersionRange {
    text: String,
    comparisons: Vec<Comparison>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Exactly,
    AtLeast,
    Above,
    AtMost,
    Below,
}

/// One comparison. A bound without a patch stands for the whole minor: `<=1.24` holds for 1.24.17, `>1.24` does not.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Comparison {
    operator: Operator,
    major: u64,
    minor: u64,
    rest: Option<semver::Version>,
}

impl VersionRange {
    /// The range that holds every version.
    pub fn any() -> Self {
        Self { text: "*".to_owned(), comparisons: Vec::new() }
    }

    /// Whether it was written as the range that holds every version.
    pub const fn is_any(&self) -> bool {
        self.comparisons.is_empty()
    }

    /// Whether `version` is in the range. A pre-release counts as the release it leads to when the bound has no patch
    /// (`>=1.36` holds for 1.36.0-rc.1, whose flags are those of 1.36), and in its own order otherwise.
    pub fn contains(&self, version: &Version) -> bool {
        self.comparisons.iter().all(|comparison| comparison.holds(version))
    }
}

impl Comparison {
    fn parse(text: &str) -> Option<Self> {
        const OPERATORS: [(&str, Operator); 5] = [
            (">=", Operator::AtLeast),
            ("<=", Operator::AtMost),
            (">", Operator::Above),
            ("<", Operator::Below),
            ("=", Operator::Exactly),
        ];
        let (operator, bound) = OPERATORS
            .iter()
            .find_map(|(sign, operator)| text.strip_prefix(sign).map(|bound| (*operator, bound.trim())))
            .unwrap_or((Operator::Exactly, text));
        if let Ok(exact) = semver::Version::parse(bound) {
            return Some(Self { operator, major: exact.major, minor: exact.minor, rest: Some(exact) });
        }
        let (major, minor) = bound.split_once('.')?;
        // Leading zeroes and signs are refused by going through semver's own reading of numbers.
        let exact = semver::Version::parse(&format!("{major}.{minor}.0")).ok()?;
        exact.pre.is_empty().then_some(Self { operator, major: exact.major, minor: exact.minor, rest: None })
    }

    fn holds(&self, version: &Version) -> bool {
        let order = match &self.rest {
            Some(exact) => version.0.cmp_precedence(exact),
            None => (version.0.major, version.0.minor).cmp(&(self.major, self.minor)),
        };
        match self.operator {
            Operator::Exactly => order.is_eq(),
            Operator::AtLeast => order.is_ge(),
            Operator::Above => order.is_gt(),
            Operator::AtMost => order.is_le(),
            Operator::Below => order.is_lt(),
        }
    }
}

impl FromStr for VersionRange {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim() == "*" {
            return Ok(Self::any());
        }
        let comparisons = text.split(',').map(|part| Comparison::parse(part.trim())).collect::<Option<Vec<_>>>();
        match comparisons {
            Some(comparisons) => Ok(Self { text: text.trim().to_owned(), comparisons }),
            None => Err(InvalidVersion::Range { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

serde_as_text!(Version, VersionRange);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_what_its_reader_expects() {
        let cases = [
            ("*", "0.0.1", true),
            ("1.20", "1.20.15", true),
            ("1.20", "1.21.0", false),
            ("1.20.2", "1.20.2", true),
            ("1.20.2", "1.20.3", false),
            (">=1.24", "1.24.0", true),
            (">=1.24", "1.24.0-rc.1", true),
            (">=1.24.0", "1.24.0-rc.1", false),
            (">1.24", "1.24.9", false),
            (">1.24", "1.25.0", true),
            ("<=1.24", "1.24.17", true),
            ("<1.24", "1.23.17", true),
            ("<1.24", "1.24.0", false),
            (">=1.19, <1.24", "1.20.2", true),
            (">=1.19, <1.24", "1.18.0", false),
            ("=1.9", "1.9.1", true),
            ("<1.10", "1.9.1", true),
        ];
        for (range, version, expected) in cases {
            let range: VersionRange = range.parse().unwrap();
            assert_eq!(range.contains(&version.parse().unwrap()), expected, "{range} holds {version}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["", ">=", "1", "^1.20", "1.20 || 1.21", ">=1.24,", "01.2", "latest", "-1.2"] {
            assert!(text.parse::<VersionRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_leading_v_is_explained() {
        let error = "v1.26.0".parse::<Version>().unwrap_err();
        assert!(error.to_string().ends_with("as `1.26.0`"), "{error}");
        assert!("1.26".parse::<Version>().is_err());
    }
}
