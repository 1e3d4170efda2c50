//! Keys that programs read in different ways.
//!
//! Go's `encoding/json`, which Docker, containerd and most registries use, takes `Layers` for `layers`, and of keys that
//! differ in case the last; most others take keys as they are written. A document in which that makes a difference is one
//! image here and another there, as in CVE-2021-41190, so it is refused.

use std::{collections::BTreeSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// The fields of `manifest.md`, `image-index.md` and `descriptor.md`.
pub(super) const MANIFEST: &[&str] = &[
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "subject",
    "digest",
    "size",
    "urls",
    "data",
    "platform",
    "architecture",
    "os",
    "os.version",
    "os.features",
    "variant",
    "annotations",
];

/// The fields of `config.md`.
pub(super) const CONFIG: &[&str] = &[
    "created",
    "architecture",
    "os",
    "os.version",
    "os.features",
    "variant",
    "config",
    "rootfs",
    "type",
    "diff_ids",
    "history",
    "created_by",
    "empty_layer",
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
];

/// The fields of the `manifest.json` of `docker save`.
pub(super) const DOCKER: &[&str] = &["Config", "RepoTags", "Layers"];

/// Maps whose keys are the user's, and are read as they are by everybody.
const FREE: [&str; 4] = ["annotations", "Labels", "Volumes", "ExposedPorts"];

/// Refuses a document with a key that is one of `known` but for its case, or that differs from another only in case.
pub(super) fn check(bytes: &[u8], known: &[&str]) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Keys { known, free: false }.deserialize(&mut deserializer)
}

/// As Go compares keys: simple case folding, under which the Kelvin sign is a `k` and the long s an `s`.
fn folded(key: &str) -> String {
    key.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

#[derive(Clone, Copy)]
struct Keys<'a> {
    known: &'a [&'a str],
    free: bool,
}

impl<'de> DeserializeSeed<'de> for Keys<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !self.free {
                let like = folded(&key);
                let meant = self.known.iter().find(|known| folded(known) == like && **known != key);
                if let Some(meant) = meant {
                    let key = key.escape_debug();
                    return Err(A::Error::custom(format!(
                        "`{key}` is `{meant}` for some programs and unknown to others"
                    )));
                }
                if !seen.insert(like) {
                    let key = key.escape_debug();
                    return Err(A::Error::custom(format!(
                        "`{key}` is there twice, and programs differ in which counts"
                    )));
                }
            }
            map.next_value_seed(Keys { free: self.free || FREE.contains(&key.as_str()), ..self })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while sequence.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_read_in_two_ways_is_refused() {
        let good = [
            r#"{"layers":[{"digest":"x","annotations":{"Digest":"1","digest":"2"}}],"Unknown":1}"#,
            r#"{"config":{"digest":"x"},"x":{"y":null,"z":[1.5,-1,true]}}"#,
        ];
        for text in good {
            assert!(check(text.as_bytes(), MANIFEST).is_ok(), "{text}");
        }
        let bad = [
            r#"{"Layers":[]}"#,
            r#"{"layers":[],"LAYERS":[]}"#,
            r#"{"layers":[{"digest":"x","Digest":"y"}]}"#,
            r#"{"layerſ":[]}"#,
            r#"{"a":{"b":1,"B":2}}"#,
            r#"{"layers":[],"layers":[]}"#,
            r#"{"layers":"#,
        ];
        for text in bad {
            assert!(check(text.as_bytes(), MANIFEST).is_err(), "{text}");
        }
        assert!(check(br#"[{"Config":"c","RepoTags":null,"Layers":[]}]"#, DOCKER).is_ok());
        assert!(check(br#"[{"config":"c","RepoTags":null,"Layers":[]}]"#, DOCKER).is_err());
        assert!(check(br#"{"config":{"Labels":{"os":"x","OS":"y"}},"Size":1}"#, CONFIG).is_ok());
    }
}
