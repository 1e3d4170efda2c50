//! When to try again, and how long to wait before.

use std::time::{Duration, SystemTime};

use super::{error::RegistryError, settings::Notes};

/// How often and how patiently requests are repeated.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Attempts in all, the first included.
    pub attempts: u32,
    /// The wait after the first failure; it doubles with each further one.
    pub first: Duration,
    /// The longest wait. A registry that asks for more than this with Retry-After ends the push.
    pub longest: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        // About a minute in all: the time in which a registry's front end restarts or a rate limit passes.
        Self { attempts: 7, first: Duration::from_millis(500), longest: Duration::from_secs(60) }
    }
}

/// Waits shorter than this are not worth a line.
const WORTH_TELLING: Duration = Duration::from_secs(2);

/// The attempts at one piece of work.
pub(super) struct Tries {
    retry: Retry,
    failed: u32,
    notes: Notes,
}

impl Retry {
    pub(super) const fn begin(self, notes: Notes) -> Tries {
        Tries { retry: self, failed: 0, notes }
    }
}

impl Tries {
    /// Waits before the next attempt, or gives the error to end with.
    pub(super) async fn again(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        if !error.is_transient() {
            return Err(error);
        }
        self.failed += 1;
        if self.failed >= self.retry.attempts {
            return Err(RegistryError::GaveUp { attempts: self.failed, last: Box::new(error) });
        }
        let told = error.to_string();
        let wait = match error {
            RegistryError::Busy { doing, wait: Some(wait), .. } if wait > self.retry.longest => {
                return Err(RegistryError::MustWait { doing, wait });
            }
            // A registry that says "at once" and still does not take it is not asked seven times in a moment.
            RegistryError::Busy { wait: Some(wait), .. } => wait.max(self.backoff()),
            _ => self.backoff(),
        };
        if wait >= WORTH_TELLING {
            let (next, all) = (self.failed + 1, self.retry.attempts);
            self.notes.say(&format!("{told}: trying again in {} s ({next} of {all})", wait.as_secs()));
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// Work went on since the last failure, so the earlier ones no longer count.
    pub(super) const fn progressed(&mut self) {
        self.failed = 0;
    }

    fn backoff(&self) -> Duration {
        let doublings = self.failed.saturating_sub(1).min(16);
        self.retry.first.saturating_mul(1 << doublings).min(self.retry.longest)
    }
}

/// Reads a Retry-After header: seconds or a date (RFC 9110, 10.2.3). What is neither is as good as absent.
pub(super) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    Some(until.duration_since(now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 30);
        let cases = [
            ("0", Some(0)),
            ("17", Some(17)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ];
        for (value, seconds) in cases {
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn waits_double_up_to_a_bound() {
        let retry = Retry { attempts: 100, first: Duration::from_secs(1), longest: Duration::from_secs(5) };
        let tries = |failed| Tries { retry, failed, notes: Notes::default() };
        let waits: Vec<_> = (1..=5).map(|failed| tries(failed).backoff().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 5, 5]);
        assert_eq!(tries(u32::MAX).backoff(), retry.longest);
    }
}
