//! Source packages: the tarballs that a `Sources` index vouches for.

use super::stanza::{MalformedLine, Stanza, stanzas};
use crate::base::{Blob, digest::NotADigest};

/// One version of a source package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePackage {
    pub name: String,
    pub version: String,
    /// Below the mirror's root.
    pub folder: String,
    pub files: Vec<SourceFile>,
}

/// A file of a source package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    pub name: String,
    pub blob: Blob,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourcePackageError {
    #[error("reading the source package {package}: {source}")]
    Line { package: String, source: MalformedLine },
    #[error("reading the source package {package}: it has no field {field}")]
    Lacks { package: String, field: &'static str },
    #[error("reading the source package {package}: `{line}` is no line of digest, size and file name")]
    File { package: String, line: String },
    #[error("reading the source package {package}: {source}")]
    Digest { package: String, source: NotADigest },
    #[error(
        "no suite has the source package {package}{}: there is {}", version_of(version.as_deref()), there_is(versions)
    )]
    Missing { package: String, version: Option<String>, versions: Vec<String> },
}

/// The version of a source package in the indexes, or the latest where none is asked for.
pub fn find(indexes: &[&str], package: &str, version: Option<&str>) -> Result<SourcePackage, SourcePackageError> {
    let named = |stanza: &Stanza<'_>| stanza.get("Package") == Some(package);
    let stanzas: Vec<_> = indexes.iter().flat_map(|index| stanzas(index)).filter(named).collect();
    let version_of = |stanza: &Stanza<'_>| stanza.get("Version").unwrap_or_default().to_owned();
    let latest = stanzas
        .iter()
        .filter(|stanza| version.is_none_or(|version| stanza.get("Version") == Some(version)))
        .max_by(|a, b| super::version::compare(&version_of(a), &version_of(b)));
    match latest {
        Some(stanza) => SourcePackage::parse(*stanza),
        None => Err(SourcePackageError::Missing {
            package: package.to_owned(),
            version: version.map(str::to_owned),
            versions: stanzas.iter().map(version_of).collect(),
        }),
    }
}

/// All versions of a source package in an index.
pub fn all(index: &str, package: &str) -> Result<Vec<SourcePackage>, SourcePackageError> {
    let named = stanzas(index).filter(|stanza| stanza.get("Package") == Some(package));
    named.map(SourcePackage::parse).collect()
}

impl SourcePackage {
    /// Whether this is the version, which may be given without epoch and Debian's revision.
    pub fn is_version(&self, version: &str) -> bool {
        let upstream = self.version.split_once(':').map_or(self.version.as_str(), |(_, rest)| rest);
        let upstream = upstream.rsplit_once('-').map_or(upstream, |(upstream, _)| upstream);
        version == self.version || version == upstream
    }

    /// By version, as Debian orders them.
    pub fn compare(&self, other: &Self) -> std::cmp::Ordering {
        super::version::compare(&self.version, &other.version)
    }

    fn parse(stanza: Stanza<'_>) -> Result<Self, SourcePackageError> {
        let package = stanza.get("Package").unwrap_or_default().to_owned();
        for field in stanza.fields() {
            field.map_err(|source| SourcePackageError::Line { package: package.clone(), source })?;
        }
        let need = |field: &'static str| {
            stanza.get(field).ok_or_else(|| SourcePackageError::Lacks { package: package.clone(), field })
        };
        let (version, folder) = (need("Version")?.to_owned(), need("Directory")?.to_owned());
        let lines = need("Checksums-Sha256")?.lines().filter(|line| !line.trim().is_empty());
        let files = lines.map(|line| file(&package, line)).collect::<Result<_, _>>()?;
        if folder.starts_with('/') || folder.split('/').any(|part| part == "..") {
            return Err(SourcePackageError::Lacks { package, field: "Directory below the mirror" });
        }
        Ok(Self { name: package, version, folder, files })
    }

    /// The upstream tarballs: all tarballs but Debian's own changes, and no signatures.
    pub fn tarballs(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter().filter(|file| is_tarball(&file.name))
    }
}

fn file(package: &str, line: &str) -> Result<SourceFile, SourcePackageError> {
    let malformed = || SourcePackageError::File { package: package.to_owned(), line: line.trim().to_owned() };
    let mut words = line.split_ascii_whitespace();
    let (Some(digest), Some(size), Some(name), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err(malformed());
    };
    if name.contains('/') || name.starts_with('.') {
        return Err(malformed());
    }
    let digest = digest.parse().map_err(|source| SourcePackageError::Digest { package: package.to_owned(), source })?;
    Ok(SourceFile { name: name.to_owned(), blob: Blob { digest, size: size.parse().map_err(|_| malformed())? } })
}

fn is_tarball(name: &str) -> bool {
    let signature = std::path::Path::new(name).extension().is_some_and(|extension| extension == "asc");
    name.contains(".tar.") && !name.contains(".debian.tar.") && !signature
}

fn version_of(version: Option<&str>) -> String {
    version.map_or(String::new(), |version| format!(" {version}"))
}

fn there_is(versions: &[String]) -> String {
    if versions.is_empty() { "none of this name".to_owned() } else { versions.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn index(version: &str) -> String {
        format!(
            "Package: k\nVersion: {version}\nDirectory: pool/k\nChecksums-Sha256:\n {EMPTY} 1 k_{version}.dsc\n \
             {EMPTY} 2 k_{version}.orig.tar.xz\n {EMPTY} 3 k_{version}.debian.tar.xz\n\nPackage: l\nVersion: 1\n\n"
        )
    }

    #[test]
    fn the_latest_version_or_the_one_asked_for_is_found() {
        let (old, new) = (index("1.9"), index("1.10"));
        let indexes = [new.as_str(), &old];
        assert_eq!(find(&indexes, "k", None).unwrap().version, "1.10");
        let found = find(&indexes, "k", Some("1.9")).unwrap();
        assert_eq!(found.tarballs().map(|file| file.blob.size).collect::<Vec<_>>(), [2]);
        let error = find(&indexes, "k", Some("2")).unwrap_err().to_string();
        assert!(error.contains("1.10, 1.9"), "{error}");
        assert!(find(&indexes, "m", None).is_err());
        let revised = index("1:1.9+really1.8-2");
        let all = all(&revised, "k").unwrap();
        assert!(all[0].is_version("1.9+really1.8") && all[0].is_version("1:1.9+really1.8-2"));
        assert!(!all[0].is_version("1.9") && !all[0].is_version("1.9+really1.8-2"));
    }

    #[test]
    fn a_source_package_that_cannot_be_trusted_is_refused() {
        let good = index("1");
        for bad in [
            good.replace("Directory: pool/k", "Directory: ../k"),
            good.replace("Directory: pool/k", "Directory: /k"),
            good.replace("Directory: pool/k\n", ""),
            good.replace("k_1.orig", "../k_1.orig"),
            good.replace(" 2 ", " two "),
            good.replace(EMPTY, "00"),
            good.replace("Checksums-Sha256", "Files"),
        ] {
            assert!(find(&[&bad], "k", None).is_err(), "{bad}");
        }
    }
}
