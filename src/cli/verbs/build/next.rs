//! What can be done with images that were built: three lines for somebody who has never done it.

use std::{borrow::Cow, fmt::Write as _, path::Path};

use super::Built;
use crate::outputs::layout;

/// The commands, for a layout at `dest` of the matrix in `file`, with `program` as the shell found it.
pub(super) fn steps(program: &Path, file: &Path, dest: &Path, built: &Built) -> Vec<String> {
    let Some(first) = built.tags.first() else { return Vec::new() };
    let program = quoted(&program.to_string_lossy()).into_owned();
    let mut options = String::new();
    if file != Path::new("matrix.toml") {
        let _ = write!(options, " -f {}", quoted(&file.to_string_lossy()));
    }
    let image = format!("{}:{}", dest.display(), first.name);
    let run = format!("run one:    {program} image run {}", quoted(&image));
    if dest != Path::new(layout::DEFAULT_FOLDER) {
        let _ = write!(options, " -o {}", quoted(&dest.to_string_lossy()));
    }
    let registry = first.reference.as_deref().and_then(|reference| reference.split('/').next()).unwrap_or_default();
    vec![
        format!(
            "push them:  {program} matrix push{options}    # to {registry}, as `repository` in {} says",
            file.display()
        ),
        format!("load them:  {program} matrix load{options}    # into the Docker Engine of this machine"),
        run,
    ]
}

/// A word as a POSIX shell reads it back.
fn quoted(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:=@%,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        assert_eq!(quoted("target/release/kletimg"), "target/release/kletimg");
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
