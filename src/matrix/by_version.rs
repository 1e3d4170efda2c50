//! Values that depend on the Kubernetes version.
//!
//! In a file such a value is written plainly when it is the same for all versions, and otherwise as a list of cases of
//! which the first that fits counts:
//!
//! ```toml
//! version = [{ kubernetes = "<1.24", use = "0.9.1" }, { use = "1.6.0" }]
//! ```

use super::read::Value;
use crate::base::{Version, VersionRange};

/// A value for each Kubernetes version; the first case whose range holds the version counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByVersion<T> {
    cases: Vec<(VersionRange, T)>,
}

impl<T> ByVersion<T> {
    /// The same value for every version.
    pub fn always(value: T) -> Self {
        Self { cases: vec![(VersionRange::any(), value)] }
    }

    /// The value for a version, `None` when no case fits.
    pub fn get(&self, kubernetes: &Version) -> Option<&T> {
        self.cases.iter().find(|(range, _)| range.contains(kubernetes)).map(|(_, value)| value)
    }

    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.cases.iter().map(|(_, value)| value)
    }

    /// Reads either form; `read` reads one plain value.
    pub(super) fn read(value: &Value<'_>, read: impl Fn(&Value<'_>) -> Option<T>) -> Option<Self> {
        if !value.is_list_of_tables() {
            return read(value).map(Self::always);
        }
        let cases = value.tables(|case| {
            let range = case.parsed("kubernetes").unwrap_or_else(VersionRange::any);
            let value = case.require("use", "use = ...").and_then(|value| read(&value))?;
            Some((range, value))
        });
        Some(Self { cases })
    }
}
