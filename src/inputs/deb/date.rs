//! Times as release files write them: `Sat, 11 Jul 2026 10:16:37 UTC` (RFC 5322 with a zone's name).

use crate::base::Epoch;

/// A text that is no such time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time such as `Sat, 11 Jul 2026 10:16:37 UTC`")]
pub struct InvalidDate(pub String);

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Reads a time. Only UTC is understood, under its three usual names: no archive writes anything else.
pub fn parse(text: &str) -> Result<Epoch, InvalidDate> {
    read(text).ok_or_else(|| InvalidDate(text.chars().take(80).collect()))
}

fn read(text: &str) -> Option<Epoch> {
    let (_weekday, rest) = text.split_once(',')?;
    let mut words = rest.split_ascii_whitespace();
    let day = number(words.next()?, 1, 31)?;
    let name = words.next()?;
    let month = u64::try_from(MONTHS.iter().position(|month| *month == name)?).ok()? + 1;
    let year = number(words.next()?, 1970, 9999)?;
    let mut clock = words.next()?.split(':');
    let hour = number(clock.next()?, 0, 23)?;
    let minute = number(clock.next()?, 0, 59)?;
    let second = number(clock.next()?, 0, 60)?;
    let utc = matches!(words.next()?, "UTC" | "GMT" | "+0000" | "Z");
    if !utc || clock.next().is_some() || words.next().is_some() || day > days_in(year, month) {
        return None;
    }
    let days: u64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum::<u64>()
        + (1..month).map(|month| days_in(year, month)).sum::<u64>()
        + day
        - 1;
    Epoch::try_from(days * 86_400 + hour * 3600 + minute * 60 + second).ok()
}

fn number(text: &str, least: u64, most: u64) -> Option<u64> {
    let digits = (1..=4).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
    text.parse().ok().filter(|number| digits && (least..=most).contains(number))
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_the_calendar_has_them() {
        for (text, expected) in [
            ("Thu, 01 Jan 1970 00:00:00 UTC", "1970-01-01T00:00:00Z"),
            ("Tue, 29 Feb 2000 00:00:00 GMT", "2000-02-29T00:00:00Z"),
            ("Sat, 11 Jul 2026 10:16:37 UTC", "2026-07-11T10:16:37Z"),
            ("Mon,  1 Mar 2100 9:05:07 +0000", "2100-03-01T09:05:07Z"),
        ] {
            assert_eq!(parse(text).unwrap().rfc3339(), expected);
        }
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "now",
            "Sat, 11 Jul 2026 10:16:37",
            "Sat, 11 Jul 2026 10:16:37 CET",
            "Sat, 11 Jul 2026 10:16:37 +0200",
            "Sat, 31 Jun 2026 10:16:37 UTC",
            "Sat, 29 Feb 2100 10:16:37 UTC",
            "Sat, 11 Jul 2026 24:16:37 UTC",
            "Sat, 11 Jul 2026 10:16:37:01 UTC",
            "Sat, +1 Jul 2026 10:16:37 UTC",
            "Sat, 11 Jul 2026 10:16:37 UTC x",
            "Sat, 11 Jul 99999999999999999999 10:16:37 UTC",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
