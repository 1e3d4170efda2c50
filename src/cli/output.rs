//! `-o type=oci,dest=dist`, as buildx writes it.

use std::{path::PathBuf, str::FromStr};

/// Where images go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Output {
    pub(super) dest: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidOutput {
    #[error("`{0}` is not key=value; write type=oci,dest=DIR")]
    NotAPair(String),
    #[error("unknown key `{0}`; write type=oci,dest=DIR")]
    UnknownKey(String),
    #[error("`{0}` is no output that this version writes; write type=oci,dest=DIR")]
    UnknownType(String),
    #[error("`dest` is missing or empty; write type=oci,dest=DIR")]
    NoDestination,
}

impl FromStr for Output {
    type Err = InvalidOutput;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut dest = None;
        for pair in text.split(',') {
            match pair.split_once('=') {
                Some(("type", "oci")) => {}
                Some(("type", other)) => return Err(InvalidOutput::UnknownType(other.to_owned())),
                Some(("dest", path)) if !path.is_empty() => dest = Some(PathBuf::from(path)),
                Some(("dest", _)) => return Err(InvalidOutput::NoDestination),
                Some((key, _)) => return Err(InvalidOutput::UnknownKey(key.to_owned())),
                None => return Err(InvalidOutput::NotAPair(pair.to_owned())),
            }
        }
        dest.map(|dest| Self { dest }).ok_or(InvalidOutput::NoDestination)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_names_its_folder() {
        assert_eq!("type=oci,dest=/x".parse::<Output>().unwrap().dest, PathBuf::from("/x"));
        for text in ["", "dest=", "type=docker,dest=x", "type=oci", "oci", "type=oci,dest=x,name=y"] {
            assert!(text.parse::<Output>().is_err(), "{text}");
        }
    }
}
