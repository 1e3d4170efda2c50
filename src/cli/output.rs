//! `-o type=oci,dest=dist`, as buildx writes it.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::base::{Platform, platform::UnknownPlatform};

/// Where images go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// An OCI layout in a folder, which then holds exactly what was built.
    Oci {
        dest: PathBuf,
    },
    /// An OCI layout in a tar.
    OciArchive {
        dest: PathBuf,
    },
    /// What `docker load` takes: one platform.
    Docker {
        dest: PathBuf,
        platform: Option<Platform>,
    },
    /// The root file system of one image, as a tar.
    Tar {
        dest: PathBuf,
    },
    /// The same as files in a folder.
    Dir {
        dest: PathBuf,
    },
    Registry,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidOutput {
    #[error("`{0}` is not key=value; write type=oci,dest=DIR")]
    NotAPair(String),
    #[error("unknown key `{0}`; the keys are type, dest and platform")]
    UnknownKey(String),
    #[error("unknown type `{0}`; write type=oci,dest=DIR, or one of oci-archive, docker, tar, dir and registry")]
    UnknownType(String),
    #[error("`type` is missing; write type=oci,dest=DIR")]
    NoType,
    #[error("`dest` is missing or empty; write type={0},dest=PATH")]
    NoDestination(String),
    #[error("`{key}` means nothing for type={kind}; leave it out")]
    NotForType { key: &'static str, kind: String },
    #[error("`{0}` is written twice")]
    Twice(&'static str),
    #[error(transparent)]
    Platform(#[from] UnknownPlatform),
}

impl FromStr for Output {
    type Err = InvalidOutput;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (mut kind, mut dest, mut platform) = (None, None, None);
        for pair in text.split(',') {
            let (key, value) = pair.split_once('=').ok_or_else(|| InvalidOutput::NotAPair(pair.to_owned()))?;
            let (name, place) = match key {
                "type" => ("type", &mut kind),
                "dest" => ("dest", &mut dest),
                "platform" => ("platform", &mut platform),
                _ => return Err(InvalidOutput::UnknownKey(key.to_owned())),
            };
            if place.replace(value).is_some() {
                return Err(InvalidOutput::Twice(name));
            }
        }
        let kind = kind.ok_or(InvalidOutput::NoType)?;
        if platform.is_some() && kind != "docker" {
            return Err(InvalidOutput::NotForType { key: "platform", kind: kind.to_owned() });
        }
        let path = || {
            let dest = dest.filter(|dest| !dest.is_empty());
            dest.map(PathBuf::from).ok_or_else(|| InvalidOutput::NoDestination(kind.to_owned()))
        };
        Ok(match kind {
            "oci" => Self::Oci { dest: path()? },
            "oci-archive" => Self::OciArchive { dest: path()? },
            "docker" => Self::Docker { dest: path()?, platform: platform.map(str::parse).transpose()? },
            "tar" => Self::Tar { dest: path()? },
            // buildx calls it `local`.
            "dir" | "local" => Self::Dir { dest: path()? },
            "registry" if dest.is_none() => Self::Registry,
            "registry" => return Err(InvalidOutput::NotForType { key: "dest", kind: kind.to_owned() }),
            other => return Err(InvalidOutput::UnknownType(other.to_owned())),
        })
    }
}

impl Output {
    /// The file or folder.
    pub(super) fn dest(&self) -> Option<&Path> {
        match self {
            Self::Oci { dest }
            | Self::OciArchive { dest }
            | Self::Docker { dest, .. }
            | Self::Tar { dest }
            | Self::Dir { dest } => Some(dest),
            Self::Registry => None,
        }
    }

    /// Whether it holds one image and not tags.
    pub(super) const fn is_single(&self) -> bool {
        matches!(self, Self::Tar { .. } | Self::Dir { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_names_its_kind_and_place() {
        let dest = PathBuf::from("/x");
        let cases = [
            ("type=oci,dest=/x", Output::Oci { dest: dest.clone() }),
            ("dest=/x,type=oci-archive", Output::OciArchive { dest: dest.clone() }),
            ("type=docker,dest=/x", Output::Docker { dest: dest.clone(), platform: None }),
            (
                "type=docker,dest=/x,platform=linux/arm64",
                Output::Docker { dest: dest.clone(), platform: Some(Platform::Arm64) },
            ),
            ("type=tar,dest=/x", Output::Tar { dest: dest.clone() }),
            ("type=dir,dest=/x", Output::Dir { dest: dest.clone() }),
            ("type=local,dest=/x", Output::Dir { dest }),
            ("type=registry", Output::Registry),
        ];
        for (text, output) in cases {
            assert_eq!(text.parse::<Output>().unwrap(), output, "{text}");
        }
        let wrong = [
            "",
            "dest=x",
            "type=oci,dest=",
            "type=oci",
            "oci",
            "type=oci,dest=x,name=y",
            "type=oci,dest=x,dest=y",
            "type=image,dest=x",
            "type=registry,dest=x",
            "type=oci,dest=x,platform=linux/arm64",
            "type=docker,dest=x,platform=solaris/sparc",
        ];
        for text in wrong {
            assert!(text.parse::<Output>().is_err(), "{text}");
        }
    }
}
