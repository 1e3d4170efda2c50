//! RSA signatures of indexes and packages, by keys that are known by their file names.
//!
//! A signed archive begins with a file named `.SIGN.<algorithm>.<key file>`, as in
//! `.SIGN.RSA.alpine-devel@lists.alpinelinux.org-6165ee59.rsa.pub`. The key's name is only a hint where to look: trust
//! lies in the keys that the base definition lists. Signatures are PKCS#1 v1.5 over SHA-1 (`RSA`, which is what Alpine
//! signs with), SHA-256 (`RSA256`) or SHA-512 (`RSA512`).

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512,
    RsaParameters, UnparsedPublicKey,
};

/// The public keys that are trusted, by file name.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    keys: BTreeMap<String, Key>,
}

#[derive(Clone, Debug)]
struct Key {
    /// The file as it goes into `etc/apk/keys`.
    pem: String,
    /// `RSAPublicKey` of PKCS#1 in DER.
    pkcs1: Vec<u8>,
}

/// A file that is no RSA public key as apk keeps them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key {name} is {problem}: expected an RSA public key in PEM, as alpine-keys has them")]
pub struct InvalidKey {
    pub name: String,
    pub problem: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    Rsa,
    Rsa256,
    Rsa512,
}

/// A signature file: which key made it, how, and the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    pub algorithm: Algorithm,
    pub key: String,
    pub bytes: Vec<u8>,
}

/// What a keyring says of the signatures of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A known key signed exactly these bytes.
    Good { key: String },
    /// A known key's signature is of other bytes.
    Wrong { key: String },
    /// None of these keys is known.
    Unknown { keys: Vec<String> },
    /// There is no signature.
    Unsigned,
}

impl Keyring {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the key file `name`, which holds `pem`.
    pub fn add(&mut self, name: &str, pem: &str) -> Result<(), InvalidKey> {
        let invalid = |problem| InvalidKey { name: name.to_owned(), problem };
        if name.is_empty() || name.starts_with('.') || name.contains(|c: char| c == '/' || c.is_control()) {
            return Err(invalid("not named like a file"));
        }
        let der = pem_body(pem).ok_or_else(|| invalid("not in PEM with `BEGIN PUBLIC KEY`"))?;
        let pkcs1 = rsa_public_key(&der).ok_or_else(|| invalid("not an RSA key"))?.to_vec();
        match modulus_bits(&pkcs1).ok_or_else(|| invalid("not an RSA key"))? {
            0..2048 => return Err(invalid("an RSA key of fewer than 2048 bits, which others may break")),
            2048..=8192 => {}
            _ => return Err(invalid("an RSA key of more than 8192 bits, which is not supported")),
        }
        self.keys.insert(name.to_owned(), Key { pem: pem.to_owned(), pkcs1 });
        Ok(())
    }

    /// The keys' names and files, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.keys.iter().map(|(name, key)| (name.as_str(), key.pem.as_str()))
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Judges an archive by the first of its signatures whose key is known, as apk does.
    pub fn judge(&self, signatures: &[Signature], message: &[u8]) -> Verdict {
        let known = |signature: &&Signature| self.keys.contains_key(&signature.key);
        let Some(signature) = signatures.iter().find(known) else {
            let keys: Vec<_> = signatures.iter().map(|signature| signature.key.clone()).collect();
            return if keys.is_empty() { Verdict::Unsigned } else { Verdict::Unknown { keys } };
        };
        let parameters: &'static RsaParameters = match signature.algorithm {
            Algorithm::Rsa => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            Algorithm::Rsa256 => &RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Rsa512 => &RSA_PKCS1_2048_8192_SHA512,
        };
        let key = UnparsedPublicKey::new(parameters, &self.keys[&signature.key].pkcs1);
        let name = signature.key.clone();
        match key.verify(message, &signature.bytes) {
            Ok(()) => Verdict::Good { key: name },
            Err(ring::error::Unspecified) => Verdict::Wrong { key: name },
        }
    }
}

impl Signature {
    /// Reads a signature file. `None` for an algorithm that is not known, such as `DSA`: apk passes over those too.
    pub fn from_file(name: &str, bytes: &[u8]) -> Option<Self> {
        let (algorithm, key) = name.strip_prefix(".SIGN.")?.split_once('.')?;
        let algorithm = match algorithm {
            "RSA" => Algorithm::Rsa,
            "RSA256" => Algorithm::Rsa256,
            "RSA512" => Algorithm::Rsa512,
            _ => return None,
        };
        Some(Self { algorithm, key: key.to_owned(), bytes: bytes.to_vec() })
    }
}

fn pem_body(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once("-----BEGIN PUBLIC KEY-----")?;
    let (body, _) = rest.split_once("-----END PUBLIC KEY-----")?;
    let body: String = body.split_whitespace().collect();
    STANDARD.decode(body).ok()
}

/// The `RSAPublicKey` inside a `SubjectPublicKeyInfo` (RFC 5280, 4.1; RFC 3279, 2.3.1), which is what ring wants.
fn rsa_public_key(der: &[u8]) -> Option<&[u8]> {
    const SEQUENCE: u8 = 0x30;
    const BIT_STRING: u8 = 0x03;
    /// The object identifier 1.2.840.113549.1.1.1 (rsaEncryption) and its NULL parameters.
    const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let (info, after) = element(der, SEQUENCE)?;
    let (algorithm, rest) = element(info, SEQUENCE)?;
    let (bits, end) = element(rest, BIT_STRING)?;
    let (unused, key) = bits.split_first()?;
    (after.is_empty() && end.is_empty() && algorithm == RSA && *unused == 0).then_some(key)
}

/// The length of an `RSAPublicKey`'s modulus, as the verifier counts it: in whole bytes.
fn modulus_bits(pkcs1: &[u8]) -> Option<usize> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    let (numbers, _) = element(pkcs1, SEQUENCE)?;
    let (modulus, _) = element(numbers, INTEGER)?;
    Some(8 * modulus.iter().skip_while(|byte| **byte == 0).count())
}

/// The content of a DER element with this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = if *length < 0x80 {
        (usize::from(*length), rest)
    } else {
        let count = usize::from(*length & 0x7f);
        let digits = rest.get(..count).filter(|_| (1..=4).contains(&count))?;
        let length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
        (length, &rest[count..])
    };
    (*first == tag && length <= rest.len()).then(|| rest.split_at(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = include_str!("../../../test/apk/key.rsa.pub");
    const SHORT: &str = "-----BEGIN PUBLIC KEY-----\nMIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDGDA2bkENZ2xOW/mHuzFTWmr/m\n3ytGivFxKuBjDiYufCmJggiCHNu7roUS+sGsYvuYeqKl8Hks+SfW4NsbSPZF0B7y\novugaVOKx4du8ZBEm51mMjlv/+eSUyEwdks9TgggUEN0efeNqv6pUR76qzTiaiVs\nVyrl8oON4BIxncf9FwIDAQAB\n-----END PUBLIC KEY-----\n";
    /// Of `signed text`, with SHA-1, by OpenSSL with the key beside the public one.
    const SIGNATURE: &str = "RdWyi7QnVM/zb2kewJzXWi+IOxwiItAbdFUCw9ve4S+b/GUXkb191AGovcEfQnHHy9/4zc86wxhZ3Cnllfw2kJP6J+oPOvScZGbyXCA11OKhAwrPp/a97k0G34ggoH13wvNBhVBXD4ND8fsPO2nlmNznKPYlEPjkmrn9682BZ84nhLjjeuNNDl4vsb/GknwiFbH71+Ia6mAM28l5awLsX0Mpp0ZXvtc+0MOiXsacd9Bxlxx4jNTGWi/MBw/qr60ObFZrNVxviqCcKWgOs68L28krLAp6mjwNUlePNPrYTqYF/G3tkm6Njp4qatuYUH85zezH48uWZrtNLG3nCiFl4A==";

    fn keyring() -> Keyring {
        let mut keyring = Keyring::new();
        keyring.add("test.rsa.pub", PEM).unwrap();
        keyring
    }

    #[test]
    fn a_signature_is_good_only_for_its_bytes_key_and_algorithm() {
        let bytes = STANDARD.decode(SIGNATURE).unwrap();
        let signed = |name| vec![Signature::from_file(name, &bytes).unwrap()];
        let good = Verdict::Good { key: "test.rsa.pub".into() };
        let wrong = Verdict::Wrong { key: "test.rsa.pub".into() };
        let unknown = Verdict::Unknown { keys: vec!["other.rsa.pub".into()] };
        let keyring = keyring();
        assert_eq!(keyring.judge(&signed(".SIGN.RSA.test.rsa.pub"), b"signed text"), good);
        assert_eq!(keyring.judge(&signed(".SIGN.RSA.test.rsa.pub"), b"other text"), wrong);
        assert_eq!(keyring.judge(&signed(".SIGN.RSA256.test.rsa.pub"), b"signed text"), wrong);
        assert_eq!(keyring.judge(&signed(".SIGN.RSA.other.rsa.pub"), b"signed text"), unknown);
        assert_eq!(keyring.judge(&[], b"signed text"), Verdict::Unsigned);
        let both = [signed(".SIGN.RSA.other.rsa.pub"), signed(".SIGN.RSA.test.rsa.pub")].concat();
        assert_eq!(keyring.judge(&both, b"signed text"), good);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for pem in ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", &PEM.replace("MIIB", "MIIC")] {
            assert!(Keyring::new().add("a.rsa.pub", pem).is_err(), "{pem}");
        }
        let error = Keyring::new().add("a.rsa.pub", SHORT).unwrap_err().to_string();
        assert!(error.contains("fewer than 2048 bits"), "{error}");
        for name in ["", "../a", "a/b", ".a", "a\n"] {
            assert!(Keyring::new().add(name, PEM).is_err(), "{name}");
        }
        assert_eq!(Signature::from_file(".SIGN.DSA.a", b""), None);
    }
}
