//! One paragraph of a `Packages` index or of `var/lib/dpkg/status`: the fields that resolving, fetching and assembling
//! need.

use super::stanza::{MalformedLine, Stanza};
use crate::base::{Blob, Digest, digest::NotADigest};

/// What an index says of one version of a package. Relations stay text until they are needed.
#[derive(Clone, Debug)]
pub struct Package<'a> {
    pub name: &'a str,
    pub version: &'a str,
    /// `all` or an architecture.
    pub architecture: &'a str,
    /// Name and version of the source package, where they differ from the package's own.
    pub source: Option<&'a str>,
    pub priority: Priority,
    pub multi_arch: MultiArch,
    pub essential: bool,
    /// `Important: yes` or `Protected: yes`: as apt sees it, nearly as essential.
    pub protected: bool,
    pub relations: Relations<'a>,
    pub provides: &'a str,
    /// Where the package lies below the mirror's root.
    pub filename: &'a str,
    /// The digest and size in bytes of the `.deb`; `None` in a status file, which lists what is installed.
    pub archive: Option<Blob>,
    /// The whole paragraph.
    pub stanza: Stanza<'a>,
}

/// The relation fields; empty where a paragraph has none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Relations<'a> {
    pub pre_depends: &'a str,
    pub depends: &'a str,
    pub conflicts: &'a str,
    pub breaks: &'a str,
    pub recommends: &'a str,
    pub suggests: &'a str,
    pub replaces: &'a str,
    pub enhances: &'a str,
}

/// Policy 2.5. Ordered from what a system cannot do without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    Required,
    Important,
    Standard,
    Optional,
    #[default]
    Extra,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MultiArch {
    #[default]
    No,
    Same,
    Foreign,
    Allowed,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackageError {
    #[error("reading the package{}: {source}", named(package))]
    Line { package: String, source: MalformedLine },
    #[error("reading the package `{package}`: it has no field {field}")]
    Lacks { package: String, field: &'static str },
    #[error("reading the package {package}: its SHA256: {source}")]
    Digest { package: String, source: NotADigest },
    #[error("reading the package {package}: {value:?} is no number of bytes")]
    Size { package: String, value: String },
    #[error("reading the package {package}: its path `{path}` leaves the mirror")]
    Path { package: String, path: String },
    #[error("reading the package {package}: its {field} {value:?} is not one word")]
    NotAWord { package: String, field: &'static str, value: String },
    #[error("reading a package: {0:?} is no package's name")]
    Name(String),
}

/// ` NAME`, or nothing for a paragraph that has not said yet whose it is.
fn named(package: &str) -> String {
    if package.is_empty() { String::new() } else { format!(" {package}") }
}

impl<'a> Package<'a> {
    pub fn parse(stanza: Stanza<'a>) -> Result<Self, PackageError> {
        let mut package = Self::empty(stanza);
        let (mut sha256, mut size) = (None, None);
        for field in stanza.fields() {
            let (name, value) =
                field.map_err(|source| PackageError::Line { package: package.name.to_owned(), source })?;
            match name {
                "SHA256" => sha256 = Some(value),
                "Size" => size = Some(value),
                name => package.set(name, value),
            }
        }
        package.check()?;
        let of = || package.name.to_owned();
        package.archive = match (sha256, size) {
            (None, None) => None,
            (None, Some(_)) => return Err(PackageError::Lacks { package: of(), field: "SHA256" }),
            (Some(_), None) => return Err(PackageError::Lacks { package: of(), field: "Size" }),
            (Some(sha256), Some(size)) => Some(Blob {
                digest: sha256.parse::<Digest>().map_err(|source| PackageError::Digest { package: of(), source })?,
                size: size.parse().map_err(|_| PackageError::Size { package: of(), value: size.to_owned() })?,
            }),
        };
        Ok(package)
    }

    const fn empty(stanza: Stanza<'a>) -> Self {
        Self {
            name: "",
            version: "",
            architecture: "",
            source: None,
            priority: Priority::Extra,
            multi_arch: MultiArch::No,
            essential: false,
            protected: false,
            relations: Relations {
                pre_depends: "",
                depends: "",
                conflicts: "",
                breaks: "",
                recommends: "",
                suggests: "",
                replaces: "",
                enhances: "",
            },
            provides: "",
            filename: "",
            archive: None,
            stanza,
        }
    }

    /// Archive software writes the names of fields in one way only, so they are compared as they are.
    fn set(&mut self, field: &str, value: &'a str) {
        let yes = value == "yes";
        match field {
            "Package" => self.name = value,
            "Version" => self.version = value,
            "Architecture" => self.architecture = value,
            "Source" => self.source = Some(value),
            "Essential" => self.essential = yes,
            "Important" | "Protected" => self.protected |= yes,
            "Filename" => self.filename = value,
            "Provides" => self.provides = value,
            "Pre-Depends" => self.relations.pre_depends = value,
            "Depends" => self.relations.depends = value,
            "Conflicts" => self.relations.conflicts = value,
            "Breaks" => self.relations.breaks = value,
            "Recommends" => self.relations.recommends = value,
            "Suggests" => self.relations.suggests = value,
            "Replaces" => self.relations.replaces = value,
            "Enhances" => self.relations.enhances = value,
            "Priority" => {
                self.priority = match value {
                    "required" => Priority::Required,
                    "important" => Priority::Important,
                    "standard" => Priority::Standard,
                    "optional" => Priority::Optional,
                    _ => Priority::Extra,
                }
            }
            "Multi-Arch" => {
                self.multi_arch = match value {
                    "same" => MultiArch::Same,
                    "foreign" => MultiArch::Foreign,
                    "allowed" => MultiArch::Allowed,
                    _ => MultiArch::No,
                }
            }
            _ => {}
        }
    }

    fn check(&self) -> Result<(), PackageError> {
        let lacks = |field| Err(PackageError::Lacks { package: self.name.to_owned(), field });
        if self.name.is_empty() {
            return lacks("Package");
        }
        // Names become lines of dpkg's record and names of files, so no other character may be in them.
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_');
        if !self.name.chars().all(known) || self.name.starts_with('.') {
            return Err(PackageError::Name(self.name.to_owned()));
        }
        if self.version.is_empty() {
            return lacks("Version");
        }
        if self.architecture.is_empty() {
            return lacks("Architecture");
        }
        // They become parts of URLs, of messages and of dpkg's record, each in one line.
        let is_word = |value: &str| !value.contains(|c: char| c.is_whitespace() || c.is_control());
        let words = [("Version", self.version), ("Architecture", self.architecture), ("Filename", self.filename)];
        if let Some((field, value)) = words.into_iter().find(|(_, value)| !is_word(value)) {
            let value = value.chars().take(200).collect();
            return Err(PackageError::NotAWord { package: self.name.to_owned(), field, value });
        }
        if self.filename.starts_with('/') || self.filename.split('/').any(|part| part == "..") {
            return Err(PackageError::Path { package: self.name.to_owned(), path: self.filename.to_owned() });
        }
        Ok(())
    }

    /// Name and version of the source package that this was built from.
    pub fn source(&self) -> (&'a str, &'a str) {
        let source = self.source.unwrap_or(self.name);
        match source.split_once(" (") {
            Some((name, version)) => (name, version.trim_end_matches(')')),
            None => (source, self.version),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::deb::stanza::stanzas;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse(text: &str) -> Result<Package<'_>, PackageError> {
        Package::parse(stanzas(text).next().unwrap())
    }

    #[test]
    fn a_package_is_read_with_what_is_needed() {
        let text = format!(
            "Package: b\nSource: a (1.0)\nVersion: 1.0+b1\nArchitecture: amd64\nEssential: yes\nPriority: required\n\
             Multi-Arch: foreign\nPre-Depends: c\nDepends: d (>= 1),\n e\nFilename: pool/b.deb\nSize: 7\n\
             SHA256: {EMPTY}\n"
        );
        let package = parse(&text).unwrap();
        assert_eq!((package.source(), package.essential, package.priority), (("a", "1.0"), true, Priority::Required));
        assert_eq!((package.relations.pre_depends, package.relations.depends), ("c", "d (>= 1),\n e"));
        assert_eq!(package.archive.map(|archive| archive.size), Some(7));
    }

    #[test]
    fn a_package_that_cannot_be_trusted_is_refused() {
        let good = "Package: b\nVersion: 1\nArchitecture: all\n";
        assert!(parse(good).is_ok());
        for (bad, reason) in [
            ("Version: 1\nArchitecture: all\n", "Package"),
            ("Package: b\nArchitecture: all\n", "Version"),
            ("Package: b\nVersion: 1\n", "Architecture"),
            (&format!("{good}Size: 1\n"), "SHA256"),
            (&format!("{good}SHA256: {EMPTY}\n"), "Size"),
            (&format!("{good}Size: -1\nSHA256: {EMPTY}\n"), "number"),
            (&format!("{good}Size: 1\nSHA256: 00\n"), "digest"),
            (&format!("{good}Filename: ../b.deb\n"), "leaves"),
            (&format!("{good}Filename: /b.deb\n"), "leaves"),
            ("Package: ../b\nVersion: 1\nArchitecture: all\n", "name"),
            ("Package: b\nVersion 1\nArchitecture: all\n", "line"),
            ("Package: b\nVersion: 1\n 2\nArchitecture: all\n", "not one word"),
            ("Package: b\nVersion: 1\x1b[31m\nArchitecture: all\n", "not one word"),
            (&format!("{good}Filename: pool/b\n c.deb\n"), "not one word"),
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains(reason), "{bad}: {error}");
        }
    }
}
