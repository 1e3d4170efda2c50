//! `.PKGINFO`, what a package says of itself: lines of `field = value`, some of them repeated.
//!
//! Most of it is in the index too, and the index is what counts. Here is what only the package says.

use crate::base::Digest;

use super::dependency::{Dependency, InvalidDependency};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackageInfo {
    pub name: String,
    pub version: String,
    /// The SHA-256 of the compressed data part.
    pub data_hash: Option<Digest>,
    /// Packages whose files this one may take, as dependencies.
    pub replaces: Vec<String>,
    pub replaces_priority: u16,
    /// Patterns of folders; the package's trigger runs when something in one of them changes.
    pub triggers: Vec<String>,
}

/// Lines are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackageInfoError {
    #[error(".PKGINFO is not UTF-8")]
    NotText,
    #[error("line {line} of .PKGINFO: `{value}` is not {expected}")]
    BadValue { line: usize, value: String, expected: &'static str },
    #[error("line {line} of .PKGINFO: {error}")]
    Dependency { line: usize, error: InvalidDependency },
}

impl PackageInfo {
    pub fn parse(bytes: &[u8]) -> Result<Self, PackageInfoError> {
        let text = std::str::from_utf8(bytes).map_err(|_| PackageInfoError::NotText)?;
        let mut info = Self::default();
        for (line, text) in (1..).zip(text.lines()) {
            // apk passes over lines of any other form too.
            let Some((field, value)) = text.split_once(" = ").filter(|_| !text.starts_with('#')) else { continue };
            let bad = |expected| PackageInfoError::BadValue { line, value: value.chars().take(80).collect(), expected };
            match field {
                "pkgname" => value.clone_into(&mut info.name),
                "pkgver" => value.clone_into(&mut info.version),
                "datahash" => info.data_hash = Some(value.parse().map_err(|_| bad("a SHA-256"))?),
                "replaces_priority" => {
                    info.replaces_priority = value.parse().map_err(|_| bad("a priority below 65536"))?;
                }
                "replaces" => {
                    for dependency in Dependency::list(value) {
                        let dependency = dependency.map_err(|error| PackageInfoError::Dependency { line, error })?;
                        info.replaces.push(dependency.to_string());
                    }
                }
                "triggers" => {
                    let patterns = value.split(' ').filter(|pattern| !pattern.is_empty());
                    info.triggers = patterns.map(str::to_owned).collect();
                }
                _ => {}
            }
        }
        Ok(info)
    }

    pub fn replaces(&self) -> impl Iterator<Item = Dependency<'_>> {
        self.replaces.iter().filter_map(|text| Dependency::parse(text).ok())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_read_and_the_rest_is_passed_over() {
        let hash = Digest::of("data");
        let text = format!(
            "# a comment = 1\npkgname = a\npkgver = 1-r0\nreplaces = b c<2\nreplaces = d\nreplaces_priority = 3\n\
             triggers = /bin /lib/*\nsize = x\nodd\ndatahash = {}\n",
            hash.hex()
        );
        let info = PackageInfo::parse(text.as_bytes()).unwrap();
        assert_eq!((info.name.as_str(), info.version.as_str(), info.data_hash), ("a", "1-r0", Some(hash)));
        assert_eq!(info.replaces().map(|dependency| dependency.name).collect::<Vec<_>>(), ["b", "c", "d"]);
        assert_eq!((info.replaces_priority, info.triggers), (3, vec!["/bin".to_owned(), "/lib/*".to_owned()]));
    }

    #[test]
    fn a_bad_value_is_named_by_its_line() {
        for text in ["\ndatahash = 12", "\nreplaces = a b=", "\nreplaces_priority = -1", "\nreplaces_priority = 70000"]
        {
            let error = PackageInfo::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("line 2 of .PKGINFO"), "{error}");
        }
        assert_eq!(PackageInfo::parse(b"\xff"), Err(PackageInfoError::NotText));
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "((datahash|replaces|triggers|pkgver) ?=? ?\\PC{0,20}\n){0,6}") {
            let _ = PackageInfo::parse(text.as_bytes());
        }
    }
}
