//! The paragraph format of Debian's control files (deb822(5)), read where it lies.
//!
//! An index of bookworm is 50 MB in 63,000 paragraphs of which a few fields each are wanted, so nothing is copied: a
//! paragraph and a value are slices of the text. A value keeps its line breaks; what they mean depends on the field.

/// Paragraphs of a text, in order. A line that is neither a field, a continuation nor a comment ends in an error.
pub fn stanzas(text: &str) -> impl Iterator<Item = Stanza<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = skip_blank_lines(rest);
        if rest.is_empty() {
            return None;
        }
        let (stanza, after) = split_at_blank_line(rest);
        rest = after;
        Some(Stanza { text: stanza })
    })
}

/// One paragraph.
#[derive(Clone, Copy, Debug)]
pub struct Stanza<'a> {
    text: &'a str,
}

/// A line that cannot stand in a paragraph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the line {0:?} is no field (`Name: value`), no continuation of one and no comment")]
pub struct MalformedLine(pub String);

impl<'a> Stanza<'a> {
    /// The fields in order: name, and value without the blanks around it.
    pub fn fields(self) -> impl Iterator<Item = Result<(&'a str, &'a str), MalformedLine>> {
        let mut rest = self.text;
        std::iter::from_fn(move || {
            while rest.starts_with('#') {
                rest = line_end(rest, 0).map_or("", |end| &rest[end..]);
            }
            if rest.is_empty() {
                return None;
            }
            let mut end = line_end(rest, 0).unwrap_or(rest.len());
            while rest[end..].starts_with([' ', '\t', '#']) {
                end = line_end(rest, end).unwrap_or(rest.len());
            }
            let field = &rest[..end];
            rest = &rest[end..];
            match field.split_once(':') {
                Some((name, value)) if !name.is_empty() && !name.contains([' ', '\t', '\n']) => {
                    Some(Ok((name, value.trim())))
                }
                _ => {
                    rest = "";
                    Some(Err(MalformedLine(field.lines().next().unwrap_or_default().chars().take(80).collect())))
                }
            }
        })
    }

    /// The value of a field, whatever the case of its name.
    pub fn get(self, wanted: &str) -> Option<&'a str> {
        self.fields().flatten().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
    }

    /// The paragraph as it stands, with its last line break.
    pub const fn text(self) -> &'a str {
        self.text
    }
}

/// The place after the line break at or after `from`.
fn line_end(text: &str, from: usize) -> Option<usize> {
    text[from..].find('\n').map(|at| from + at + 1)
}

fn is_blank(line: &str) -> bool {
    line.bytes().all(|c| matches!(c, b' ' | b'\t' | b'\r' | b'\n'))
}

fn skip_blank_lines(mut text: &str) -> &str {
    while !text.is_empty() {
        let end = line_end(text, 0).unwrap_or(text.len());
        if !is_blank(&text[..end]) {
            break;
        }
        text = &text[end..];
    }
    text
}

fn split_at_blank_line(text: &str) -> (&str, &str) {
    let mut at = 0;
    while let Some(end) = line_end(text, at) {
        let next = line_end(text, end).unwrap_or(text.len());
        if is_blank(&text[end..next]) {
            return (&text[..end], &text[next..]);
        }
        at = end;
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_and_fields_are_slices_of_the_text() {
        let text = "\n# a comment\nPackage: a\nDepends: b,\n c\n# within\n .\n d\n \t\nPackage: e\nEmpty:\n\n\n";
        let read: Vec<Vec<_>> = stanzas(text).map(|stanza| stanza.fields().map(Result::unwrap).collect()).collect();
        assert_eq!(
            read,
            [vec![("Package", "a"), ("Depends", "b,\n c\n# within\n .\n d")], vec![("Package", "e"), ("Empty", "")]]
        );
        assert_eq!(stanzas(text).next().unwrap().get("PACKAGE"), Some("a"));
        assert_eq!(stanzas("").count() + stanzas("\n \n").count(), 0);
    }

    #[test]
    fn what_is_no_field_is_an_error_and_ends_the_paragraph() {
        for text in ["Package a\n", ": b\n", " first: x\n", "a b: c\n", "A: b\nnothing\nC: d\n"] {
            let fields: Vec<_> = stanzas(text).flat_map(Stanza::fields).collect();
            assert!(fields.last().unwrap().is_err(), "{text}: {fields:?}");
        }
    }
}
