//! `kletimg cache`.

use std::{fmt::Write as _, process::ExitCode};

use super::super::{
    args::Cache,
    failure::{FOUND, Failure},
    progress::line,
    session::Session,
};
use crate::{
    base::size::{Bytes, Count},
    pipeline::cache::{self, Extent},
};

pub(super) fn run(session: &Session, args: &Cache) -> Result<ExitCode, Failure> {
    match args {
        Cache::Info => info(session),
        Cache::Prune { all } => {
            let extent = if *all { Extent::Everything } else { Extent::Derived };
            let freed = cache::prune(&session.store, extent)?;
            super::print(&format!("{} freed in {}", Bytes(freed), session.store.root().display()))?;
            Ok(ExitCode::SUCCESS)
        }
        Cache::Verify => verify(session),
    }
}

fn info(session: &Session) -> Result<ExitCode, Failure> {
    let mut text = format!("{}\n", session.store.root().display());
    let mut sum = 0;
    for holding in cache::info(&session.store)? {
        sum += holding.size;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<10} {:>12} {:>8} files  {}",
            holding.name,
            Bytes(holding.size).to_string(),
            holding.files,
            holding.what
        );
    }
    let _ = writeln!(text, "{:<10} {:>12}", "all", Bytes(sum).to_string());
    super::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn verify(session: &Session) -> Result<ExitCode, Failure> {
    let verified = cache::verify(&session.store)?;
    for name in &verified.damaged {
        super::print(&format!("damaged: blob {name} cannot be read or has another digest"))?;
    }
    for error in &verified.stuck {
        line(&format!("warning: {error}: remove it yourself"));
    }
    let good = Count(usize::try_from(verified.good).unwrap_or(usize::MAX), "blob");
    super::print(&format!("{good} of {} are what they should be", Bytes(verified.size)))?;
    if !verified.damaged.is_empty() {
        let damaged = Count(verified.damaged.len(), "damaged file");
        super::print(&format!("{damaged} removed: the next build makes or downloads them again"))?;
        let forgotten = Count(verified.forgotten, "result");
        super::print(&format!(
            "{forgotten} forgotten, which may have been made from them: the next build makes them anew"
        ))?;
    }
    Ok(if verified.damaged.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}
