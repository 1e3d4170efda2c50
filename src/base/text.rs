//! Texts: types that files and JSON hold as text (written by `Display`, read by `FromStr`), and what programs print.

use std::borrow::Cow;

/// Whether a text says something and not merely something that begins or ends like it: `v1.26.1` is not said by `v1.26.15`
/// or `v1.26.1-dirty`, but by `Kubernetes v1.26.1` and, of a wanted `1.26.1`, by `v1.26.1`.
pub(crate) fn says(text: &str, wanted: &str) -> bool {
    let part_of_word = |c: char| c.is_ascii_alphanumeric() || "-+_".contains(c);
    text.match_indices(wanted).any(|(begin, found)| {
        let before = &text[..begin];
        let digit_first = wanted.starts_with(|c: char| c.is_ascii_digit());
        let before = if digit_first { before.strip_suffix('v').unwrap_or(before) } else { before };
        let mut after = text[begin + found.len()..].chars();
        let next = after.next();
        // A dot ends a sentence, or goes on with a number.
        let goes_on = match next {
            Some('.') => after.next().is_some_and(part_of_word),
            next => next.is_some_and(part_of_word),
        };
        let word_ends = !wanted.ends_with(|c: char| part_of_word(c)) || !goes_on;
        let word_begins = !wanted.starts_with(part_of_word) || !before.ends_with(|c| part_of_word(c) || c == '.');
        word_begins && word_ends
    })
}

/// A text as a terminal may be given it. Names of entries in archives, and what compilers print, are written by strangers;
/// a terminal would obey what is in them. Line breaks and tabs stay.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if obeyed(c) { shown.extend(c.escape_debug()) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

/// Implements serde's traits by a type's text.
macro_rules! serde_as_text {
    ($($type:ty),+) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <String as serde::Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

pub(crate) use serde_as_text;

#[cfg(test)]
mod tests {
    use super::{says, visible};

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        let cases = [
            ("a\tb\nc é", "a\tb\nc é"),
            ("\u{1b}[2J\u{7}x\r\u{9b}1m\u{7f}\0", "\\u{1b}[2J\\u{7}x\\r\\u{9b}1m\\u{7f}\\0"),
        ];
        for (text, shown) in cases {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn a_version_is_a_word_of_its_own() {
        let said = [
            ("Kubernetes v1.26.1", "v1.26.1"),
            ("Kubernetes v1.26.1", "1.26.1"),
            ("Kubernetes v1.26.1\n", "Kubernetes v1.26.1"),
            ("crictl version v1.26.1.", "1.26.1"),
            ("{\"v\": \"1.26.1\"}", "1.26.1"),
            ("1.26.15, 1.26.1", "1.26.1"),
            ("CNI portmap plugin v1.6.0", " plugin v1.6.0"),
        ];
        for (text, wanted) in said {
            assert!(says(text, wanted), "{text} {wanted}");
        }
        let not_said = [
            ("v1.26.15", "v1.26.1"),
            ("v1.26.1-dirty", "1.26.1"),
            ("v1.26.1+k3s1", "1.26.1"),
            ("v1.26.1.2", "1.26.1"),
            ("11.26.1", "1.26.1"),
            ("0.1.26.1", "1.26.1"),
            ("dev1.26.1", "v1.26.1"),
            ("", "1.26.1"),
        ];
        for (text, wanted) in not_said {
            assert!(!says(text, wanted), "{text} {wanted}");
        }
    }
}
