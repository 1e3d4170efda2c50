//! Bytes and texts of any kind: every reader ends, with an answer or an error.

use std::io::Cursor;

use kletimg::inputs::deb::{
    control::Control,
    date,
    openpgp::Keyring,
    relation::{Target, alternatives, relations},
    source_packages, sources,
    stanza::stanzas,
    universe::{Pin, Universe},
    version::compare,
};
use proptest::prelude::*;

use super::keys::day;

/// Texts that look like control files more often than chance would have it.
fn control_text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("Package"),
        Just("Version"),
        Just("Architecture"),
        Just("Depends"),
        Just("Provides"),
        Just("Types"),
        Just("URIs"),
        Just("Suites"),
        Just(": "),
        Just("\n"),
        Just("\n\n"),
        Just(" "),
        Just("\t"),
        Just("#"),
        Just("a"),
        Just("amd64"),
        Just("all"),
        Just(" (>= 1)"),
        Just(", "),
        Just(" | "),
        Just(":any"),
        Just("deb "),
        Just("["),
        Just("]"),
        Just("ä"),
        Just("\r"),
    ];
    prop_oneof![prop::collection::vec(word, 0..60).prop_map(|words| words.concat()), ".*"]
}

proptest! {
    #[test]
    fn texts_of_any_kind_are_read_or_refused(text in control_text()) {
        for stanza in stanzas(&text) {
            let fields: Vec<_> = stanza.fields().collect();
            prop_assert!(fields.len() <= text.len());
            let _ = stanza.get("Package");
        }
        let _ = Universe::new("amd64").add(&text, Pin::Normal);
        let _ = source_packages::find(&[&text], "a", None);
        let _ = sources::parse_lines("f", &text);
        if let Ok(found) = sources::parse_stanzas("f", &text) {
            let wanted = sources::Wanted { archive: "debian", suite: "a", components: &["main".to_owned()] };
            let _ = sources::mirrors(&found, wanted);
        }
        let _ = date::parse(&text);
        let _ = Keyring::default().verify(text.as_bytes(), day(1));
    }

    #[test]
    fn a_relation_that_is_read_is_written_back(text in "[a-z0-9+.:|,()<>= ~-]{0,30}") {
        for relation in relations(&text) {
            for target in alternatives(relation).flatten() {
                let written = target.to_string();
                prop_assert_eq!(Target::parse(&written).unwrap(), target);
            }
        }
    }

    #[test]
    fn versions_have_one_order(a in "[0-9a-c~+.:-]{0,8}", b in "[0-9a-c~+.:-]{0,8}", c in "[0-9a-c~+.:-]{0,8}") {
        prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
        prop_assert!(compare(&a, &a).is_eq());
        if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
            prop_assert!(compare(&a, &c).is_le());
        }
    }

    #[test]
    fn bytes_of_any_kind_are_no_package_and_no_keyring(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        at in 0..300_usize,
    ) {
        let _ = Control::read(Cursor::new(&bytes));
        let _ = Keyring::default().add(&bytes);
        let mut good = super::keys::Signer::new(1).keyring(super::keys::Plan::default());
        let at = at.min(good.len() - 1);
        good[at] ^= bytes.first().copied().unwrap_or(1) | 1;
        let _ = Keyring::default().add(&good);
        let _ = Keyring::default().add(&good[..at]);
    }
}
