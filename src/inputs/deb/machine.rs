//! What this machine's apt knows: where Debian is reached, and whose signatures count.
//!
//! Both are conveniences. A base definition that names mirrors and keyrings makes neither count.

use std::path::{Path, PathBuf};

use super::{
    openpgp::{Keyring, KeyringError},
    settings::Settings,
    sources::{self, Mirror, SignedBy, Source, SourcesError, Wanted},
};
use crate::{
    base::Epoch,
    host::files::{self, FileError},
};

/// The machine's apt, and its clock: what is signed is signed for a time.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its sources, or why they cannot be read, which matters only to who needs them.
    sources: Result<Vec<Source>, String>,
    folder: PathBuf,
    /// Proxies, logins, and whether dates count.
    pub settings: Settings,
    pub now: Epoch,
}

/// Why the keys of a suite are not known.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{file}: {source}")]
    Keyring { file: String, source: KeyringError },
    #[error(
        "this machine has no keyring of Debian's archive ({}): install debian-archive-keyring, or name keyrings in the \
         base definition with `keys`", KEYRINGS.join(", ")
    )]
    NoKeys,
}

/// Debian's own keyring, from the package debian-archive-keyring; its name ends in `.pgp` since trixie.
const KEYRINGS: [&str; 2] =
    ["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"];

/// Keyrings hold some hundred kilobytes.
const LARGEST: u64 = 8 << 20;

impl Machine {
    /// The machine whose apt is configured in `folder`, normally `/etc/apt`. Sources that cannot be read are no error yet.
    pub fn read(folder: &Path, now: Epoch) -> Self {
        let sources = sources::read(folder).map_err(|error| error.to_string());
        // Settings that cannot be read are those of somebody else's apt.
        let settings = Settings::read(folder).unwrap_or_default();
        Self { sources, folder: folder.to_owned(), settings, now }
    }

    /// Where a suite is reached, or why nowhere, in words that name what to set.
    pub fn mirrors(&self, wanted: Wanted<'_>) -> Result<Vec<Mirror>, String> {
        let sources = self.sources.as_ref().map_err(Clone::clone)?;
        sources::mirrors(sources, wanted).map_err(|error: SourcesError| error.to_string())
    }

    /// Whether the machine itself uses a suite.
    pub fn names(&self, suite: &str) -> bool {
        let sources = self.sources.as_deref().unwrap_or_default();
        sources.iter().any(|source| source.packages && source.suites.iter().any(|named| named == suite))
    }

    /// The source of the machine's apt that `url` is a file of.
    pub fn source_of(&self, wanted: Wanted<'_>, url: &str) -> Option<Mirror> {
        let is_below =
            |mirror: &Mirror| url.strip_prefix(mirror.uri.as_str()).is_some_and(|rest| rest.starts_with('/'));
        self.mirrors(wanted).ok()?.into_iter().find(is_below)
    }

    /// The keys that the machine's apt trusts for what one of its sources has.
    pub fn keys_of(&self, source: &Mirror) -> Result<Keyring, MachineError> {
        let mut keyring = Keyring::default();
        match &source.signed_by {
            SignedBy::Any => return self.keys(),
            SignedBy::Keys(keys) => {
                let file = format!("Signed-By of {}", source.uri);
                keyring.add(keys.as_bytes()).map_err(|source| MachineError::Keyring { file, source })?;
            }
            SignedBy::Listed(listed) => {
                let (files, fingerprints): (Vec<&String>, _) = listed.iter().partition(|one| one.starts_with('/'));
                if files.is_empty() {
                    keyring = self.keys()?;
                }
                for file in files {
                    add(&mut keyring, Path::new(file))?;
                }
                keyring.select(fingerprints);
            }
        }
        Ok(keyring)
    }

    /// The keys that the machine trusts for Debian's archive, wherever it is had from.
    pub fn keys(&self) -> Result<Keyring, MachineError> {
        let mut keyring = Keyring::default();
        self.trusted(&mut keyring)?;
        if keyring.fingerprints().is_empty() { Err(MachineError::NoKeys) } else { Ok(keyring) }
    }

    /// Debian's keyring, or where a machine has none the keys that its apt trusts for everything.
    fn trusted(&self, keyring: &mut Keyring) -> Result<(), MachineError> {
        if let Some(file) = KEYRINGS.iter().map(Path::new).find(|file| files::exists(file)) {
            return add(keyring, file);
        }
        let old = self.folder.join("trusted.gpg");
        if files::exists(&old) {
            add(keyring, &old)?;
        }
        let folder = self.folder.join("trusted.gpg.d");
        let is_keyring = |name: &String| [".gpg", ".asc"].iter().any(|end| name.ends_with(end));
        for name in files::names(&folder)?.iter().filter(|name| is_keyring(name)) {
            add(keyring, &folder.join(name))?;
        }
        Ok(())
    }
}

/// Adds the keys of a keyring file.
pub fn add(keyring: &mut Keyring, file: &Path) -> Result<(), MachineError> {
    let bytes = files::read(file, LARGEST)?;
    keyring.add(&bytes).map_err(|source| MachineError::Keyring { file: file.display().to_string(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCES: &str = "deb http://a.test/debian bookworm main\n\
        deb [signed-by=/nonexistent.gpg check-valid-until=no] http://b.test/own stable main\n";

    fn wanted(suite: &str) -> Wanted<'_> {
        Wanted { archive: "debian", suite, components: &[] }
    }

    #[test]
    fn suites_are_known_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        files::write(&folder.path().join("sources.list"), SOURCES.as_bytes(), 0o644).unwrap();
        let machine = Machine::read(folder.path(), Epoch::default());
        assert!(machine.names("bookworm") && !machine.names("bookworm-backports"));
        assert_eq!(machine.mirrors(wanted("bookworm-backports")).unwrap()[0].uri, "http://a.test/debian");
        let components = ["main".to_owned()];
        let wanted = Wanted { components: &components, ..wanted("stable") };
        let source = machine.source_of(wanted, "http://b.test/own/dists/stable/InRelease").unwrap();
        assert!(source.may_be_outdated);
        assert!(
            matches!(machine.keys_of(&source), Err(MachineError::File(_))),
            "a keyring that is named must be there"
        );
        let source = machine.source_of(wanted, "http://a.test/debian/dists/stable/InRelease").unwrap();
        assert!(!source.may_be_outdated);
        for other in ["http://b.test/owner/dists/stable/InRelease", "http://c.test/dists/stable/InRelease"] {
            assert_eq!(machine.source_of(wanted, other), None, "{other}");
        }
    }

    #[test]
    fn sources_that_cannot_be_read_say_so_when_they_are_needed() {
        let folder = tempfile::tempdir().unwrap();
        files::write(&folder.path().join("sources.list"), b"nonsense\n", 0o644).unwrap();
        let machine = Machine::read(folder.path(), Epoch::default());
        assert!(machine.mirrors(wanted("bookworm")).unwrap_err().contains("line 1"));
        let machine = Machine::read(&folder.path().join("none"), Epoch::default());
        let why = machine.mirrors(wanted("bookworm")).unwrap_err();
        assert!(why.contains("no apt sources") && why.contains("`mirror`"), "{why}");
    }
}
