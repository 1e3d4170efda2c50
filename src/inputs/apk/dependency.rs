//! Dependencies as `D:`, `p:`, `i:`, `r:` and `etc/apk/world` write them: `[!]name[@tag][operator version]`.
//!
//! One form serves all: in `provides` the version is the one provided, in `install_if` a condition, in `replaces` the
//! packages whose files may be taken. `so:`, `cmd:` and `pc:` are only parts of names.

use std::{cmp::Ordering, fmt};

use super::version::Version;

/// One dependency, borrowed from the text it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependency<'a> {
    /// The thing that must *not* be there (`!name`).
    pub conflict: bool,
    pub name: &'a str,
    /// The repository tag (`@edge`) that this dependency of the world is pinned to.
    pub tag: Option<&'a str>,
    pub constraint: Constraint<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constraint<'a> {
    Any,
    Version(Operator, Version<'a>),
    /// `><`: exactly the package whose control part has this checksum, as `apk add file.apk` records it.
    Checksum(&'a str),
}

/// Which outcomes of a comparison satisfy, and whether it is made fuzzily.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operator {
    /// `<` or `>`, where one of them is there.
    direction: Option<Ordering>,
    equal: bool,
    fuzzy: bool,
}

/// A text that is no dependency.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a dependency: write [!]name[@tag], alone or with one of = < <= > >= ~ and a version")]
pub struct InvalidDependency(pub String);

impl<'a> Dependency<'a> {
    /// Reads one dependency.
    pub fn parse(text: &'a str) -> Result<Self, InvalidDependency> {
        let plain = |byte: u8| byte > b' ' && byte != 0x7f;
        let read =
            || if text.bytes().all(plain) { Self::read(text, |version| Version::parse(version).ok()) } else { None };
        read().ok_or_else(|| InvalidDependency(text.to_owned()))
    }

    /// Reads the dependencies of one line, separated by blanks.
    pub fn list(line: &'a str) -> impl Iterator<Item = Result<Self, InvalidDependency>> {
        line.split([' ', '\n']).filter(|text| !text.is_empty()).map(Self::parse)
    }

    /// Reads a line of which [`Self::list`] has found before that every dependency in it is one.
    pub(super) fn checked_list(line: &'a str) -> impl Iterator<Item = Self> {
        let texts = line.split([' ', '\n']).filter(|text| !text.is_empty());
        texts.filter_map(|text| Self::read(text, |version| Some(Version::checked(version))))
    }

    fn read(text: &'a str, version_of: impl Fn(&'a str) -> Option<Version<'a>>) -> Option<Self> {
        let is_operator = |byte: &u8| matches!(byte, b'<' | b'>' | b'=' | b'~');
        let (conflict, text) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let (name, operator, version) = match text.bytes().position(|byte| is_operator(&byte)) {
            Some(begin) => {
                let length = text.bytes().skip(begin).position(|byte| !is_operator(&byte))?;
                let (name, rest) = text.split_at(begin);
                let (operator, version) = rest.split_at(length);
                (name, operator, version)
            }
            None => (text, "", ""),
        };
        let (name, tag) = name.split_once('@').map_or((name, None), |(name, tag)| (name, Some(tag)));
        if name.is_empty() || tag.is_some_and(str::is_empty) {
            return None;
        }
        let constraint = match operator {
            "" => Constraint::Any,
            "><" => Constraint::Checksum(version),
            operator => Constraint::Version(Operator::read(operator)?, version_of(version)?),
        };
        Some(Self { conflict, name, tag, constraint })
    }

    /// The version of this entry of a list of provides; without one it is a virtual name.
    pub const fn version(&self) -> Option<Version<'a>> {
        match self.constraint {
            Constraint::Version(_, version) => Some(version),
            Constraint::Any | Constraint::Checksum(_) => None,
        }
    }
}

impl Operator {
    fn read(text: &str) -> Option<Self> {
        let has = |c| text.contains(c);
        let direction = match (has('<'), has('>')) {
            // Both in any mixture say either nothing or what `><` says.
            (true, true) => return None,
            (true, false) => Some(Ordering::Less),
            (false, true) => Some(Ordering::Greater),
            (false, false) => None,
        };
        Some(Self { direction, equal: has('=') || has('~'), fuzzy: has('~') })
    }

    /// Whether `version` satisfies `operator wanted`.
    pub fn holds(self, version: Version<'_>, wanted: Version<'_>) -> bool {
        let order = if self.fuzzy { version.compare_fuzzily(wanted) } else { version.cmp(&wanted) };
        self.direction == Some(order) || (self.equal && order == Ordering::Equal)
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Some(Ordering::Less) => "<",
            Some(Ordering::Greater) => ">",
            _ => "",
        };
        let equal = match (self.fuzzy, self.equal) {
            (true, _) => "~",
            (_, true) => "=",
            _ => "",
        };
        write!(f, "{direction}{equal}")
    }
}

impl fmt::Display for Dependency<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.conflict {
            f.write_str("!")?;
        }
        f.write_str(self.name)?;
        if let Some(tag) = self.tag {
            write!(f, "@{tag}")?;
        }
        match self.constraint {
            Constraint::Any => Ok(()),
            Constraint::Version(operator, version) => write!(f, "{operator}{version}"),
            Constraint::Checksum(checksum) => write!(f, "><{checksum}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_and_written_back() {
        let texts = [
            "busybox",
            "!uclibc",
            "so:libc.musl-x86_64.so.1",
            "cmd:7z=23.01-r0",
            "a>1",
            "a>=1.2_rc1",
            "a<2",
            "a<=2",
            "python3~3.11",
            "a>~1",
            "musl@edge",
            "!a@edge<3",
            "/bin/sh",
            "a><Q1abc=",
            "pc:x=0",
        ];
        for text in texts {
            assert_eq!(Dependency::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Dependency::parse("a~=1").unwrap().to_string(), "a~1");
    }

    #[test]
    fn what_is_no_dependency_is_refused() {
        for text in
            ["", "!", "=1", "a=", "a=1=2", "a@", "a<=>1", "a=x.y", "a=1.2-4", "@edge", "a b", "a\tb", "a>", "!="]
        {
            assert!(Dependency::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn operators_hold_for_the_versions_they_name() {
        let cases = [
            ("=1.2", "1.2", true),
            ("=1.2", "1.2-r0", false),
            ("<1.2", "1.1", true),
            ("<1.2", "1.2", false),
            ("<=1.2", "1.2", true),
            (">1.2", "1.2-r1", true),
            (">=1.2", "1.2_rc1", false),
            ("~1.2", "1.2.9-r3", true),
            ("~1.2", "1.3", false),
            (">~1.2", "1.3", true),
            ("<~1.2", "1.2.9", true),
            ("<~1.2", "1.3", false),
        ];
        for (text, version, expected) in cases {
            let text = format!("a{text}");
            let Constraint::Version(operator, wanted) = Dependency::parse(&text).unwrap().constraint else {
                panic!("{text} has no version");
            };
            assert_eq!(operator.holds(Version::parse(version).unwrap(), wanted), expected, "{version} {text}");
        }
    }
}
