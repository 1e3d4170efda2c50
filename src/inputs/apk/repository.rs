//! A repository's signed index, `APKINDEX.tar.gz`: nothing of it is read before its signature is found good.

use std::io::Cursor;

use super::{
    container::{self, ContainerError},
    index::{Index, IndexError, MAX_TEXT},
    signature::{Keyring, Verdict},
};

/// Whom an index must come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It must be signed by a known key.
    Signed,
    /// The base definition says `allow-unsigned` for this repository: no signature, or one by an unknown key, will do.
    /// A known key's signature over other bytes never does.
    AllowUnsigned,
}

/// An index that came from whom it should.
#[derive(Clone, Debug)]
pub struct VerifiedIndex {
    index: Index,
    signed_by: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    #[error("the index is not signed: sign it, or say `allow-unsigned` for this repository in the base definition")]
    Unsigned,
    #[error(
        "the index is signed by {}, which is not among the keys of the base definition: add the key there, \
         or say `allow-unsigned` for this repository",
        keys.join(", ")
    )]
    UnknownKey { keys: Vec<String> },
    #[error(
        "the signature of the index by {key} is not of these bytes: the index was altered or damaged on its way; \
         fetch it again, from another mirror if that does not help"
    )]
    WrongSignature { key: String },
    #[error("the archive holds no file APKINDEX: it is not the index of an Alpine repository")]
    NoIndex,
    #[error("reading the index: {0}")]
    Container(#[from] ContainerError),
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl VerifiedIndex {
    /// Verifies and reads the bytes of an `APKINDEX.tar.gz`.
    pub fn open(bytes: &[u8], keys: &Keyring, trust: Trust) -> Result<Self, RepositoryError> {
        const WHAT: &str = "the index";
        let (signatures, length) = container::signatures(|position| Ok(Cursor::new(from(bytes, position))))?;
        let signed = from(bytes, length);
        let signed_by = match keys.judge(&signatures, signed) {
            Verdict::Good { key } => Some(key),
            Verdict::Wrong { key } => return Err(RepositoryError::WrongSignature { key }),
            Verdict::Unknown { .. } | Verdict::Unsigned if trust == Trust::AllowUnsigned => None,
            Verdict::Unknown { keys } => return Err(RepositoryError::UnknownKey { keys }),
            Verdict::Unsigned => return Err(RepositoryError::Unsigned),
        };
        let tar = container::members(signed, WHAT, MAX_TEXT as u64)?;
        let files = container::files(&tar, WHAT)?;
        let text = files.into_iter().find(|file| file.name == "APKINDEX").ok_or(RepositoryError::NoIndex)?;
        Ok(Self { index: Index::parse(text.bytes.to_vec())?, signed_by })
    }

    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The file name of the key that signed, `None` where an unsigned index was allowed.
    pub fn signed_by(&self) -> Option<&str> {
        self.signed_by.as_deref()
    }
}

fn from(bytes: &[u8], position: u64) -> &[u8] {
    usize::try_from(position).ok().and_then(|position| bytes.get(position..)).unwrap_or_default()
}
