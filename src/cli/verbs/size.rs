//! `kletimg size table`.

use std::process::ExitCode;

use super::super::{
    args::{Size, TableFormat},
    failure::Failure,
};
use crate::{outputs::layout, report::SizeTable};

pub(super) fn run(args: &Size) -> Result<ExitCode, Failure> {
    let Size::Table { layout: folder, format } = args;
    let mut tags = layout::read(folder)?;
    layout::measure(folder, &mut tags)?;
    let table = SizeTable::of_tags(&tags);
    match format {
        TableFormat::Terminal => super::print(&table.terminal())?,
        TableFormat::Markdown => super::print(&table.markdown())?,
        TableFormat::Json => super::print(&table.json().map_err(std::io::Error::from)?)?,
    }
    Ok(ExitCode::SUCCESS)
}
