//! Who signed a release file: keyrings and clear-signed text (RFC 9580, sections 7 and 10).
//!
//! rpgp computes single signatures; what makes a key trustworthy is decided here, as `gpgv` decides it for apt: a
//! primary key speaks for itself once one of its self-signatures holds; a subkey only with a binding by its primary
//! and, because anyone can claim another's subkey, a binding back by the subkey itself. Keys and signatures have
//! lifetimes, keys can be revoked, and SHA-1 and MD5 prove nothing any more. There is no web of trust: whoever names a
//! keyring trusts every key in it.

use pgp::{
    composed::{CleartextSignedMessage, Deserializable as _, SignedPublicKey, SignedPublicSubKey},
    crypto::hash::HashAlgorithm,
    packet::{Signature, SignatureType},
    types::{Fingerprint, KeyDetails, Tag, VerifyingKey},
};

use crate::base::Epoch;

/// Public keys that are trusted.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    keys: Vec<SignedPublicKey>,
    /// The keys among them that count; all of them when none is named.
    selected: Vec<Selected>,
}

/// A key by its fingerprint in lowercase hexadecimal, with its subkeys or alone.
#[derive(Clone, Debug)]
struct Selected {
    fingerprint: String,
    alone: bool,
}

/// A text that a trusted key signed, exactly as it was signed. Only [`Keyring::verify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedText {
    text: String,
    signer: String,
    signed_at: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    #[error("reading the keyring: it holds no key that can be read: name a file of OpenPGP keys, binary or ASCII")]
    Malformed(#[source] Box<pgp::errors::Error>),
    #[error("the keyring holds no public key: name a file of OpenPGP keys, binary or ASCII")]
    Empty,
    #[error("the keyring is larger than {LARGEST} bytes")]
    TooLarge,
}

/// Why a signed text is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The library's own words are about its parser, and hold the bytes that it did not like.
    #[error(
        "the signed text is damaged, its header or its signature cannot be read: try again, or another mirror; a page of a \
         proxy or a login may stand in its place"
    )]
    Malformed(#[source] Box<pgp::errors::Error>),
    #[error(
        "the text is not clear-signed: it does not begin with `{BEGIN}` or something stands around the signed part"
    )]
    NotAlone,
    #[error("the text is not UTF-8")]
    NotUtf8,
    #[error("the text has no signature that can be trusted: {}", list(.0))]
    Untrusted(Vec<Rejected>),
}

/// One signature that was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The key that the signature says it is by, in hexadecimal.
    pub by: String,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("the keyring does not hold this key")]
    UnknownKey,
    #[error("it does not match the text, which was changed")]
    BadSignature,
    #[error("it uses a hash that proves nothing any more (MD5 or SHA-1)")]
    WeakDigest,
    #[error("it is no signature over a text")]
    WrongKind,
    #[error("it was made later than now: check this machine's clock")]
    FromTheFuture,
    #[error("the signature has expired")]
    SignatureExpired,
    #[error("the key has expired: a newer keyring may have it with a later date")]
    KeyExpired,
    #[error("the key is revoked")]
    KeyRevoked,
    #[error("the key's own signatures do not show that it may sign")]
    NotASigningKey,
}

/// Debian's keyring of all its keys has 56 kB.
const LARGEST: usize = 8 << 20;
/// Debian signs with three keys at most; each signature more costs a hash over the text.
const MOST_SIGNATURES: usize = 16;
const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";

impl Keyring {
    /// Adds the keys of a keyring file, binary (`.gpg`) or in ASCII armour (`.asc`).
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), KeyringError> {
        if bytes.len() > LARGEST {
            return Err(KeyringError::TooLarge);
        }
        let (keys, _) =
            SignedPublicKey::from_reader_many(bytes).map_err(|error| KeyringError::Malformed(error.into()))?;
        let before = self.keys.len();
        let mut unreadable = None;
        for key in keys {
            // A key of a kind that is not understood is not trusted, but those beside it are.
            match key {
                Ok(key) => self.keys.push(key),
                Err(error) => unreadable = Some(error),
            }
        }
        match unreadable {
            _ if self.keys.len() > before => Ok(()),
            Some(error) => Err(KeyringError::Malformed(error.into())),
            None => Err(KeyringError::Empty),
        }
    }

    /// Lets only the keys with these fingerprints count, when there are any: those of primary keys stand for their
    /// subkeys as well, unless they end in `!` (`Signed-By` in sources.list(5)).
    pub fn select<'f>(&mut self, fingerprints: impl IntoIterator<Item = &'f String>) {
        self.selected.extend(fingerprints.into_iter().map(|text| Selected {
            fingerprint: text.trim_end_matches('!').to_ascii_lowercase(),
            alone: text.ends_with('!'),
        }));
    }

    /// Whether signatures by a key count, be it a primary key itself or a subkey of `primary`.
    fn counts(&self, key: &impl KeyDetails, primary: &SignedPublicKey) -> bool {
        let text = |fingerprint: Fingerprint| fingerprint.to_string().to_ascii_lowercase();
        let (own, primary) = (text(key.fingerprint()), text(primary.fingerprint()));
        let names = |one: &Selected| one.fingerprint == own || (!one.alone && one.fingerprint == primary);
        self.selected.is_empty() || self.selected.iter().any(names)
    }

    /// The fingerprints of the primary keys, in hexadecimal.
    pub fn fingerprints(&self) -> Vec<String> {
        self.keys.iter().map(|key| key.fingerprint().to_string()).collect()
    }

    /// Checks a clear-signed text. One good signature by a trusted key is enough, as it is for `gpgv`: a release is
    /// signed by the keys of two Debian releases, and an older keyring knows only one of them.
    pub fn verify(&self, message: &[u8], now: Epoch) -> Result<SignedText, SignatureError> {
        let message = std::str::from_utf8(message).map_err(|_| SignatureError::NotUtf8)?;
        // Whoever reads the file must not take for signed what stands before the signed part.
        if !message.starts_with(BEGIN) || message.matches(BEGIN).count() != 1 {
            return Err(SignatureError::NotAlone);
        }
        let (message, _) =
            CleartextSignedMessage::from_string(message).map_err(|error| SignatureError::Malformed(error.into()))?;
        let text = message.signed_text();
        let mut rejected = Vec::new();
        for signature in message.signatures().iter().take(MOST_SIGNATURES) {
            match self.check(signature, text.as_bytes(), now) {
                Ok(signer) => {
                    let signed_at = created(signature).unwrap_or_default();
                    // Signatures are over CRLF line ends; readers expect those of Unix.
                    return Ok(SignedText { text: text.replace("\r\n", "\n"), signer, signed_at });
                }
                Err(reason) => rejected.push(Rejected { by: issuer(signature), reason }),
            }
        }
        Err(SignatureError::Untrusted(rejected))
    }

    /// The fingerprint of the trusted key that made this signature.
    fn check(&self, signature: &Signature, text: &[u8], now: Epoch) -> Result<String, Reason> {
        if !matches!(signature.typ(), Some(SignatureType::Text | SignatureType::Binary)) {
            return Err(Reason::WrongKind);
        }
        let at = alive(signature, now)?;
        let mut reason = Reason::UnknownKey;
        for key in &self.keys {
            if names(signature, key) && self.counts(key, key) {
                match check_with(key, signature, text).and_then(|()| primary_may_sign(key, at, now)) {
                    Ok(()) => return Ok(key.fingerprint().to_string()),
                    Err(worse) => reason = worse,
                }
            }
            let named = |subkey: &&SignedPublicSubKey| names(signature, *subkey) && self.counts(*subkey, key);
            for subkey in key.public_subkeys.iter().filter(named) {
                match check_with(subkey, signature, text).and_then(|()| subkey_may_sign(key, subkey, at, now)) {
                    Ok(()) => return Ok(subkey.fingerprint().to_string()),
                    Err(worse) => reason = worse,
                }
            }
        }
        Err(reason)
    }
}

impl SignedText {
    /// What was signed, and nothing else of the file.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The fingerprint of the key that signed, in hexadecimal.
    pub fn signer(&self) -> &str {
        &self.signer
    }

    /// When it was signed, in seconds since 1970.
    pub const fn signed_at(&self) -> u64 {
        self.signed_at
    }
}

fn check_with(key: &impl VerifyingKey, signature: &Signature, text: &[u8]) -> Result<(), Reason> {
    signature.verify(key, text).map_err(|_| Reason::BadSignature)
}

/// Whether the signature says that it is by this key. One that names no issuer is tried against every key.
fn names(signature: &Signature, key: &impl KeyDetails) -> bool {
    let (ids, fingerprints) = (signature.issuer_key_id(), signature.issuer_fingerprint());
    let (id, fingerprint) = (key.legacy_key_id(), key.fingerprint());
    if fingerprints.is_empty() { ids.is_empty() || ids.contains(&&id) } else { fingerprints.contains(&&fingerprint) }
}

/// When a signature was made, if it counts now: made with a strong hash, not in the future, and not expired.
fn alive(signature: &Signature, now: Epoch) -> Result<u64, Reason> {
    let strong = matches!(
        signature.hash_alg(),
        Some(
            HashAlgorithm::Sha256
                | HashAlgorithm::Sha384
                | HashAlgorithm::Sha512
                | HashAlgorithm::Sha224
                | HashAlgorithm::Sha3_256
                | HashAlgorithm::Sha3_512
        )
    );
    if !strong {
        return Err(Reason::WeakDigest);
    }
    let at = created(signature).ok_or(Reason::WrongKind)?;
    if at > now.seconds() {
        return Err(Reason::FromTheFuture);
    }
    let lifetime = signature.signature_expiration_time().map_or(0, |lifetime| u64::from(lifetime.as_secs()));
    if lifetime != 0 && at + lifetime <= now.seconds() {
        return Err(Reason::SignatureExpired);
    }
    Ok(at)
}

/// Whether a primary key may have signed at a time, by the newest of its own signatures on its users and on itself.
fn primary_may_sign(key: &SignedPublicKey, at: u64, now: Epoch) -> Result<(), Reason> {
    let own = newest_self_signature(key, now)?;
    in_lifetime(key.created_at().as_secs(), own, at, now)?;
    // A key without flags is an old one, which may do what its algorithm can.
    let flags = own.key_flags();
    if flags.sign() || (!flags.certify() && !flags.encrypt_comms() && !flags.encrypt_storage()) {
        Ok(())
    } else {
        Err(Reason::NotASigningKey)
    }
}

/// Whether a subkey may have signed at a time: bound by a primary key in good standing, for signing, and bound back.
fn subkey_may_sign(key: &SignedPublicKey, subkey: &SignedPublicSubKey, at: u64, now: Epoch) -> Result<(), Reason> {
    let own = newest_self_signature(key, now)?;
    in_lifetime(key.created_at().as_secs(), own, at, now)?;
    let genuine = |signature: &&Signature| signature.verify_subkey_binding(&key.primary_key, &subkey.key).is_ok();
    let of_type = |typ| subkey.signatures.iter().filter(move |signature| signature.typ() == Some(typ)).filter(genuine);
    if of_type(SignatureType::SubkeyRevocation).next().is_some() {
        return Err(Reason::KeyRevoked);
    }
    let binding = of_type(SignatureType::SubkeyBinding).filter(|signature| alive(signature, now).is_ok());
    let binding = binding.max_by_key(|signature| created(signature)).ok_or(Reason::NotASigningKey)?;
    let bound_back = |back: &Signature| {
        alive(back, now).is_ok() && back.verify_primary_key_binding(&subkey.key, &key.primary_key).is_ok()
    };
    if !binding.key_flags().sign() || !binding.embedded_signature().is_some_and(bound_back) {
        return Err(Reason::NotASigningKey);
    }
    in_lifetime(subkey.created_at().as_secs(), binding, at, now)
}

/// The newest signature that a key made on itself or one of its users; an error when it is revoked or has none.
fn newest_self_signature(key: &SignedPublicKey, now: Epoch) -> Result<&Signature, Reason> {
    let revoked = key.details.revocation_signatures.iter().any(|signature| {
        signature.typ() == Some(SignatureType::KeyRevocation) && signature.verify_key(&key.primary_key).is_ok()
    });
    if revoked {
        return Err(Reason::KeyRevoked);
    }
    let on_users = key.details.users.iter().flat_map(|user| {
        let genuine =
            |signature: &&Signature| signature.verify_certification(&key.primary_key, Tag::UserId, &user.id).is_ok();
        let own: Vec<_> = user.signatures.iter().filter(genuine).collect();
        // A user that was taken back says nothing about the key any more.
        let taken_back = own.iter().any(|signature| signature.typ() == Some(SignatureType::CertRevocation));
        if taken_back { Vec::new() } else { own }
    });
    let on_itself = key.details.direct_signatures.iter().filter(|signature| {
        signature.typ() == Some(SignatureType::Key) && signature.verify_key(&key.primary_key).is_ok()
    });
    on_users
        .chain(on_itself)
        .filter(|signature| alive(signature, now).is_ok())
        .max_by_key(|signature| created(signature))
        .ok_or(Reason::NotASigningKey)
}

/// Whether a key made at `made` and valid for what `own` says existed when it signed and is valid now. A key that has
/// expired since could have been used by anyone who found it later, with any date, so that counts too (and for apt).
fn in_lifetime(made: u32, own: &Signature, at: u64, now: Epoch) -> Result<(), Reason> {
    let made = u64::from(made);
    let lifetime = own.key_expiration_time().map_or(0, |lifetime| u64::from(lifetime.as_secs()));
    let expired = lifetime != 0 && made + lifetime <= now.seconds();
    if at < made || expired { Err(Reason::KeyExpired) } else { Ok(()) }
}

fn created(signature: &Signature) -> Option<u64> {
    signature.created().map(|time| u64::from(time.as_secs()))
}

fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(ToString::to_string);
    let id = || signature.issuer_key_id().first().map(ToString::to_string);
    fingerprint.or_else(id).unwrap_or_else(|| "an unnamed key".to_owned())
}

fn list(rejected: &[Rejected]) -> String {
    if rejected.is_empty() {
        return "it has none".to_owned();
    }
    rejected.iter().map(|one| format!("by {}: {}", one.by, one.reason)).collect::<Vec<_>>().join("; ")
}
