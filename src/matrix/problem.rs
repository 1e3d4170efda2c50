//! What is wrong with a file: where, what, and what to write instead. Collected, never thrown at the first.

use std::{cell::RefCell, fmt, ops::Range, path::PathBuf, sync::Arc};

/// A file that was read, kept for showing the place of a problem.
#[derive(Debug)]
pub struct Source {
    pub path: PathBuf,
    pub text: String,
}

/// A place in a file, as a range of bytes.
#[derive(Clone, Debug)]
pub struct At {
    pub source: Arc<Source>,
    pub span: Range<usize>,
}

impl At {
    /// Line and column, both counted from 1, columns in characters.
    pub fn line_and_column(&self) -> (usize, usize) {
        let before = self.source.text.get(..self.span.start).unwrap_or(&self.source.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

impl fmt::Display for At {
    /// `file:line:column`, which editors and CI systems turn into a link.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_and_column();
        write!(f, "{}:{line}:{column}", self.source.path.display())
    }
}

/// A value and the place it was read from.
#[derive(Clone, Debug)]
pub struct Located<T> {
    pub value: T,
    pub at: At,
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Stable, in kebab-case, for filters and tests.
    pub code: &'static str,
    pub at: At,
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} [{}]", self.at, self.message, self.code)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, "\n  help: {help}"))
    }
}

/// Everything that is wrong with a set of files, in the order of files and places. Never empty.
#[derive(Debug)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Where readers put the problems they find while they go on reading.
#[derive(Debug, Default)]
pub(crate) struct Sink(RefCell<Vec<Problem>>);

impl Sink {
    pub(crate) fn report(&self, code: &'static str, at: &At, message: impl Into<String>, help: Option<String>) {
        self.0.borrow_mut().push(Problem { code, at: at.clone(), message: message.into(), help });
    }

    /// `value` when nothing is wrong, otherwise everything that is.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T, Problems> {
        let mut problems = self.0.into_inner();
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            _ => {
                problems
                    .sort_by(|a, b| (&a.at.source.path, a.at.span.start).cmp(&(&b.at.source.path, b.at.span.start)));
                Err(Problems(problems))
            }
        }
    }
}

/// The name among `known` that `wrong` was probably meant to be.
pub(crate) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(wrong, name), name))
        .filter(|(distance, name)| *distance <= 1.max(name.len().min(wrong.len()).div_ceil(3)))
        .min()
        .map(|(_, name)| name)
}

/// "did you mean" where a name is near, and all known names otherwise.
pub(super) fn suggest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    nearest(wrong, known.clone()).map_or_else(
        || {
            let names: Vec<_> = known.into_iter().collect();
            if names.is_empty() { "none is defined".to_owned() } else { format!("known are: {}", names.join(", ")) }
        },
        |name| format!("did you mean `{name}`?"),
    )
}
