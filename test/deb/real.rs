//! The machine's own archive: what its apt has fetched, through our chain of trust.

use std::{path::Path, time::SystemTime};

use kletimg::{
    base::{Digest, Epoch},
    inputs::deb::{
        openpgp::Keyring,
        release::Release,
        sources::{self, SignedBy},
    },
};

use super::apt::{bookworm, index, kept};
use crate::support::parts;

#[test]
fn what_apt_has_fetched_is_believed_through_our_chain() {
    let (Some(_), Some(())) = (parts::program("apt-get"), bookworm()) else { return };
    let kept = kept();
    let kept =
        parts::need("apt", (!kept.is_empty()).then_some(kept), "apt has no package lists (run `apt-get update`)");
    let Some(kept) = kept else { return };
    let sources = sources::read(Path::new("/etc/apt")).unwrap();
    let components = ["main".to_owned()];
    let wanted = sources::Wanted { archive: "debian", suite: "bookworm", components: &components };
    let mirrors = sources::mirrors(&sources, wanted).unwrap();
    let mut keyring = Keyring::default();
    match &mirrors[0].signed_by {
        SignedBy::Any => {
            keyring.add(&std::fs::read("/usr/share/keyrings/debian-archive-keyring.gpg").unwrap()).unwrap();
        }
        SignedBy::Listed(files) => files.iter().for_each(|file| keyring.add(&std::fs::read(file).unwrap()).unwrap()),
        SignedBy::Keys(keys) => keyring.add(keys.as_bytes()).unwrap(),
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    for (release, packages, path) in kept {
        let message = std::fs::read(&release).unwrap();
        let signed = keyring.verify(&message, Epoch::try_from(now).unwrap()).unwrap();
        let read = Release::parse(&signed).unwrap();
        read.check_suite(&read.codename).unwrap();
        assert_eq!(Digest::of(index(&packages).unwrap()), read.files[&path].digest, "{path} of {}", read.codename);
        let component = path.split('/').next().unwrap();
        assert!(!read.packages(component, "armhf").unwrap().is_empty());

        let mut tampered = message.clone();
        let at = message.len() / 2;
        tampered[at] = if tampered[at] == b'0' { b'1' } else { b'0' };
        assert!(keyring.verify(&tampered, Epoch::try_from(now).unwrap()).is_err());
        let before = Epoch::try_from(signed.signed_at() - 1).unwrap();
        assert!(keyring.verify(&message, before).is_err());
    }
}
