//! The plan as tables for people: tags, components with their ways, and what is still to be fetched.

use std::fmt::Write as _;

use tabled::{builder::Builder, settings::Style};

use crate::{
    base::{Platform, size::Bytes},
    plan::{Component, ComponentState, Plan, Root, SelectionState, Stock, Way},
};

/// Renders a plan with the state of what it needs.
pub fn plan_tables(plan: &Plan, stock: &Stock) -> String {
    let mut text = tags(plan);
    text.push_str("\n\n");
    text.push_str(&components(plan, stock));
    text.push_str("\n\n");
    if !plan.selections.is_empty() {
        text.push_str(&packages(plan, stock));
        text.push_str("\n\n");
    }
    text.push_str(&summary(plan, stock));
    text
}

fn table(header: [&str; 4], rows: impl IntoIterator<Item = [String; 4]>) -> String {
    let mut builder = Builder::default();
    builder.push_record(header);
    rows.into_iter().for_each(|row| builder.push_record(row));
    builder.build().with(Style::blank()).to_string()
}

fn tags(plan: &Plan) -> String {
    let rows = plan.tags.iter().map(|tag| {
        let platforms: Vec<_> = tag.cells.iter().map(|cell| cell.platform).collect();
        let mut names: Vec<&str> = Vec::new();
        for index in tag.cells.iter().flat_map(|cell| &cell.components) {
            let name = plan.components[*index].name.as_str();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        [tag.reference(), list(&platforms), tag.base.clone(), names.join(" ")]
    });
    table(["TAG", "PLATFORMS", "BASE", "COMPONENTS"], rows)
}

/// Rows that differ only in their platform are one row.
fn components(plan: &Plan, stock: &Stock) -> String {
    let mut rows: Vec<([String; 3], Vec<Platform>)> = Vec::new();
    for (component, state) in plan.components.iter().zip(&stock.components) {
        let key = [
            format!("{} {}", component.name, component.version),
            format!("{}\n{}", way(component), component.why),
            describe(component, state),
        ];
        match rows.iter_mut().find(|(known, _)| *known == key) {
            Some((_, platforms)) => platforms.push(component.platform),
            None => rows.push((key, vec![component.platform])),
        }
    }
    let rows = rows.into_iter().map(|([name, way, state], platforms)| [name, list(&platforms), way, state]);
    table(["COMPONENT", "PLATFORMS", "WAY, AND WHY", "STATE"], rows)
}

/// The packages of every base; of those that stand on a shared layer only what they have beside it.
fn packages(plan: &Plan, stock: &Stock) -> String {
    let mut rows: Vec<([String; 3], Vec<Platform>)> = Vec::new();
    for base in &plan.bases {
        let Root::Packages { all, shared } = &base.root else { continue };
        let mut asked = plan.selections[*shared].request.join(" ");
        let others =
            plan.selections[*all].request.iter().filter(|name| !plan.selections[*shared].request.contains(name));
        let others: Vec<_> = others.map(String::as_str).collect();
        if !others.is_empty() {
            let _ = write!(asked, "\nand {}", others.join(" "));
        }
        let state = match stock.selections.get(*all) {
            Some(SelectionState::Pinned { packages, size }) => format!("{} packages, {}", packages.len(), Bytes(*size)),
            Some(SelectionState::Unpinned) | None => "not chosen yet".to_owned(),
        };
        let key = [base.name.clone(), wrap(&asked), state];
        match rows.iter_mut().find(|(known, _)| *known == key) {
            Some((_, platforms)) => platforms.push(base.platform),
            None => rows.push((key, vec![base.platform])),
        }
    }
    let rows = rows.into_iter().map(|([name, asked, state], platforms)| [name, list(&platforms), asked, state]);
    table(["BASE", "PLATFORMS", "PACKAGES ASKED FOR", "CHOSEN"], rows)
}

/// Breaks lines between words.
fn wrap(text: &str) -> String {
    const WIDTH: usize = 72;
    let (mut wrapped, mut column) = (String::new(), 0);
    for (number, line) in text.lines().enumerate() {
        if number > 0 {
            wrapped.push('\n');
            column = 0;
        }
        for word in line.split(' ') {
            if column > 0 {
                let full = column + word.len() >= WIDTH;
                wrapped.push(if full { '\n' } else { ' ' });
                column = if full { 0 } else { column + 1 };
            }
            wrapped.push_str(word);
            column += word.len();
        }
    }
    wrapped
}

fn list(platforms: &[Platform]) -> String {
    platforms.iter().map(|platform| platform.name().trim_start_matches("linux/")).collect::<Vec<_>>().join(" ")
}

fn way(component: &Component) -> String {
    let steps = |first: String| {
        let mut text = first;
        if component.strip {
            text.push_str(", stripped");
        }
        if component.pack {
            text.push_str(", packed");
        }
        text
    };
    match &component.way {
        Way::Release { .. } => steps("released files".to_owned()),
        Way::Go { source, .. } => {
            let tags = if source.tags.is_empty() { String::new() } else { format!(" -tags {}", source.tags.join(",")) };
            steps(format!("built from source{}{tags}", if source.cgo { " with CGO" } else { "" }))
        }
        Way::Package { .. } => steps("files of a package".to_owned()),
        Way::File { path, .. } => steps(format!("local file {}", path.display())),
    }
}

fn describe(component: &Component, state: &ComponentState) -> String {
    match state {
        ComponentState::Built { size, unproven } if unproven.is_empty() => format!("built, {}", Bytes(*size)),
        ComponentState::Built { size, unproven } => {
            format!("built, {}\npacked and unproven: {}", Bytes(*size), unproven.join(", "))
        }
        ComponentState::Missing if matches!(component.way, Way::Go { .. }) => "to be compiled".to_owned(),
        ComponentState::Missing => "to be made".to_owned(),
    }
}

fn summary(plan: &Plan, stock: &Stock) -> String {
    let (bytes, missing, unknown) = stock.to_download();
    let unpinned = stock.unpinned();
    let inputs = plan.inputs.len() + stock.packages.len();
    let mut text = format!(
        "{} tags, {} images, {inputs} inputs: {} here, {missing} to be fetched",
        plan.tags.len(),
        plan.cells(),
        inputs - missing,
    );
    if missing > unknown {
        let _ = write!(text, ", {} for {} of them", Bytes(bytes), missing - unknown);
    }
    if unknown > 0 {
        let _ = write!(text, ", {unknown} of unknown size");
    }
    if unpinned > 0 {
        let _ = write!(text, "; {unpinned} not pinned yet (`kletimg matrix lock` pins them, so does the first build)");
    }
    for warning in &stock.warnings {
        let _ = write!(text, "\nwarning: {warning}");
    }
    text
}
