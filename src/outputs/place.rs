//! Where an image is, as it is typed: `oci:dist:v1.26.0-alpine3.22`, `oci-archive:FILE`, `docker-archive:FILE`, a path,
//! or a reference to a registry.
//!
//! The words are those of containers-transports(5), which skopeo and podman share; `docker://` may be left out, as it
//! may be for docker. A text without any of them that names a folder or file that is there means that.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    archive::{ArchiveFile, ReadArchiveError},
    layout::{self, Layout, LayoutError},
    source::Source,
};
use crate::{
    host::files,
    images::{
        LayoutEntry,
        reference::{InvalidReference, Reference},
    },
};

/// A place that images are read from or written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Registry(Reference),
    /// `name` is one of the layout's.
    Layout {
        folder: PathBuf,
        name: Option<String>,
    },
    OciArchive {
        file: PathBuf,
        name: Option<String>,
    },
    DockerArchive {
        file: PathBuf,
        name: Option<String>,
    },
}

/// Images on this machine, ready to be read.
#[derive(Clone)]
pub struct Opened {
    pub source: Arc<dyn Source>,
    /// Those that the place names; all that are there if it names none.
    pub entries: Vec<LayoutEntry>,
}

#[derive(Debug, thiserror::Error)]
pub enum InvalidPlace {
    #[error("`{0}` has no path: write it after the colon, as in oci:dist:TAG")]
    NoPath(String),
    #[error(
        "`{transport}` is not a place that kletimg reads or writes: it takes oci:DIR:TAG, oci-archive:FILE, \
         docker-archive:FILE and references to registries; `skopeo copy` brings images from {transport} to one of these"
    )]
    Transport { transport: &'static str },
    #[error(transparent)]
    Reference(#[from] InvalidReference),
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Archive(#[from] ReadArchiveError),
    #[error("reading {place}: no image there is called `{}`: there are {}", name.escape_debug(), list(there))]
    NoSuchName { place: String, name: String, there: Vec<String> },
    #[error("reading {place}: there are no images in it")]
    Empty { place: String },
    #[error("reading {place}: it is in a registry, not on this machine")]
    Elsewhere { place: String },
}

fn list(names: &[String]) -> String {
    const SHOWN: usize = 20;
    let more = names.len().saturating_sub(SHOWN);
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

/// Other words of containers-transports(5). Taken for names of images they would be looked for on Docker Hub.
const FOREIGN: [&str; 7] = ["docker-daemon:", "containers-storage:", "dir:", "sif:", "ostree:", "tarball:", "atomic:"];

impl Place {
    /// Reads what was typed. Whether a text without a transport is a path depends on what is there.
    pub fn read(text: &str) -> Result<Self, InvalidPlace> {
        let known = ["oci:", "oci-archive:", "docker-archive:"].into_iter().find(|known| text.starts_with(known));
        if let Some(known) = known {
            let (path, name) = path_and_name(&text[known.len()..]);
            if path.as_os_str().is_empty() {
                return Err(InvalidPlace::NoPath(text.to_owned()));
            }
            return Ok(match known {
                "oci:" => Self::Layout { folder: path, name },
                "oci-archive:" => Self::OciArchive { file: path, name },
                _ => Self::DockerArchive { file: path, name },
            });
        }
        if let Some(reference) = text.strip_prefix("docker://") {
            return Ok(Self::Registry(reference.parse()?));
        }
        if let Some(transport) = FOREIGN.into_iter().find(|foreign| text.starts_with(foreign)) {
            return Err(InvalidPlace::Transport { transport });
        }
        let (path, name) = path_and_name(text);
        if files::size(&path).is_some() {
            return Ok(Self::OciArchive { file: path, name });
        }
        let as_path = text.starts_with(['.', '/']);
        // One that is still to be written, or was mistyped.
        if path.extension().is_some_and(|ending| ending == "tar") && (as_path || !text.contains('/')) {
            return Ok(Self::OciArchive { file: path, name });
        }
        // A folder that merely has the name of an image, such as `alpine`, is not meant. The one that builds write to is,
        // also before the first build: the answer is then that it is not there, and not one of a registry.
        if as_path
            || path == Path::new(layout::DEFAULT_FOLDER)
            || !path.as_os_str().is_empty() && files::exists(&path.join("oci-layout"))
        {
            return Ok(Self::Layout { folder: path, name });
        }
        Ok(Self::Registry(text.parse()?))
    }

    /// Whether it says which image is meant, and not only where images are.
    pub fn names_one(&self) -> bool {
        match self {
            Self::Registry(_) => true,
            Self::Layout { name, .. } | Self::OciArchive { name, .. } | Self::DockerArchive { name, .. } => {
                name.is_some()
            }
        }
    }

    /// Opens what is on this machine.
    pub fn open(&self) -> Result<Opened, OpenError> {
        let (source, entries, name): (Arc<dyn Source>, _, _) = match self {
            Self::Registry(_) => return Err(OpenError::Elsewhere { place: self.to_string() }),
            Self::Layout { folder, name } => {
                let layout = Layout::open(folder)?;
                let entries = layout.entries()?;
                (Arc::new(layout), entries, name)
            }
            Self::OciArchive { file, name } | Self::DockerArchive { file, name } => {
                let archive = ArchiveFile::open(file)?;
                let entries = archive.entries().to_vec();
                (Arc::new(archive), entries, name)
            }
        };
        if entries.is_empty() {
            return Err(OpenError::Empty { place: self.to_string() });
        }
        let there = entries.iter().map(called).collect();
        let entries: Vec<_> = match name {
            Some(name) => entries.into_iter().filter(|entry| is_called(entry, name)).collect(),
            None => entries,
        };
        match name {
            Some(name) if entries.is_empty() => {
                Err(OpenError::NoSuchName { place: self.to_string(), name: name.clone(), there })
            }
            _ => Ok(Opened { source, entries }),
        }
    }
}

/// What an image is called where it lies: its name, or its digest.
pub fn called(entry: &LayoutEntry) -> String {
    entry.name.clone().unwrap_or_else(|| entry.root.digest.to_string())
}

/// By its name, its whole reference, or its digest.
fn is_called(entry: &LayoutEntry, name: &str) -> bool {
    entry.name.as_deref() == Some(name)
        || entry.reference.as_deref() == Some(name)
        || entry.root.digest.to_string() == name
}

/// `dist:kube-proxy:v1` is the folder `dist`: names hold colons, and paths that do are rare.
fn path_and_name(text: &str) -> (PathBuf, Option<String>) {
    if files::exists(Path::new(text)) {
        return (PathBuf::from(text), None);
    }
    match text.split_once(':') {
        Some((path, name)) if !name.is_empty() => (PathBuf::from(path), Some(name.to_owned())),
        Some((path, _)) => (PathBuf::from(path), None),
        None => (PathBuf::from(text), None),
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, path, name) = match self {
            Self::Registry(reference) => return write!(f, "{reference}"),
            Self::Layout { folder, name } => ("oci", folder, name),
            Self::OciArchive { file, name } => ("oci-archive", file, name),
            Self::DockerArchive { file, name } => ("docker-archive", file, name),
        };
        write!(f, "{transport}:{}", path.display())?;
        match name {
            Some(name) => write!(f, ":{name}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_is_a_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display().to_string();
        files::write(&folder.path().join("a:b.tar"), b"x", 0o644).unwrap();
        let cases = [
            ("alpine:3", "docker.io/library/alpine:3".to_owned()),
            ("docker://localhost:5000/a", "localhost:5000/a".to_owned()),
            ("oci:nowhere:v1", "oci:nowhere:v1".to_owned()),
            ("oci:nowhere:kube-proxy:v1", "oci:nowhere:kube-proxy:v1".to_owned()),
            ("oci-archive:x.tar", "oci-archive:x.tar".to_owned()),
            ("docker-archive:x.tar:h.io/a:1", "docker-archive:x.tar:h.io/a:1".to_owned()),
            (&path, format!("oci:{path}")),
            (&format!("{path}:v1"), format!("oci:{path}:v1")),
            (&format!("{path}/a:b.tar"), format!("oci-archive:{path}/a:b.tar")),
            ("./new.tar", "oci-archive:./new.tar".to_owned()),
            ("new.tar:v1", "oci-archive:new.tar:v1".to_owned()),
            ("h.io/new.tar:v1", "h.io/new.tar:v1".to_owned()),
            ("dist:v1", "oci:dist:v1".to_owned()),
            ("docker://dist:v1", "docker.io/library/dist:v1".to_owned()),
        ];
        for (text, expected) in cases {
            assert_eq!(Place::read(text).unwrap().to_string(), expected, "{text}");
        }
        // A mistake in a path is told as one, not looked for in a registry.
        assert_eq!(Place::read("./nowhere").unwrap().to_string(), "oci:./nowhere");
        for text in ["", "oci:", "Nowhere", "oci-archive::x"] {
            assert!(Place::read(text).is_err(), "{text}");
        }
    }
}
