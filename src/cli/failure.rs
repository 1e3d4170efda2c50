//! How a failure is shown, and which exit code it has.

use std::{io::IsTerminal as _, process::ExitCode, sync::Arc};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

use crate::{
    base::{size::Count, text::visible},
    host::files::FileError,
    inputs::store::StoreError,
    matrix::{Problem, Problems},
    outputs::{credentials::CredentialsError, layout::LayoutError, place::InvalidPlace},
    pipeline::{LoadError, PipelineError, publish::PublishError},
    settings::{InvalidEnvironment, no_color},
};

/// Done, but a check found something.
pub(super) const FOUND: u8 = 3;

/// Why kletimg ends without having done what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Wrong usage: nothing was begun. Exit code 2.
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Environment(#[from] InvalidEnvironment),
    #[error(transparent)]
    Problems(#[from] Problems),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Pipeline(Arc<PipelineError>),
    #[error("{}", lines(.0))]
    Pins(Vec<PipelineError>),
    #[error(
        "matrix.lock does not pin everything: {}\n  help: run `kletimg matrix lock`, or leave `--locked` out",
        what.join(", ")
    )]
    Unlocked { what: Vec<String> },
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error(transparent)]
    Place(#[from] InvalidPlace),
    #[error("stopped")]
    Stopped,
    #[error("printing the result: {0}")]
    Print(#[from] std::io::Error),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            // What a shell reports of a program that was interrupted.
            Self::Stopped => 130,
            Self::Load(LoadError::File(_))
            | Self::Pipeline(_)
            | Self::Pins(_)
            | Self::Layout(_)
            | Self::File(_)
            | Self::Store(_)
            | Self::Print(_) => 1,
            Self::Publish(error) => error.exit_hint(),
            Self::Credentials(_) => 4,
            Self::Place(_)
            | Self::Usage(_)
            | Self::Environment(_)
            | Self::Problems(_)
            | Self::Load(_)
            | Self::Unlocked { .. } => 2,
        }
    }

    /// Prints the failure to standard error and gives its exit code.
    pub(super) fn show(&self) -> ExitCode {
        match self {
            // Whoever read the output has enough of it: nothing to complain about.
            Self::Print(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            Self::Problems(problems) | Self::Load(LoadError::Problems(problems)) => show_problems(problems),
            _ => super::progress::line(&format!("error: {self}")),
        }
        ExitCode::from(self.code())
    }
}

/// One problem of a file, with the lines around it on a terminal and as `file:line:column: ...` elsewhere, where
/// editors and CI systems look for that.
fn show_problems(problems: &Problems) {
    let terminal = std::io::stderr().is_terminal();
    let theme = if terminal && !no_color() { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false);
    for problem in &problems.0 {
        let mut shown = String::new();
        if terminal && handler.render_report(&mut shown, &Shown::new(problem)).is_ok() {
            super::progress::raw_line(&shown);
        } else {
            super::progress::line(&format!("error: {problem}"));
        }
    }
    super::progress::line(&format!("{} found, nothing was built", Count(problems.0.len(), "problem")));
}

/// A problem with what a terminal would obey taken out of it, because the report around it has colours of its own.
#[derive(Debug, thiserror::Error)]
#[error("{}", visible(&problem.message))]
struct Shown<'a> {
    problem: &'a Problem,
    source_code: NamedSource<String>,
}

impl<'a> Shown<'a> {
    fn new(problem: &'a Problem) -> Self {
        let source = &problem.at.source;
        // Of equal length, so that the problem stays where it is.
        let plain = |c: char| if c.is_control() && !"\n\r\t".contains(c) { "?".repeat(c.len_utf8()) } else { c.into() };
        let text: String = source.text.chars().map(plain).collect();
        let name = visible(&source.path.display().to_string()).into_owned();
        Self { problem, source_code: NamedSource::new(name, text) }
    }
}

impl Diagnostic for Shown<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        Some(Box::new(self.problem.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.problem.help.as_ref().map(|help| Box::new(visible(help)) as Box<dyn std::fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source_code)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(LabeledSpan::underline(self.problem.at.span.clone()))))
    }
}

/// Every error, but of those with one cause only the first, and what else it keeps from coming.
fn lines(errors: &[PipelineError]) -> String {
    let mut shown: Vec<(String, String, Vec<&str>)> = Vec::new();
    for error in errors {
        let text = error.to_string();
        let (what, cause) = error.common().map_or((None, text.clone()), |(what, cause)| (Some(what), cause));
        match shown.iter_mut().find(|(known, ..)| *known == cause) {
            Some((_, _, others)) => others.extend(what),
            None => shown.push((cause, text, Vec::new())),
        }
    }
    let line = |(_, text, others): &(String, String, Vec<&str>)| match others.as_slice() {
        [] => text.clone(),
        others => format!("{text}\n  likewise: {}", others.join(", ")),
    };
    shown.iter().map(line).collect::<Vec<_>>().join("\nerror: ")
}
