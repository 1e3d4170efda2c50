//! Release files: what is believed, and everything that is not.

use kletimg::inputs::deb::{
    openpgp::{Keyring, Reason, SignatureError},
    release::{IndexError, Release, ReleaseError},
};
use pgp::{crypto::hash::HashAlgorithm, packet::SignatureType};

use super::keys::{By, DAY, How, Plan, Signer, day, sign_all};

const TEXT: &str = "Suite: stable\n- a line that is escaped\nend";

fn keyring(bytes: &[u8]) -> Keyring {
    let mut keyring = Keyring::default();
    keyring.add(bytes).unwrap();
    keyring
}

fn reason(error: &SignatureError) -> Reason {
    match error {
        SignatureError::Untrusted(rejected) => rejected[0].reason,
        other => panic!("{other}"),
    }
}

#[test]
fn a_signature_by_a_key_in_good_standing_is_believed() {
    let signer = Signer::new(1);
    let other = Signer::new(2);
    let primary = Plan { primary_signs: true, ..Plan::default() };
    let by_primary = How { by: By::Primary, ..How::default() };
    let lasting = Plan { lifetime: 30 * DAY, subkey_lifetime: 30 * DAY, ..Plan::default() };
    for (plan, message) in [
        (Plan::default(), signer.sign(TEXT, How::default())),
        (primary, signer.sign(TEXT, by_primary)),
        (lasting, signer.sign(TEXT, How { lifetime: 15 * DAY, ..How::default() })),
        (Plan::default(), signer.sign(TEXT, How { hash: HashAlgorithm::Sha512, ..How::default() })),
        (Plan::default(), signer.sign(TEXT, How { typ: SignatureType::Binary, ..How::default() })),
        // A stranger's signature beside a good one does no harm.
        (Plan::default(), sign_all(TEXT, &[(&other, How::default()), (&signer, How::default())])),
    ] {
        for keyring in [keyring(&signer.keyring(plan)), keyring(signer.armoured(plan).as_bytes())] {
            let believed = keyring.verify(message.as_bytes(), day(20)).unwrap();
            assert_eq!(believed.text(), TEXT);
            assert_eq!(believed.signed_at(), day(10).seconds());
        }
    }
}

#[test]
fn a_key_or_signature_with_a_fault_is_not_believed() {
    let (signer, rsa) = (Signer::new(1), Signer::rsa());
    let (plan, how) = (Plan::default(), How::default());
    for (plan, how, now, expected) in [
        (Plan { revoked: true, ..plan }, how, 20, Reason::KeyRevoked),
        (Plan { subkey_revoked: true, ..plan }, how, 20, Reason::KeyRevoked),
        (Plan { lifetime: 15 * DAY, ..plan }, how, 20, Reason::KeyExpired),
        (Plan { subkey_lifetime: 15 * DAY, ..plan }, how, 20, Reason::KeyExpired),
        (Plan { bound: false, ..plan }, how, 20, Reason::UnknownKey),
        (Plan { bound_back: false, ..plan }, how, 20, Reason::NotASigningKey),
        (Plan { subkey_signs: false, ..plan }, how, 20, Reason::NotASigningKey),
        (Plan { hash: HashAlgorithm::Sha1, ..plan }, how, 20, Reason::NotASigningKey),
        (plan, How { by: By::Primary, ..how }, 20, Reason::NotASigningKey),
        (plan, How { lifetime: 5 * DAY, ..how }, 20, Reason::SignatureExpired),
        (plan, How { hash: HashAlgorithm::Sha1, ..how }, 20, Reason::WeakDigest),
        (plan, how, 5, Reason::FromTheFuture),
    ] {
        let weak = [plan.hash, how.hash].contains(&HashAlgorithm::Sha1);
        let signer = if weak { &rsa } else { &signer };
        let message = signer.sign(TEXT, how);
        let error = keyring(&signer.keyring(plan)).verify(message.as_bytes(), day(now)).unwrap_err();
        assert_eq!(reason(&error), expected, "{error}");
    }
}

#[test]
fn a_key_that_is_not_in_the_keyring_is_not_believed() {
    let message = Signer::new(1).sign(TEXT, How::default());
    let error = keyring(&Signer::new(2).keyring(Plan::default())).verify(message.as_bytes(), day(20)).unwrap_err();
    assert_eq!(reason(&error), Reason::UnknownKey);
    assert!(Keyring::default().add(b"").is_err());
    assert!(Keyring::default().add(b"no keyring").is_err());
}

#[test]
fn only_the_keys_that_are_selected_count() {
    let (signer, other) = (Signer::new(1), Signer::new(2));
    let bytes = [signer.keyring(Plan::default()), other.keyring(Plan::default())].concat();
    let message = signer.sign(TEXT, How::default());
    let (own, subkey) = (signer.fingerprint(), signer.subkey_fingerprint());
    for (fingerprints, believed) in [
        (vec![], true),
        (vec![own.clone()], true),
        (vec![own.to_uppercase(), other.fingerprint()], true),
        (vec![subkey.clone()], true),
        (vec![format!("{subkey}!")], true),
        (vec![format!("{own}!")], false),
        (vec![other.fingerprint()], false),
        (vec![own[8..].to_owned()], false),
    ] {
        let mut keyring = keyring(&bytes);
        keyring.select(&fingerprints);
        assert_eq!(keyring.verify(message.as_bytes(), day(20)).is_ok(), believed, "{fingerprints:?}");
    }
}

/// Another's subkey, bound by the owner of the keyring's key, still needs the other to have bound it back.
#[test]
fn a_subkey_taken_from_another_key_is_not_believed() {
    let (owner, victim) = (Signer::new(1), Signer::new(2));
    let mut stolen = owner.public(Plan::default());
    stolen.public_subkeys = victim.public(Plan::default()).public_subkeys;
    let message = victim.sign(TEXT, How::default());
    let bytes = pgp::ser::Serialize::to_bytes(&stolen).unwrap();
    let error = keyring(&bytes).verify(message.as_bytes(), day(20)).unwrap_err();
    assert_eq!(reason(&error), Reason::NotASigningKey);
}

#[test]
fn only_what_was_signed_is_used() {
    let signer = Signer::new(1);
    let keyring = keyring(&signer.keyring(Plan::default()));
    let good = signer.sign(TEXT, How::default());
    assert!(keyring.verify(good.as_bytes(), day(20)).is_ok());
    for bad in [
        good.replace("stable", "oldstable"),
        good.replace("Suite: stable\n", "Suite: stable\nSuite: other\n"),
        format!("Suite: other\n{good}"),
        format!("\n{good}"),
        format!("{good}Suite: other\n"),
        format!("{good}{good}"),
        good.replace("-----BEGIN PGP SIGNATURE-----", "Suite: other\n-----BEGIN PGP SIGNATURE-----"),
        good.replace("\n\nSuite", "\nSuite: other\n\nSuite"),
        good[..good.len() / 2].to_owned(),
        good.replace("-----BEGIN PGP SIGNED MESSAGE-----", ""),
        TEXT.to_owned(),
        String::new(),
    ] {
        let result = keyring.verify(bad.as_bytes(), day(20));
        assert!(result.is_err(), "{bad}\nwas taken for {result:?}");
    }
    assert!(matches!(keyring.verify(b"\xff", day(20)), Err(SignatureError::NotUtf8)));
}

/// A signed release file with the given fields before its list of files.
fn release(fields: &str, files: &str) -> Result<Release, ReleaseError> {
    let signer = Signer::new(1);
    let text = format!("{fields}SHA256:\n{files}");
    let message = signer.sign(&text, How::default());
    Release::parse(&keyring(&signer.keyring(Plan::default())).verify(message.as_bytes(), day(20)).unwrap())
}

const FIELDS: &str = "Suite: oldstable-security\nCodename: bookworm-security\nDate: Sat, 11 Jan 2025 00:00:00 UTC\n\
    Valid-Until: Sat, 18 Jan 2025 00:00:00 UTC\nAcquire-By-Hash: yes\nArchitectures: amd64 armhf\n\
    Components: updates/main contrib\n";

fn line(bytes: &[u8], path: &str) -> String {
    format!(" {} {} {path}\n", kletimg::base::Digest::of(bytes).hex(), bytes.len())
}

#[test]
fn a_release_is_believed_in_its_time_and_for_its_own_suite() {
    let release = release(FIELDS, "").unwrap();
    for (days, believed) in [(9, false), (10, true), (12, true), (17, true), (18, false), (400, false)] {
        assert_eq!(release.check_time(day(days)).is_ok(), believed, "day {days}");
    }
    for (suite, believed) in [("bookworm-security", true), ("oldstable-security", true), ("bookworm", false)] {
        assert_eq!(release.check_suite(suite).is_ok(), believed, "{suite}");
    }
    for (origin, believed) in
        [("Debian", true), ("Debian Backports", true), ("azure-cli bookworm", false), ("Debiane", false)]
    {
        let release = self::release(&format!("Origin: {origin}\n{FIELDS}"), "").unwrap();
        assert_eq!(release.check_origin().is_ok(), believed, "{origin}");
    }
    let expired = release.check_time(day(30)).unwrap_err().to_string();
    assert!(expired.contains("2025-01-18T00:00:00Z") && expired.contains("take another"), "{expired}");
    assert!(matches!(release.packages("main", "s390x"), Err(ReleaseError::NoArchitecture { .. })));
    assert!(matches!(release.packages("non-free", "armhf"), Err(ReleaseError::NoComponent { .. })));
    assert!(matches!(release.packages("main", "armhf"), Err(ReleaseError::NoIndex { .. })));
}

#[test]
fn a_release_that_is_malformed_is_refused() {
    for (fields, files) in [
        ("Suite: a\n", ""),
        ("Date: yesterday\n", ""),
        (FIELDS, " 00 1 main/source/Sources\n"),
        (FIELDS, &line(b"", "../../etc/passwd")),
        (FIELDS, &line(b"", "/etc/passwd")),
        (FIELDS, &line(b"", "a b")),
        (FIELDS, &line(b"", "a").replace(" 0 ", " -1 ")),
    ] {
        assert!(release(fields, files).is_err(), "{fields}{files}");
    }
}

#[test]
fn an_index_is_read_only_with_the_digest_that_was_signed() {
    use std::io::Write as _;
    let text = "Package: a\nVersion: 1\nArchitecture: all\n".repeat(300);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    xz.write_all(text.as_bytes()).unwrap();
    let xz = xz.finish().unwrap();
    let lies = b"bytes with another digest when they are decompressed";
    let path = "main/binary-armhf/Packages";
    let files = line(text.as_bytes(), path) + &line(&gzip, &format!("{path}.gz")) + &line(&xz, &format!("{path}.xz"));
    let release = release(FIELDS, &files).unwrap();
    let ways = release.packages("main", "armhf").unwrap();
    assert_eq!(
        ways.iter().map(|way| way.path.as_str()).collect::<Vec<_>>(),
        [&format!("{path}.xz"), &format!("{path}.gz"), path]
    );
    let by_hash = format!("main/binary-armhf/by-hash/SHA256/{}", kletimg::base::Digest::of(&xz).hex());
    assert_eq!(ways[0].location(&release), by_hash);
    for (way, stored) in ways.iter().zip([&xz[..], &gzip, text.as_bytes()]) {
        assert_eq!(way.read(stored).unwrap(), text);
        assert!(matches!(way.read(&stored[..stored.len() - 1]), Err(IndexError::WrongDigest { .. })));
        assert!(matches!(way.read(lies), Err(IndexError::WrongDigest { .. })));
    }
    // Truncated or lying although the compressed bytes are what was signed: the archive itself is wrong.
    for (stored, contents) in [(&xz[..xz.len() / 2], text.as_str()), (&gzip[..gzip.len() / 2], &text), (&xz, "short")] {
        let path = if stored == &gzip[..gzip.len() / 2] { format!("{path}.gz") } else { format!("{path}.xz") };
        let files = line(contents.as_bytes(), "main/binary-armhf/Packages") + &line(stored, &path);
        let way = self::release(FIELDS, &files).unwrap().packages("main", "armhf").unwrap().remove(0);
        assert!(way.read(stored).is_err(), "{path}");
    }
}
