//! What can be done with images that were built: three lines for somebody who has never done it.

use std::{fmt::Write as _, path::Path};

use super::Built;

/// The commands, for a layout at `dest` of the matrix in `file`.
pub(super) fn steps(file: &Path, dest: &Path, built: &Built) -> Vec<String> {
    let Some(first) = built.tags.first() else { return Vec::new() };
    let mut options = String::new();
    if file != Path::new("matrix.toml") {
        let _ = write!(options, " -f {}", file.display());
    }
    let run = format!("run one:    kletimg image run {}:{}", dest.display(), first.name);
    if dest != Path::new("dist") {
        let _ = write!(options, " -o {}", dest.display());
    }
    let registry = first.reference.as_deref().and_then(|reference| reference.split('/').next()).unwrap_or_default();
    vec![
        format!(
            "push them:  kletimg matrix push{options}    (to {registry}, as `repository` in {} says)",
            file.display()
        ),
        format!("load them:  kletimg matrix load{options}    (into the Docker Engine of this machine)"),
        run,
    ]
}
