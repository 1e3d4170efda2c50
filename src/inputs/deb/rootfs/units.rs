//! Units of systemd that start by themselves, as `systemctl enable` links them (systemd.unit(5), [Install]).
//!
//! Packages enable their units in scripts. An image whose containers do start systemd says which of them it wants.

use super::{AssembleError, Root};
use crate::base::{Entry, TreePath};

/// Folders with units of packages, the first of which wins.
const FOLDERS: [&str; 2] = ["etc/systemd/system", "usr/lib/systemd/system"];

/// Why a unit cannot be enabled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("enabling the unit {0}: no package brings it")]
    Missing(String),
    #[error("enabling the unit {0}: it says nothing of what starts it (WantedBy, RequiredBy or Alias under [Install])")]
    NotInstallable(String),
    #[error("enabling the unit {0}: that is no unit's name")]
    Name(String),
}

/// Links units where their own [Install] sections say.
pub(super) fn enable(root: &mut Root<'_>, units: &[String]) -> Result<(), AssembleError> {
    for unit in units {
        is_name(unit)?;
        let (place, text) = find(root, unit)?;
        let mut links = Vec::new();
        for (key, values) in install_section(&text) {
            for value in values.split_ascii_whitespace() {
                is_name(value)?;
                match key {
                    "WantedBy" => links.push(format!("{value}.wants/{unit}")),
                    "RequiredBy" => links.push(format!("{value}.requires/{unit}")),
                    "Alias" => links.push(value.to_owned()),
                    _ => {}
                }
            }
        }
        if links.is_empty() {
            return Err(UnitError::NotInstallable(unit.clone()).into());
        }
        for link in links {
            root.add(&format!("etc/systemd/system/{link}"), Entry::symlink(format!("/{place}")))?;
        }
    }
    Ok(())
}

fn find(root: &Root<'_>, unit: &str) -> Result<(TreePath, String), AssembleError> {
    for folder in FOLDERS {
        let path = TreePath::new(folder)?.join(unit)?;
        if let Some(bytes) = root.read(&path)? {
            return Ok((path, String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    Err(UnitError::Missing(unit.to_owned()).into())
}

/// Units and their aliases become names of links, so they are names and no paths.
fn is_name(unit: &str) -> Result<(), UnitError> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '\\' | '@');
    let good = unit.contains('.') && !unit.starts_with('.') && unit.chars().all(known);
    if good { Ok(()) } else { Err(UnitError::Name(unit.to_owned())) }
}

fn install_section(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines()
        .map(str::trim)
        .skip_while(|line| *line != "[Install]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.starts_with(['#', ';']))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
}
