//! Names of tags inside a layout.

use std::{fmt, str::FromStr};

/// A name for `org.opencontainers.image.ref.name`: words of letters and digits joined by `-`, `.`, `_`, `:`, `@`, `+` or
/// `--`, in parts joined by `/` (`annotations.md`). skopeo and umoci refuse others.
///
/// Tags of the first image have their tag as name; those of another image have `image:tag`, as two images of one
/// version have the same tags.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefName(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot name a tag: write at most {MOST} letters and digits, joined by single `-`, `.`, `_`, `:`, `@`, `+` or \
     `/`"
)]
pub struct InvalidRefName(String);

/// Longer than any reference that a registry takes (a repository of 255 and a tag of 128 characters).
const MOST: usize = 384;

impl RefName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RefName {
    type Err = InvalidRefName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let separators = |c: char| "-._:@+/".contains(c);
        // `--` counts as one separator; two of the others in a row leave an empty word between them.
        let words = text.replace("--", "-");
        let sound =
            words.split(separators).all(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric()));
        if sound && text.len() <= MOST { Ok(Self(text.to_owned())) } else { Err(InvalidRefName(text.to_owned())) }
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar_of_the_specification() {
        for name in ["v1.26.0-flannel-alpine3.15", "kube-proxy:v1.20.2-alpine3.15", "a--b", "a/b:c@d", "1.36.0-rc.1"] {
            assert_eq!(name.parse::<RefName>().unwrap().as_str(), name);
        }
        for name in ["", "-a", "a-", "a..b", "a---b-", "a b", "a\x1b[31m", "ä", "a//b", "../x", &"a".repeat(385)] {
            assert!(name.parse::<RefName>().is_err(), "{name}");
        }
    }
}
