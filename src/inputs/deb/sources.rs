//! The machine's own apt sources (sources.list(5)): where this machine reaches a Debian archive.
//!
//! `mirror = "system"` means that the project needs to name no mirror: whoever can run apt can build. Both forms are
//! read, one line per source and deb822 paragraphs, as pure text; only [`read`] looks at the machine. Nothing here is
//! trusted further than to be asked: what a mirror answers is checked by signature, whatever its address.

use std::path::Path;

use super::stanza::{MalformedLine, Stanza, stanzas};
use crate::host::files::{self, FileError};

/// One entry of a sources file: some suites at some addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Whether it has packages (`deb`) and source packages (`deb-src`).
    pub packages: bool,
    pub source_packages: bool,
    pub uris: Vec<String>,
    pub suites: Vec<String>,
    pub components: Vec<String>,
    /// Empty: every architecture.
    pub architectures: Vec<String>,
    pub signed_by: SignedBy,
    /// `Check-Valid-Until: no`, as for a snapshot of the archive.
    pub may_be_outdated: bool,
}

/// Which keys a source is to be signed with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SignedBy {
    /// Whatever keys the machine trusts.
    #[default]
    Any,
    /// Keyring files.
    Files(Vec<String>),
    /// Keys in ASCII armour, written into the source itself.
    Keys(String),
}

/// Where a suite can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Without a slash at the end.
    pub uri: String,
    pub signed_by: SignedBy,
    pub may_be_outdated: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("reading {file}: line {line}: {text:?} is no source: expected was `deb [options] uri suite components`")]
    Line { file: String, line: usize, text: String },
    #[error("reading {file}: {source}")]
    Stanza { file: String, source: MalformedLine },
    #[error("reading {file}: a source has no field {field}")]
    Lacks { file: String, field: &'static str },
    #[error(
        "finding a mirror for {suite}: {found}: set `mirror` to the address of a Debian mirror in the base definition, \
         or add one to /etc/apt/sources.list"
    )]
    NoMirror { suite: String, found: Found },
}

/// What was found instead of a mirror.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Found {
    #[error("this machine has no apt sources")]
    Nothing,
    #[error("this machine's apt sources name no Debian archive that has it (they name {})", .0.join(", "))]
    Others(Vec<String>),
}

/// Reads all sources of a machine whose apt is configured in `folder`, normally `/etc/apt`, in apt's order.
pub fn read(folder: &Path) -> Result<Vec<Source>, SourcesError> {
    const LIMIT: u64 = 1 << 20;
    let parts = folder.join("sources.list.d");
    let named = files::names(&parts)?.into_iter().map(|name| parts.join(name));
    let mut sources = Vec::new();
    for path in std::iter::once(folder.join("sources.list")).chain(named) {
        let is = |extension| path.extension().is_some_and(|found| found == extension);
        if !(is("list") || is("sources")) || files::size(&path).is_none() {
            continue;
        }
        let (file, text) = (path.display().to_string(), files::read_text(&path, LIMIT)?);
        sources.extend(if is("list") { parse_lines(&file, &text)? } else { parse_stanzas(&file, &text)? });
    }
    Ok(sources)
}

/// Reads a one-line file; `file` names it in errors.
pub fn parse_lines(file: &str, text: &str) -> Result<Vec<Source>, SourcesError> {
    let mut sources = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            let malformed = || SourcesError::Line { file: file.to_owned(), line: number + 1, text: line.to_owned() };
            sources.push(parse_line(line).ok_or_else(malformed)?);
        }
    }
    Ok(sources)
}

fn parse_line(line: &str) -> Option<Source> {
    let (kind, rest) = line.split_once(char::is_whitespace)?;
    let rest = rest.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_ascii_whitespace().map(str::to_owned);
    let (uri, suite) = (words.next()?, words.next()?);
    let mut source = Source {
        packages: kind == "deb",
        source_packages: kind == "deb-src",
        uris: vec![trim_slash(&uri)],
        suites: vec![suite],
        components: words.collect(),
        architectures: Vec::new(),
        signed_by: SignedBy::Any,
        may_be_outdated: false,
    };
    if !source.packages && !source.source_packages {
        return None;
    }
    for option in options.split_ascii_whitespace() {
        let (name, value) = option.split_once('=')?;
        let values = || value.split(',').map(str::to_owned);
        match name {
            "arch" => source.architectures = values().collect(),
            "signed-by" => source.signed_by = SignedBy::Files(values().collect()),
            "check-valid-until" => source.may_be_outdated = is_no(value),
            _ => {}
        }
    }
    Some(source)
}

/// Reads a deb822 file; `file` names it in errors. Entries with `Enabled: no` are left out.
pub fn parse_stanzas(file: &str, text: &str) -> Result<Vec<Source>, SourcesError> {
    let mut sources = Vec::new();
    for stanza in stanzas(text) {
        for field in stanza.fields() {
            field.map_err(|source| SourcesError::Stanza { file: file.to_owned(), source })?;
        }
        if stanza.fields().next().is_some() && !stanza.get("Enabled").is_some_and(is_no) {
            sources.push(parse_stanza(file, stanza)?);
        }
    }
    Ok(sources)
}

fn parse_stanza(file: &str, stanza: Stanza<'_>) -> Result<Source, SourcesError> {
    let words = |name: &str| -> Vec<String> {
        let lines = stanza.get(name).unwrap_or_default().lines().filter(|line| !line.starts_with('#'));
        lines.flat_map(str::split_ascii_whitespace).map(str::to_owned).collect()
    };
    let needed = |field: &'static str| {
        let words = words(field);
        if words.is_empty() { Err(SourcesError::Lacks { file: file.to_owned(), field }) } else { Ok(words) }
    };
    let types = needed("Types")?;
    Ok(Source {
        packages: types.iter().any(|kind| kind == "deb"),
        source_packages: types.iter().any(|kind| kind == "deb-src"),
        uris: needed("URIs")?.iter().map(|uri| trim_slash(uri)).collect(),
        suites: needed("Suites")?,
        components: words("Components"),
        architectures: words("Architectures"),
        signed_by: stanza.get("Signed-By").map_or(SignedBy::Any, signed_by),
        may_be_outdated: stanza.get("Check-Valid-Until").is_some_and(is_no),
    })
}

/// Paths, or a key whose lines are indented and whose empty lines are written as a dot.
fn signed_by(value: &str) -> SignedBy {
    if value.contains("-----BEGIN PGP PUBLIC KEY BLOCK-----") {
        let lines = value.lines().map(str::trim).map(|line| if line == "." { "" } else { line });
        return SignedBy::Keys(lines.collect::<Vec<_>>().join("\n") + "\n");
    }
    SignedBy::Files(value.split([',', ' ', '\n', '\t']).filter(|path| !path.is_empty()).map(str::to_owned).collect())
}

fn is_no(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "no" | "false" | "without" | "off" | "disable" | "0")
}

fn trim_slash(uri: &str) -> String {
    uri.trim_end_matches('/').to_owned()
}

/// Where a suite of Debian can be had according to these sources: first where they name that very suite, then where
/// they name another suite of the same archive (`debian`, or `debian-security`), because a mirror has all of them.
pub fn mirrors(sources: &[Source], suite: &str) -> Result<Vec<Mirror>, SourcesError> {
    let archive = if suite.ends_with("-security") { "debian-security" } else { "debian" };
    let reachable = |uri: &&String| uri.starts_with("http://") || uri.starts_with("https://");
    let mut found: Vec<Mirror> = Vec::new();
    for only_this_suite in [true, false] {
        for source in sources {
            let names_it = source.suites.iter().any(|named| named == suite);
            for uri in source.uris.iter().filter(reachable) {
                let fits = if only_this_suite { names_it } else { uri.rsplit('/').next() == Some(archive) };
                if fits && !found.iter().any(|mirror| mirror.uri == *uri) {
                    let (signed_by, may_be_outdated) = (source.signed_by.clone(), source.may_be_outdated);
                    found.push(Mirror { uri: uri.clone(), signed_by, may_be_outdated });
                }
            }
        }
    }
    if !found.is_empty() {
        return Ok(found);
    }
    let mut others: Vec<_> = sources.iter().flat_map(|source| source.uris.iter().cloned()).collect();
    others.sort();
    others.dedup();
    let found = if others.is_empty() { Found::Nothing } else { Found::Others(others) };
    Err(SourcesError::NoMirror { suite: suite.to_owned(), found })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "# comment\n\ndeb http://mirror.test/debian/ bookworm main contrib # why\n\
        deb [arch=amd64,arm64 signed-by=/k.gpg check-valid-until=no] https://mirror.test/sec bookworm-security main\n\
        deb-src http://mirror.test/debian bookworm main\n";
    const STANZAS: &str = "Types: deb deb-src\n# snapshot\nURIs: http://a.test/debian http://b.test/debian/\n\
        Suites: bookworm bookworm-updates\nComponents: main\nSigned-By: /a.gpg /b.asc\n\n\
        Enabled: no\nTypes: deb\n\n\
        types: deb\nuris: cdrom:[x]/ http://c.test/debian-security\nsuites: bookworm-security\nArchitectures: amd64\n\
        Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQ==\n -----END PGP PUBLIC KEY BLOCK-----\n";

    #[test]
    fn one_line_sources_are_read() {
        let sources = parse_lines("sources.list", LINES).unwrap();
        assert_eq!(sources.len(), 3);
        assert_eq!((sources[0].packages, sources[2].packages, sources[2].source_packages), (true, false, true));
        assert_eq!((sources[0].uris[0].as_str(), sources[0].components.len()), ("http://mirror.test/debian", 2));
        assert_eq!(sources[1].signed_by, SignedBy::Files(vec!["/k.gpg".to_owned()]));
        assert_eq!((sources[1].architectures.len(), sources[1].may_be_outdated), (2, true));
    }

    #[test]
    fn deb822_sources_are_read() {
        let sources = parse_stanzas("debian.sources", STANZAS).unwrap();
        assert_eq!(sources.len(), 2);
        assert_eq!(sources[0].uris, ["http://a.test/debian", "http://b.test/debian"]);
        assert_eq!(sources[0].signed_by, SignedBy::Files(vec!["/a.gpg".to_owned(), "/b.asc".to_owned()]));
        let SignedBy::Keys(keys) = &sources[1].signed_by else { panic!("{:?}", sources[1]) };
        assert!(keys.starts_with("-----BEGIN") && keys.contains("\n\nmQ==\n"), "{keys:?}");
    }

    #[test]
    fn a_mirror_is_found_by_suite_and_by_archive() {
        let mut sources = parse_stanzas("debian.sources", STANZAS).unwrap();
        let of = |sources: &[Source], suite| -> Vec<String> {
            mirrors(sources, suite).unwrap().into_iter().map(|mirror| mirror.uri).collect()
        };
        assert_eq!(of(&sources, "bookworm"), ["http://a.test/debian", "http://b.test/debian"]);
        assert_eq!(of(&sources, "trixie-backports"), ["http://a.test/debian", "http://b.test/debian"]);
        assert_eq!(of(&sources, "trixie-security"), ["http://c.test/debian-security"]);
        sources.remove(0);
        let error = mirrors(&sources, "bookworm").unwrap_err().to_string();
        assert!(error.contains("c.test") && error.contains("set `mirror`"), "{error}");
        let error = mirrors(&[], "bookworm").unwrap_err().to_string();
        assert!(error.contains("no apt sources") && error.contains("set `mirror`"), "{error}");
    }

    #[test]
    fn what_is_no_source_is_refused() {
        for line in
            ["deb", "deb http://a.test", "rpm http://a.test b c", "deb [arch=amd64 http://a.test b", "deb [x] u s"]
        {
            assert!(parse_lines("f", line).is_err(), "{line}");
        }
        for text in
            ["Types: deb\nURIs: http://a.test\n", "Types: deb\nSuites: a\n", "URIs: u\nSuites: s\n", "nothing\n"]
        {
            assert!(parse_stanzas("f", text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_machine_without_apt_has_no_sources() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), []);
        files::write(&folder.path().join("sources.list.d/a.list"), LINES.as_bytes(), 0o644).unwrap();
        files::write(&folder.path().join("sources.list.d/b.list.disabled"), b"nonsense", 0o644).unwrap();
        files::write(&folder.path().join("sources.list.d/c.sources"), STANZAS.as_bytes(), 0o644).unwrap();
        assert_eq!(read(folder.path()).unwrap().len(), 5);
    }
}
