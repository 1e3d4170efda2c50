//! The text of a repository's index, `APKINDEX`: one record per package, one letter per field.
//!
//! An index of Alpine holds some ten thousand records, so nothing is copied: a record is a row of ranges of the text, and
//! [`Package`] is a view of one. Everything that could be wrong with a record is found here, with its line, so that
//! whoever reads a package later meets no errors. Fields that a newer abuild may add are passed over, as apk does.
//!
//! Whether the text comes from whom it should is decided before, by [`super::repository`].

use std::ops::Range;

use super::{
    checksum::Checksum,
    dependency::{Dependency, InvalidDependency},
    record::{Field, Record, Span, TEXTS},
    version::{InvalidVersion, Version},
};

pub use super::record::{OwnedPackage, Package};

/// The records of an index and the text they point into.
#[derive(Clone, Debug, Default)]
pub struct Index {
    text: String,
    records: Vec<Record>,
}

/// More text than any repository has (Alpine's largest is 10 MB), and few enough for ranges of 32 bits.
pub const MAX_TEXT: usize = 512 << 20;

/// What is wrong with an index. Lines are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    #[error("line {line} of the index is not UTF-8")]
    NotText { line: usize },
    #[error("line {line} of the index is `{text}`: expected a letter, a colon and a value")]
    NotAField { line: usize, text: String },
    #[error("line {line} of the index: `{text}` is not {expected}")]
    BadValue { line: usize, text: String, expected: &'static str },
    #[error("line {line} of the index gives the field `{field}` a second time in one record")]
    Twice { line: usize, field: char },
    #[error("the record of the index that begins at line {line} has no {field}")]
    Incomplete { line: usize, field: &'static str },
    #[error("line {line} of the index: {error}")]
    Dependency { line: usize, error: InvalidDependency },
    #[error("line {line} of the index: {error}")]
    Version { line: usize, error: InvalidVersion },
    #[error("the index of {bytes} bytes is larger than the {MAX_TEXT} that are read")]
    TooLarge { bytes: usize },
}

impl Index {
    /// Reads a whole index.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, IndexError> {
        if bytes.len() > MAX_TEXT {
            return Err(IndexError::TooLarge { bytes: bytes.len() });
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            IndexError::NotText { line: good.split(|byte| *byte == b'\n').count() }
        })?;
        let records = Reader { text: &text, line: 0, position: 0, records: Vec::new() }.read()?;
        Ok(Self { text, records })
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub fn packages(&self) -> impl ExactSizeIterator<Item = Package<'_>> {
        self.records.iter().map(|record| Package { text: &self.text, record })
    }
}

struct Reader<'a> {
    text: &'a str,
    line: usize,
    position: usize,
    records: Vec<Record>,
}

impl Reader<'_> {
    fn read(mut self) -> Result<Vec<Record>, IndexError> {
        let mut open: Option<(usize, Record)> = None;
        for line in self.text.split('\n') {
            self.line += 1;
            let range = self.position..self.position + line.len();
            self.position = range.end + 1;
            // As apk reads it, any line shorter than a field's letter and colon ends a record.
            if line.len() < 2 {
                self.close(open.take())?;
                continue;
            }
            let (_, record) = open.get_or_insert_with(|| {
                (self.line, Record { whole: Span::from(range.start..range.start), ..Record::default() })
            });
            record.whole.end = Span::from(range.clone()).end;
            self.field(record, line, range)?;
        }
        self.close(open)?;
        Ok(self.records)
    }

    fn field(&self, record: &mut Record, line: &str, range: Range<usize>) -> Result<(), IndexError> {
        let letter = line.as_bytes()[0];
        let Some(value) = line.get(1..).and_then(|rest| rest.strip_prefix(':')) else {
            return Err(IndexError::NotAField { line: self.line, text: shortened(line) });
        };
        match letter {
            b'C' => {
                let checksum = Checksum::parse(value).ok_or_else(|| self.bad(value, "a Q1 checksum"))?;
                return self.once(letter, record.checksum.replace(checksum).is_none());
            }
            b'S' => record.size = self.number(value)?,
            b'I' => record.installed_size = self.number(value)?,
            b't' => record.build_time = self.number(value)?,
            b'k' => {
                let priority = self.number(value)?;
                record.provider_priority =
                    u16::try_from(priority).map_err(|_| self.bad(value, "a priority below 65536"))?;
            }
            _ => {
                let Some(field) = TEXTS.iter().position(|text| *text == letter) else { return Ok(()) };
                let span = &mut record.fields[field];
                self.once(letter, span.end == 0)?;
                *span = Span::from(range.start + 2..range.end);
                return self.check(letter, value);
            }
        }
        Ok(())
    }

    /// Checks the texts that have a form of their own.
    fn check(&self, letter: u8, value: &str) -> Result<(), IndexError> {
        match letter {
            b'P' if !is_name(value) => Err(self.bad(value, "a package name")),
            b'A' if !is_name(value) => Err(self.bad(value, "an architecture")),
            b'V' => match Version::parse(value) {
                Ok(version) if !version.as_str().is_empty() => Ok(()),
                Ok(_) => Err(self.bad(value, "a version")),
                Err(error) => Err(IndexError::Version { line: self.line, error }),
            },
            b'D' | b'p' | b'i' => Dependency::list(value)
                .try_for_each(|dependency| dependency.map(|_| ()))
                .map_err(|error| IndexError::Dependency { line: self.line, error }),
            _ => Ok(()),
        }
    }

    fn close(&mut self, open: Option<(usize, Record)>) -> Result<(), IndexError> {
        let Some((line, record)) = open else { return Ok(()) };
        let missing = |field| Err(IndexError::Incomplete { line, field });
        if record.fields[Field::Name as usize].end == 0 {
            return missing("name (P)");
        }
        if record.fields[Field::Version as usize].end == 0 {
            return missing("version (V)");
        }
        if record.checksum.is_none() {
            return missing("checksum (C)");
        }
        self.records.push(record);
        Ok(())
    }

    fn number(&self, value: &str) -> Result<u64, IndexError> {
        let digits = value.bytes().all(|byte| byte.is_ascii_digit());
        value.parse().ok().filter(|_| digits).ok_or_else(|| self.bad(value, "a number"))
    }

    fn once(&self, letter: u8, first: bool) -> Result<(), IndexError> {
        if first { Ok(()) } else { Err(IndexError::Twice { line: self.line, field: letter.into() }) }
    }

    fn bad(&self, value: &str, expected: &'static str) -> IndexError {
        IndexError::BadValue { line: self.line, text: shortened(value), expected }
    }
}

/// Names become parts of file names and of database lines.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(['.', '-'])
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte))
}

/// As much of a value as an error should show.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RECORD: &str = "C:Q1qZk+NkcGgWq6PiVxeFDCbJzQ2J0=\nP:musl\nV:1.2.4-r2\nA:x86_64\nS:387192\nI:622592\n\
        T:the musl c library\nU:https://musl.libc.org/\nL:MIT\no:musl\nm:A B <a@b.c>\nt:1693256197\nc:0e4e5f8c\n\
        k:7\nD:a b>1 !c\np:so:libc.musl-x86_64.so.1=1\ni:d=1 e\nx:of the future\n";

    fn parse(text: &str) -> Result<Index, IndexError> {
        Index::parse(text.as_bytes().to_vec())
    }

    #[test]
    fn a_record_gives_its_fields() {
        let index = parse(&format!("{RECORD}\n\n{RECORD}")).unwrap();
        assert_eq!(index.len(), 2);
        let package = index.packages().nth(1).unwrap();
        let texts = [package.name(), package.version().as_str(), package.arch(), package.origin(), package.license()];
        assert_eq!(texts, ["musl", "1.2.4-r2", "x86_64", "musl", "MIT"]);
        assert_eq!((package.size(), package.installed_size(), package.build_time()), (387_192, 622_592, 1_693_256_197));
        assert_eq!((package.provider_priority(), package.checksum()), (7, Checksum::of(b"abc")));
        let depends: Vec<_> = package.depends().map(|dependency| dependency.to_string()).collect();
        assert_eq!(depends, ["a", "b>1", "!c"]);
        assert_eq!(package.provides().next().unwrap().name, "so:libc.musl-x86_64.so.1");
        assert_eq!(package.install_if().count(), 2);
        assert_eq!(package.record(), RECORD.trim_end());
        let owned = package.to_owned();
        assert_eq!((owned.as_package().name(), owned.as_package().record()), ("musl", RECORD.trim_end()));
        assert_eq!(package.file_name(), "musl-1.2.4-r2.apk");
    }

    #[test]
    fn a_broken_record_is_named_by_its_line() {
        let cases = [
            ("P:musl\n", "", "record of the index that begins at line 20 has no name"),
            ("V:1.2.4-r2\n", "", "begins at line 20 has no version"),
            ("C:Q1qZk+NkcGgWq6PiVxeFDCbJzQ2J0=\n", "", "begins at line 20 has no checksum"),
            ("V:1.2.4-r2", "V:1.2.4-2", "line 22 of the index: `1.2.4-2` is not a package version"),
            ("P:musl", "P:../musl", "line 21 of the index: `../musl` is not a package name"),
            ("S:387192", "S:-1", "line 24 of the index: `-1` is not a number"),
            ("k:7", "k:70000", "line 33 of the index: `70000` is not a priority"),
            ("D:a b>1 !c", "D:a b> !c", "line 34 of the index: `b>` is not a dependency"),
            ("L:MIT", "license MIT", "line 28 of the index is `license MIT`"),
            ("C:Q1", "C:Q2", "line 20 of the index: `Q2"),
            ("L:MIT", "L:MIT\nL:MIT", "line 29 of the index gives the field `L` a second time"),
        ];
        for (good, bad, expected) in cases {
            let broken = RECORD.replacen(good, bad, 1);
            let error = parse(&format!("{RECORD}\n{broken}\n{RECORD}")).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let error = Index::parse(b"P:a\nT:\xff\n".to_vec()).unwrap_err();
        assert_eq!(error, IndexError::NotText { line: 2 });
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "([A-Za-z]:[a-z0-9 =<>~!.-]{0,12}\n|\n|\\PC{0,4}\n){0,12}") {
            if let Ok(index) = parse(&text) {
                for package in index.packages() {
                    prop_assert!(!package.name().is_empty());
                    prop_assert!(Index::parse(package.record().into()).is_ok());
                }
            }
        }
    }
}
