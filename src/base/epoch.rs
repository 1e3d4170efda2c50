//! The one time that a build may mention: seconds since 1970, from `SOURCE_DATE_EPOCH` or the lock.
//!
//! See <https://reproducible-builds.org/specs/source-date-epoch/>.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Seconds since 1970-01-01 UTC, not negative and before the year 10000, so that every format can hold it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Epoch(u64);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time in whole seconds since 1970-01-01 (SOURCE_DATE_EPOCH), before the year 10000")]
pub struct InvalidEpoch(pub String);

impl Epoch {
    /// 9999-12-31T23:59:59Z.
    const LAST: u64 = 253_402_300_799;

    pub const fn seconds(self) -> u64 {
        self.0
    }

    /// RFC 3339 in UTC, as the OCI image config's `created` has it.
    pub fn rfc3339(self) -> String {
        let (days, seconds) = (self.0 / 86_400, self.0 % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// The proleptic Gregorian date of a day counted from 1970-01-01, by eras of 400 years that begin on 1 March
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

impl TryFrom<u64> for Epoch {
    type Error = InvalidEpoch;

    fn try_from(seconds: u64) -> Result<Self, Self::Error> {
        if seconds <= Self::LAST { Ok(Self(seconds)) } else { Err(InvalidEpoch(seconds.to_string())) }
    }
}

impl From<Epoch> for u64 {
    fn from(epoch: Epoch) -> Self {
        epoch.0
    }
}

impl FromStr for Epoch {
    type Err = InvalidEpoch;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let seconds = text.trim().parse::<u64>().map_err(|_| InvalidEpoch(text.to_owned()))?;
        Self::try_from(seconds)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_610_543_721, "2021-01-13T13:15:21Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (Epoch::LAST, "9999-12-31T23:59:59Z"),
        ];
        for (seconds, text) in cases {
            assert_eq!(Epoch::try_from(seconds).unwrap().rfc3339(), text);
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "-1", "now", "1.5", "253402300800"] {
            assert!(text.parse::<Epoch>().is_err(), "{text}");
        }
    }
}
