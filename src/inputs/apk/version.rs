//! Package versions, ordered as apk-tools 2.14 orders them (its `src/version.c`).
//!
//! A version is a row of parts: `1.2.3`, a letter `a`, suffixes such as `_rc1` or `_p2`, and a revision `-r4`. Two versions
//! differ at their first different part: by its number where both have a part of the same kind there, otherwise by the
//! kinds. Everything a resolver decides rests on this order, so it is taken over whole, with its oddities: a component
//! that begins with zeros is ordered by them (`1.00 < 1.0 < 1.01 < 1.1`), the empty text is a version, and a fuzzy match
//! is content when either side ends first.
//!
//! Only valid versions are compared: [`Version::parse`] is the gate, and apk's own tests hold only for those.

use std::{cmp::Ordering, fmt};

/// A valid version. Two spellings that apk holds for equal are equal here.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a>(&'a str);

/// A text that apk-tools 2.14 takes for no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a package version: expected something like 1.2.3, 1.2a, 1.2_rc1 or 1.2_p3-r0")]
pub struct InvalidVersion(pub String);

impl<'a> Version<'a> {
    pub fn parse(text: &'a str) -> Result<Self, InvalidVersion> {
        if is_valid(text) { Ok(Self(text)) } else { Err(InvalidVersion(text.to_owned())) }
    }

    /// A text that was parsed before.
    pub(super) const fn checked(text: &'a str) -> Self {
        Self(text)
    }

    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether this version is `pattern` or one of its refinements, as the operator `~` asks: `1.2.3` matches `1.2`.
    /// As in apk, the longer pattern `1.2.3` is also matched by the shorter version `1.2`.
    pub fn matches_fuzzily(self, pattern: Version<'_>) -> bool {
        first_difference(self.0, pattern.0).is_none_or(|difference| match difference {
            Difference::Values(_) => false,
            Difference::Kinds(_) => true,
        })
    }

    /// The order with the fuzzy rule: versions that differ only in how far they go are equal.
    pub fn compare_fuzzily(self, other: Version<'_>) -> Ordering {
        match first_difference(self.0, other.0) {
            Some(Difference::Values(order)) => order,
            Some(Difference::Kinds(_)) | None => Ordering::Equal,
        }
    }
}

impl fmt::Display for Version<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match first_difference(self.0, other.0) {
            Some(Difference::Values(order) | Difference::Kinds(order)) => order,
            None => Ordering::Equal,
        }
    }
}

impl PartialOrd for Version<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version<'_> {}

/// What comes next in a version. The order is that in which parts may follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// A number after a dot, whose leading zeros count.
    Component,
    /// A number.
    Number,
    Letter,
    Suffix,
    SuffixNumber,
    Revision,
    End,
}

/// Suffixes of versions before the plain one, in order, then those of versions after it.
const BEFORE: [&str; 4] = ["alpha", "beta", "pre", "rc"];
const AFTER: [&str; 5] = ["cvs", "svn", "git", "hg", "p"];

/// apk gives up on numbers of 18 and more digits.
const DIGITS: usize = 17;

/// Reads a version part by part.
struct Parts<'a> {
    rest: &'a [u8],
    next: Kind,
}

/// A part that no version may have.
struct Invalid;

impl<'a> Parts<'a> {
    const fn new(text: &'a str) -> Self {
        Self { rest: text.as_bytes(), next: Kind::Number }
    }

    /// The value of the next part; afterwards `next` is the kind of the one that follows.
    fn value(&mut self) -> Result<i64, Invalid> {
        if self.rest.is_empty() {
            self.next = Kind::End;
            return Ok(0);
        }
        let value = match self.next {
            Kind::Component if self.rest[0] == b'0' => return Ok(self.leading_zeros()),
            Kind::Component | Kind::Number | Kind::SuffixNumber | Kind::Revision => self.number()?,
            Kind::Letter => i64::from(self.take(1)[0]),
            Kind::Suffix => self.suffix()?,
            Kind::End => 0,
        };
        self.next = self.following()?;
        Ok(value)
    }

    /// The more zeros, the lower. The last zero stays, for the number that follows.
    fn leading_zeros(&mut self) -> i64 {
        let more = self.rest.iter().skip(1).take_while(|byte| **byte == b'0').count();
        self.take(more);
        self.next = Kind::Number;
        -i64::try_from(more).unwrap_or(i64::MAX)
    }

    fn number(&mut self) -> Result<i64, Invalid> {
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits > DIGITS {
            return Err(Invalid);
        }
        Ok(self.take(digits).iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
    }

    /// Negative for a suffix that makes the version an earlier one.
    fn suffix(&mut self) -> Result<i64, Invalid> {
        for (value, name) in (-4..).zip(BEFORE).chain((0..).zip(AFTER)) {
            if self.rest.starts_with(name.as_bytes()) {
                self.take(name.len());
                return Ok(value);
            }
        }
        Err(Invalid)
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    /// Which kind follows the part just read; its separator is consumed.
    fn following(&mut self) -> Result<Kind, Invalid> {
        let (kind, separator) = match (self.next, self.rest) {
            (_, []) => (Kind::End, 0),
            (Kind::Number | Kind::Component, [b'a'..=b'z', ..]) => (Kind::Letter, 0),
            (Kind::Letter, [b'0'..=b'9', ..]) => (Kind::Number, 0),
            (Kind::Suffix, [b'0'..=b'9', ..]) => (Kind::SuffixNumber, 0),
            (_, [b'.', ..]) => (Kind::Component, 1),
            (_, [b'_', ..]) => (Kind::Suffix, 1),
            (_, [b'-', b'r', ..]) => (Kind::Revision, 2),
            _ => return Err(Invalid),
        };
        self.take(separator);
        let backwards =
            [(Kind::Number, Kind::Component), (Kind::SuffixNumber, Kind::Suffix), (Kind::Letter, Kind::Number)];
        if kind < self.next && !backwards.contains(&(self.next, kind)) {
            return Err(Invalid);
        }
        Ok(kind)
    }
}

fn is_valid(text: &str) -> bool {
    let mut parts = Parts::new(text);
    while parts.next != Kind::End {
        if parts.value().is_err() {
            return false;
        }
    }
    true
}

enum Difference {
    /// Both have a part of the same kind, with different values.
    Values(Ordering),
    /// Everything both have is equal; then they go on differently.
    Kinds(Ordering),
}

/// Both texts are valid versions; a part that cannot be read ends the comparison as equal and does not occur.
fn first_difference(a: &str, b: &str) -> Option<Difference> {
    let (mut a, mut b) = (Parts::new(a), Parts::new(b));
    while a.next == b.next && a.next != Kind::End {
        let (Ok(left), Ok(right)) = (a.value(), b.value()) else { return None };
        if left != right {
            return Some(Difference::Values(left.cmp(&right)));
        }
    }
    if a.next == b.next {
        return None;
    }
    let order = if a.begins_earlier() {
        Ordering::Less
    } else if b.begins_earlier() {
        Ordering::Greater
    } else {
        // What could still have gone on is the later one: `1.2.3 > 1.2a > 1.2_p1 > 1.2-r1 > 1.2`.
        b.next.cmp(&a.next)
    };
    Some(Difference::Kinds(order))
}

impl Parts<'_> {
    fn begins_earlier(&mut self) -> bool {
        self.next == Kind::Suffix && self.suffix().is_ok_and(|value| value < 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> Version<'_> {
        Version::parse(text).unwrap()
    }

    #[test]
    fn versions_are_ordered_as_apk_orders_them() {
        let rising = [
            &["0.1_pre2", "0.1_rc1", "0.1", "0.1-r1", "0.1_p1", "0.1a", "0.1.0"][..],
            &["1.00", "1.001", "1.0", "1.01", "1.1", "1.2", "1.10"],
            &["1.2_alpha", "1.2_alpha1", "1.2_beta", "1.2_pre", "1.2_rc", "1.2", "1.2-r0", "1.2_cvs", "1.2_svn"],
            &["1.2_git20230717-r4", "1.2_git20230718", "1.2_hg", "1.2_p", "1.2_p1", "1.2a", "1.2b", "1.2b1"],
            &["", "1", "2", "10", "20230506"],
            &["1.36.1-r2", "1.36.1-r15", "1.36.2"],
            &["1.2_rc1_p1", "1.2_rc2"],
        ];
        for row in rising {
            for pair in row.windows(2) {
                assert!(version(pair[0]) < version(pair[1]), "{} < {}", pair[0], pair[1]);
                assert!(version(pair[1]) > version(pair[0]), "{} > {}", pair[1], pair[0]);
            }
        }
        assert_eq!(version("1.2"), version("1.2"));
    }

    #[test]
    fn what_is_no_version_is_refused() {
        let texts =
            ["1.2-4", "1.2_post1", "abc", "1.2_rc1a", "1-r1.2", "1.2A", "1 2", "1.123456789012345678", "1\0", "ä"];
        for text in texts {
            assert!(Version::parse(text).is_err(), "{text}");
        }
        for text in ["1.", "1..2", "a", "1.2-r", "1.2a3.4_rc_p1-r0-r1", "1.12345678901234567"] {
            assert!(Version::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn fuzzy_matches_end_with_the_shorter_side() {
        let cases = [
            ("1.2.3-r4", "1.2", true),
            ("1.2", "1.2.3", true),
            ("1.20", "1.2", false),
            ("3.12.1-r0", "3.12", true),
            ("3.11.9", "3.12", false),
            ("1.2_rc1", "1.2", true),
        ];
        for (text, pattern, expected) in cases {
            assert_eq!(version(text).matches_fuzzily(version(pattern)), expected, "{text} ~ {pattern}");
        }
    }

    const VALID: &str =
        "[0-9]{1,3}(\\.[0-9]{0,3}){0,3}[a-z]?(_(alpha|beta|pre|rc|cvs|svn|git|hg|p)[0-9]{0,2}){0,2}(-r[0-9]{0,2})?";

    proptest! {
        #[test]
        fn the_order_is_total_and_antisymmetric(a in VALID, b in VALID, c in VALID) {
            let (a, b, c) = (version(&a), version(&b), version(&c));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            prop_assert_eq!(a.cmp(&a), Ordering::Equal);
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
        }

        #[test]
        fn no_text_is_too_odd(a in "\\PC*", b in "[0-9._a-z-]{0,24}") {
            if let (Ok(a), Ok(b)) = (Version::parse(&a), Version::parse(&b)) {
                prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            }
        }
    }
}
