//! The machine's own apt sources (sources.list(5)): where this machine reaches a Debian archive.
//!
//! `mirror = "system"` means that the project needs to name no mirror: whoever can run apt can build. Both forms are
//! read, one line per source and deb822 paragraphs, as pure text; only [`read`] looks at the machine. Nothing here is
//! trusted further than to be asked: what a mirror answers is checked by signature, whatever its address.
//!
//! Beside `http` and `https`, the methods of apt that need nothing but this machine's files are understood: `file:`,
//! and `mirror+file:`, a list of mirrors in a file, which is how the cloud images of Debian are set up.

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
    /// `Check-Valid-Until: no` or `Check-Date: no`, as for a snapshot of the archive.
    pub may_be_outdated: bool,
}

/// Which keys a source is to be signed with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SignedBy {
    /// Whatever keys the machine trusts.
    #[default]
    Any,
    /// Paths of keyring files, and fingerprints of the keys among them that count.
    Listed(Vec<String>),
    /// Keys in ASCII armour, written into the source itself.
    Keys(String),
}

/// A suite that is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What mirrors call the archive: `debian` or `debian-security`, the last part of their addresses.
    pub archive: &'a str,
    pub suite: &'a str,
    pub components: &'a [String],
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
    #[error("reading {file}: line {line}: {text:?} is no source: write `deb [options] uri suite components`")]
    Line { file: String, line: usize, text: String },
    #[error("reading {file}: {source}")]
    Stanza { file: String, source: MalformedLine },
    #[error("reading {file}: a source has no field {field}")]
    Lacks { file: String, field: &'static str },
    #[error(
        "finding a mirror for {suite}: {found}: set `mirror` to the address of a Debian mirror in the base definition, \
         name one with `--mirror`, or add one to /etc/apt/sources.list"
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
    #[error(
        "this machine's apt reaches it by a method that kletimg does not have ({}): it has http, https, file, copy and \
         mirror+file", .0.join(", ")
    )]
    OtherMethods(Vec<String>),
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
    for source in &mut sources {
        let mut uris = Vec::new();
        for uri in &source.uris {
            match local_path(uri, "mirror+file:") {
                Some(list) => uris.extend(parse_mirror_list(&files::read_text(Path::new(list), LIMIT)?)),
                None => uris.push(uri.clone()),
            }
        }
        source.uris = uris;
    }
    Ok(sources)
}

/// Reads a list of mirrors (apt-transport-mirror(1)): a URI on each line, with a priority behind a tab where some are to
/// be tried before others. Those without one are tried last.
fn parse_mirror_list(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut mirrors: Vec<(u32, String)> = lines
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let uri = words.next()?;
            let priority = words.find_map(|word| word.strip_prefix("priority:")?.parse().ok());
            Some((priority.unwrap_or(u32::MAX), trim_slash(uri)))
        })
        .collect();
    mirrors.sort_by_key(|(priority, _)| *priority);
    mirrors.into_iter().map(|(_, uri)| uri).collect()
}

/// The path of a URI such as `file:/srv/debian` or `file:///srv/debian`.
fn local_path<'u>(uri: &'u str, method: &str) -> Option<&'u str> {
    let path = uri.strip_prefix(method)?;
    Some(path.strip_prefix("//").unwrap_or(path)).filter(|path| path.starts_with('/'))
}

/// A URI of apt as a URL that can be fetched from; `None` for methods of apt that are not understood.
fn reachable(uri: &str) -> Option<String> {
    if uri.starts_with("http://") || uri.starts_with("https://") {
        return Some(uri.to_owned());
    }
    local_path(uri, "file:").or_else(|| local_path(uri, "copy:")).map(|path| format!("file://{path}"))
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
            "signed-by" => source.signed_by = SignedBy::Listed(values().collect()),
            "check-valid-until" | "check-date" => source.may_be_outdated |= is_no(value),
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
        may_be_outdated: ["Check-Valid-Until", "Check-Date"].iter().any(|name| stanza.get(name).is_some_and(is_no)),
    })
}

/// Paths, or a key whose lines are indented and whose empty lines are written as a dot.
fn signed_by(value: &str) -> SignedBy {
    if value.contains("-----BEGIN PGP PUBLIC KEY BLOCK-----") {
        let lines = value.lines().map(str::trim).map(|line| if line == "." { "" } else { line });
        return SignedBy::Keys(lines.collect::<Vec<_>>().join("\n") + "\n");
    }
    let listed = value.split(|c: char| c == ',' || c.is_whitespace()).filter(|one| !one.is_empty());
    SignedBy::Listed(listed.map(str::to_owned).collect())
}

pub(super) fn is_no(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "no" | "false" | "without" | "off" | "disable" | "0")
}

fn trim_slash(uri: &str) -> String {
    uri.trim_end_matches('/').to_owned()
}

/// Where a suite of an archive can be had according to these sources, the likeliest first: where they name that very
/// suite at an address that ends in the archive's name; where they name another suite at such an address, because a
/// mirror has all suites; where they name the suite at any other address. Publishers of single programs call their
/// suites as Debian does (`bookworm main`), so a mirror's release file has to say whose it is ([`super::release`]).
pub fn mirrors(sources: &[Source], wanted: Wanted<'_>) -> Result<Vec<Mirror>, SourcesError> {
    let Wanted { archive, suite, components } = wanted;
    let mut ranked: Vec<(u8, Mirror)> = Vec::new();
    for source in sources {
        let names_it = source.suites.iter().any(|named| named == suite)
            && source.components.iter().any(|component| components.contains(component));
        for uri in source.uris.iter().filter_map(|uri| reachable(uri)) {
            let of_archive = uri.rsplit('/').next() == Some(archive);
            let rank = match (names_it, of_archive) {
                (true, true) => 0,
                (false, true) => 1,
                (true, false) => 2,
                (false, false) => continue,
            };
            let (signed_by, may_be_outdated) = (source.signed_by.clone(), source.may_be_outdated);
            ranked.push((rank, Mirror { uri, signed_by, may_be_outdated }));
        }
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut found: Vec<Mirror> = Vec::new();
    for (_, mirror) in ranked {
        if !found.iter().any(|known| known.uri == mirror.uri) {
            found.push(mirror);
        }
    }
    if !found.is_empty() {
        return Ok(found);
    }
    let unreachable = |source: &&Source| source.suites.iter().any(|named| named == suite);
    let uris = sources.iter().filter(unreachable).flat_map(|source| &source.uris);
    let methods: Vec<_> = uris.filter(|uri| reachable(uri).is_none()).cloned().collect();
    if !methods.is_empty() {
        return Err(SourcesError::NoMirror { suite: suite.to_owned(), found: Found::OtherMethods(methods) });
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
        assert_eq!(sources[1].signed_by, SignedBy::Listed(vec!["/k.gpg".to_owned()]));
        assert_eq!((sources[1].architectures.len(), sources[1].may_be_outdated), (2, true));
    }

    #[test]
    fn deb822_sources_are_read() {
        let sources = parse_stanzas("debian.sources", STANZAS).unwrap();
        assert_eq!(sources.len(), 2);
        assert_eq!(sources[0].uris, ["http://a.test/debian", "http://b.test/debian"]);
        assert_eq!(sources[0].signed_by, SignedBy::Listed(vec!["/a.gpg".to_owned(), "/b.asc".to_owned()]));
        let SignedBy::Keys(keys) = &sources[1].signed_by else { panic!("{:?}", sources[1]) };
        assert!(keys.starts_with("-----BEGIN") && keys.contains("\n\nmQ==\n"), "{keys:?}");
    }

    #[test]
    fn a_mirror_is_found_by_suite_and_by_archive() {
        let mut sources = parse_stanzas("debian.sources", STANZAS).unwrap();
        let debian = ["http://a.test/debian", "http://b.test/debian"];
        assert_eq!(found(&sources, "debian", "bookworm"), debian);
        assert_eq!(found(&sources, "debian", "trixie-backports"), debian);
        assert_eq!(found(&sources, "debian-security", "trixie-security"), ["http://c.test/debian-security"]);
        sources.remove(0);
        let components = main();
        let wanted = Wanted { archive: "debian", suite: "bookworm", components: &components };
        let error = mirrors(&sources, wanted).unwrap_err().to_string();
        assert!(error.contains("c.test") && error.contains("set `mirror`"), "{error}");
        let error = mirrors(&[], wanted).unwrap_err().to_string();
        assert!(error.contains("no apt sources") && error.contains("set `mirror`"), "{error}");
    }

    /// Machines have sources of single programs, whose suites are called like Debian's, in files that come first.
    #[test]
    fn sources_of_others_come_after_those_of_the_archive() {
        let lines = "deb https://packages.test/repos/cli/ bookworm main\n\
            deb [signed-by=/d.gpg] https://download.test/linux/debian bookworm stable\n\
            deb https://other.test/x bookworm extra\n\
            deb http://mirror.test/debian bookworm main\n\
            deb http://backports.test/debian bookworm-backports main\n\
            deb http://nexus.test/repository/bookworm-proxy bookworm main\n";
        let sources = parse_lines("sources.list", lines).unwrap();
        assert_eq!(
            found(&sources, "debian", "bookworm"),
            [
                "http://mirror.test/debian",
                "https://download.test/linux/debian",
                "http://backports.test/debian",
                "https://packages.test/repos/cli",
                "http://nexus.test/repository/bookworm-proxy",
            ]
        );
    }

    #[test]
    fn files_of_this_machine_are_mirrors_and_lists_of_mirrors() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("mirrors.list");
        let text = "# of the cloud\nhttps://last.test/debian/\nhttp://second.test/debian\tpriority:2\n\n\
                    http://first.test/debian\tarch:amd64 priority:1\n";
        files::write(&list, text.as_bytes(), 0o644).unwrap();
        let sources = format!(
            "Types: deb\nURIs: mirror+file://{0} file:/srv/debian/\nSuites: bookworm\nComponents: main\n\n\
             Types: deb\nURIs: mirror+file:{0} copy:///mnt/debian cdrom:[x]/ tor+http://t.test/debian\n\
             Suites: bookworm\nComponents: main\n",
            list.display()
        );
        files::write(&folder.path().join("sources.list.d/a.sources"), sources.as_bytes(), 0o644).unwrap();
        assert_eq!(
            found(&read(folder.path()).unwrap(), "debian", "bookworm"),
            [
                "http://first.test/debian",
                "http://second.test/debian",
                "https://last.test/debian",
                "file:///srv/debian",
                "file:///mnt/debian"
            ]
        );
        files::remove(&list).unwrap();
        assert!(matches!(read(folder.path()), Err(SourcesError::File(_))));
    }

    fn main() -> [String; 1] {
        ["main".to_owned()]
    }

    fn found(sources: &[Source], archive: &str, suite: &str) -> Vec<String> {
        let components = main();
        let wanted = Wanted { archive, suite, components: &components };
        mirrors(sources, wanted).unwrap().into_iter().map(|mirror| mirror.uri).collect()
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
