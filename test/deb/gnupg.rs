//! Keys and signatures that `GnuPG` makes, as those of archives are: what the tests' own keys say is only what rpgp writes.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use kletimg::inputs::deb::openpgp::{Keyring, Reason, SignatureError};

use super::keys::day;
use crate::support::{fixture::succeeds, parts};

/// A folder with keys of its own, and the time that is passed off on the program.
struct Gpg {
    program: PathBuf,
    home: tempfile::TempDir,
}

impl Gpg {
    /// The part is called `gpg`.
    fn new() -> Option<Self> {
        Some(Self { program: parts::program("gpg")?, home: tempfile::tempdir().unwrap() })
    }

    fn run(&self, date: &str, arguments: &[&str]) -> Vec<u8> {
        let mut gpg = Command::new(&self.program);
        gpg.args(["--batch", "--quiet", "--yes", "--pinentry-mode", "loopback", "--passphrase", "", "--homedir"]);
        gpg.arg(self.home.path()).args(["--faked-system-time", &format!("{date}T000000!")]).args(arguments);
        succeeds(gpg.env("LC_ALL", "C")).stdout
    }

    /// Makes a key on the day when all keys of the tests are made, and tells its fingerprint.
    fn key(&self, user: &str, algorithm: &str, usage: &str) -> String {
        self.run("20250101", &["--quick-generate-key", user, algorithm, usage, "never"]);
        let listed = String::from_utf8(self.run("20250101", &["--list-keys", "--with-colons", user])).unwrap();
        let line = listed.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    }

    /// Signs on the eleventh of January, as the tests' own keys do.
    fn sign(&self, user: &str, text: &str, more: &[&str]) -> Vec<u8> {
        let file = self.home.path().join("text");
        std::fs::write(&file, text).unwrap();
        let arguments = [more, &["--local-user", user, "--output", "-", "--clearsign", file.to_str().unwrap()]];
        self.run("20250111", &arguments.concat())
    }

    fn keyring(&self, more: &[&str]) -> Keyring {
        let mut keyring = Keyring::default();
        keyring.add(&self.run("20250111", &[more, &["--export"]].concat())).unwrap();
        keyring
    }

    fn path(&self, below: &str) -> PathBuf {
        Path::new(self.home.path()).join(below)
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").arg("--homedir").arg(self.home.path()).args(["--kill", "gpg-agent"]).output();
    }
}

fn reason(keyring: &Keyring, message: &[u8], days: u32) -> Reason {
    match keyring.verify(message, day(days)) {
        Err(SignatureError::Untrusted(rejected)) => rejected[0].reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_gnupg_signs_is_believed_as_long_as_its_keys_may_be() {
    let Some(gpg) = Gpg::new() else { return };
    let archive = gpg.key("Archive <a@debian.test>", "ed25519", "cert");
    gpg.run("20250101", &["--quick-add-key", &archive, "ed25519", "sign", "30d"]);
    gpg.key("Old <o@debian.test>", "rsa2048", "sign");
    let text = "Suite: stable  \n- dashed\n-----BEGIN\n\ttab\t\nend\n";
    for user in ["a@debian.test", "o@debian.test"] {
        let message = gpg.sign(user, text, &[]);
        for keyring in [gpg.keyring(&[]), gpg.keyring(&["--armor"])] {
            let believed = keyring.verify(&message, day(20)).unwrap();
            // Blanks at the ends of lines are not signed.
            assert_eq!(believed.text().trim_end(), "Suite: stable\n- dashed\n-----BEGIN\n\ttab\nend", "{user}");
        }
        let mut changed = message.clone();
        let at = message.windows(6).position(|window| window == b"stable").unwrap();
        changed[at] = b'S';
        assert_eq!(reason(&gpg.keyring(&[]), &changed, 20), Reason::BadSignature, "{user}");
    }
    let message = gpg.sign("a@debian.test", text, &[]);
    assert_eq!(reason(&gpg.keyring(&[]), &message, 40), Reason::KeyExpired);
    gpg.run("20250121", &["--quick-set-expire", &archive, "60d", "*"]);
    assert!(gpg.keyring(&[]).verify(&message, day(40)).is_ok(), "the newest of a key's own signatures counts");
    let weak = gpg.sign("o@debian.test", text, &["--digest-algo", "SHA1"]);
    assert_eq!(reason(&gpg.keyring(&[]), &weak, 20), Reason::WeakDigest);

    let revocation = std::fs::read_to_string(gpg.path(&format!("openpgp-revocs.d/{archive}.rev"))).unwrap();
    std::fs::write(gpg.path("revocation"), revocation.replace(":-----BEGIN", "-----BEGIN")).unwrap();
    gpg.run("20250112", &["--import", gpg.path("revocation").to_str().unwrap()]);
    assert_eq!(reason(&gpg.keyring(&[]), &message, 20), Reason::KeyRevoked);
}
