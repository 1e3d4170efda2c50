//! Keys made for a test, good ones and ones with every fault that a key can have.

use kletimg::base::Epoch;
use pgp::{
    composed::{
        CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedKeyDetails, SignedPublicKey, SignedPublicSubKey,
        SignedSecretKey, SubkeyParamsBuilder,
    },
    crypto::hash::HashAlgorithm,
    packet::{KeyFlags, Signature, SignatureConfig, SignatureType, Subpacket, SubpacketData, UserId},
    ser::Serialize as _,
    types::{Duration, KeyDetails as _, KeyVersion, Password, SignedUser, SigningKey, Tag, Timestamp},
};
use rand::{SeedableRng as _, rngs::StdRng};

/// 2025-01-01, when every key here is made.
pub const MADE: u32 = 1_735_689_600;
pub const DAY: u32 = 86_400;

pub fn day(days: u32) -> Epoch {
    Epoch::try_from(u64::from(MADE + days * DAY)).unwrap()
}

/// What a key's own signatures say.
#[derive(Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "each is one fault, and any of them may be combined")]
pub struct Plan {
    pub lifetime: u32,
    pub subkey_lifetime: u32,
    pub revoked: bool,
    pub subkey_revoked: bool,
    pub bound: bool,
    pub bound_back: bool,
    pub subkey_signs: bool,
    pub primary_signs: bool,
    pub hash: HashAlgorithm,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            lifetime: 0,
            subkey_lifetime: 0,
            revoked: false,
            subkey_revoked: false,
            bound: true,
            bound_back: true,
            subkey_signs: true,
            primary_signs: false,
            hash: HashAlgorithm::Sha256,
        }
    }
}

#[derive(Clone, Copy)]
pub enum By {
    Primary,
    Subkey,
}

/// How a text is signed.
#[derive(Clone, Copy)]
pub struct How {
    pub by: By,
    pub day: u32,
    pub lifetime: u32,
    pub hash: HashAlgorithm,
    pub typ: SignatureType,
}

impl Default for How {
    fn default() -> Self {
        Self { by: By::Subkey, day: 10, lifetime: 0, hash: HashAlgorithm::Sha256, typ: SignatureType::Text }
    }
}

/// A secret key with one subkey.
pub struct Signer(SignedSecretKey);

impl Signer {
    pub fn new(seed: u64) -> Self {
        Self::of_type(KeyType::Ed25519, seed)
    }

    /// Ed25519 takes no weak hash, RSA takes any.
    pub fn rsa() -> Self {
        Self::of_type(KeyType::Rsa(2048), 0)
    }

    fn of_type(key_type: KeyType, seed: u64) -> Self {
        let subkey = SubkeyParamsBuilder::default()
            .key_type(key_type.clone())
            .can_sign(true)
            .created_at(Timestamp::from_secs(MADE))
            .build()
            .unwrap();
        let mut params = SecretKeyParamsBuilder::default();
        params.key_type(key_type).can_certify(true).can_sign(true).created_at(Timestamp::from_secs(MADE));
        params.primary_user_id("Archive <archive@debian.test>".to_owned()).subkey(subkey);
        Self(params.build().unwrap().generate(StdRng::seed_from_u64(seed)).unwrap())
    }

    /// The public key, with its own signatures made by plan.
    pub fn public(&self, plan: Plan) -> SignedPublicKey {
        let (secret, primary) = (&self.0.primary_key, self.0.primary_key.public_key());
        let (secret_subkey, subkey) = (&self.0.secret_subkeys[0].key, self.0.secret_subkeys[0].key.public_key());
        let none = Password::empty();
        let config = |typ, key: &dyn Key, more: Vec<SubpacketData>| key.config(typ, plan.hash, MADE, more);

        let user = UserId::from_str(pgp::types::PacketHeaderVersion::New, "Archive <archive@debian.test>").unwrap();
        let flags = flags(plan.primary_signs, true);
        let own = config(SignatureType::CertPositive, secret, vec![flags, lifetime(plan.lifetime)])
            .sign_certification(secret, &primary, &none, Tag::UserId, &user)
            .unwrap();
        let revocation =
            || config(SignatureType::KeyRevocation, secret, vec![]).sign_key(secret, &none, &primary).unwrap();
        let revocations = if plan.revoked { vec![revocation()] } else { vec![] };
        let details = SignedKeyDetails::new(revocations, vec![], vec![SignedUser::new(user, vec![own])], vec![]);

        let mut says = vec![self::flags(plan.subkey_signs, false), lifetime(plan.subkey_lifetime)];
        if plan.bound_back {
            let back = config(SignatureType::KeyBinding, secret_subkey, vec![])
                .sign_primary_key_binding(secret_subkey, subkey, &none, &primary)
                .unwrap();
            says.push(SubpacketData::EmbeddedSignature(Box::new(back)));
        }
        let mut bindings = vec![];
        if plan.bound {
            let binding = config(SignatureType::SubkeyBinding, secret, says);
            bindings.push(binding.sign_subkey_binding(secret, &primary, &none, subkey).unwrap());
        }
        if plan.subkey_revoked {
            let revoking = config(SignatureType::SubkeyRevocation, secret, vec![]);
            bindings.push(revoking.sign_subkey_binding(secret, &primary, &none, subkey).unwrap());
        }
        let subkeys = vec![SignedPublicSubKey { key: subkey.clone(), signatures: bindings }];
        SignedPublicKey { primary_key: primary.clone(), details, public_subkeys: subkeys }
    }

    /// A binary keyring with this key.
    pub fn keyring(&self, plan: Plan) -> Vec<u8> {
        self.public(plan).to_bytes().unwrap()
    }

    /// A keyring with this key in ASCII armour.
    pub fn armoured(&self, plan: Plan) -> String {
        self.public(plan).to_armored_string(pgp::composed::ArmorOptions::default()).unwrap()
    }

    pub fn fingerprint(&self) -> String {
        self.0.primary_key.public_key().fingerprint().to_string()
    }

    pub fn subkey_fingerprint(&self) -> String {
        self.0.secret_subkeys[0].key.public_key().fingerprint().to_string()
    }

    /// A clear-signed message.
    pub fn sign(&self, text: &str, how: How) -> String {
        sign_all(text, &[(self, how)])
    }

    fn signature(&self, text: &str, how: How) -> Signature {
        let more = if how.lifetime == 0 {
            vec![]
        } else {
            vec![SubpacketData::SignatureExpirationTime(Duration::from_secs(how.lifetime))]
        };
        let at = MADE + how.day * DAY;
        let none = Password::empty();
        let sign = |key: &dyn Key| key.config(how.typ, how.hash, at, more);
        match how.by {
            By::Primary => {
                let key = &self.0.primary_key;
                sign(key).sign(key, &none, text.as_bytes()).unwrap()
            }
            By::Subkey => {
                let key = &self.0.secret_subkeys[0].key;
                sign(key).sign(key, &none, text.as_bytes()).unwrap()
            }
        }
    }
}

/// A message with several signatures.
pub fn sign_all(text: &str, signers: &[(&Signer, How)]) -> String {
    let message = CleartextSignedMessage::new_many(text, |normal| {
        Ok(signers.iter().map(|(signer, how)| signer.signature(normal, *how)).collect())
    });
    message.unwrap().to_armored_string(pgp::composed::ArmorOptions::default()).unwrap()
}

trait Key {
    fn config(&self, typ: SignatureType, hash: HashAlgorithm, at: u32, more: Vec<SubpacketData>) -> SignatureConfig;
}

impl<K: SigningKey> Key for K {
    fn config(&self, typ: SignatureType, hash: HashAlgorithm, at: u32, more: Vec<SubpacketData>) -> SignatureConfig {
        assert_eq!(self.version(), KeyVersion::V4);
        let mut config = SignatureConfig::v4(typ, self.algorithm(), hash);
        let says = [
            SubpacketData::SignatureCreationTime(Timestamp::from_secs(at)),
            SubpacketData::IssuerFingerprint(self.fingerprint()),
        ];
        config.hashed_subpackets = says.into_iter().chain(more).map(|data| Subpacket::regular(data).unwrap()).collect();
        config
    }
}

fn flags(sign: bool, certify: bool) -> SubpacketData {
    let mut flags = KeyFlags::default();
    flags.set_sign(sign);
    flags.set_certify(certify);
    SubpacketData::KeyFlags(flags)
}

fn lifetime(seconds: u32) -> SubpacketData {
    SubpacketData::KeyExpirationTime(Duration::from_secs(seconds))
}
