//! The plan as tables for people: tags, components with their ways, and what is still to be fetched.

use std::{collections::BTreeSet, fmt::Write as _};

use tabled::{builder::Builder, settings::Style};

use crate::{
    base::{
        Platform,
        size::{Bytes, Count},
    },
    plan::{Component, ComponentState, Plan, Request, Root, SelectionState, Stock, Supply, Way},
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
    if !stock.left_out.is_empty() {
        text.push_str(&left_out(stock));
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
        let also = tag.extra.iter().map(|extra| format!("\n  also {extra}"));
        [tag.reference() + &also.collect::<String>(), list(&platforms), tag.base.clone(), names.join(" ")]
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

/// The packages of every base; of those that stand on a shared layer only what they have beside it. Then what else is
/// taken from the same repositories.
fn packages(plan: &Plan, stock: &Stock) -> String {
    let mut rows: Vec<([String; 3], Vec<Platform>)> = Vec::new();
    let mut add = |key: [String; 3], platform| match rows.iter_mut().find(|(known, _)| *known == key) {
        Some((_, platforms)) => platforms.push(platform),
        None => rows.push((key, vec![platform])),
    };
    let mut of_bases = BTreeSet::new();
    for base in &plan.bases {
        let Root::Packages { all, shared } = &base.root else { continue };
        of_bases.extend([*all, *shared]);
        let request = Request::parse(&plan.selections[*all].request);
        let common = Request::parse(&plan.selections[*shared].request).install;
        let mut asked = common.join(" ");
        let others: Vec<_> = request.install.iter().filter(|name| !common.contains(name)).copied().collect();
        if !others.is_empty() {
            let _ = write!(asked, "\nand {}", others.join(" "));
        }
        if !request.without.is_empty() {
            let _ = write!(asked, "\nwithout {}", request.without.join(" "));
        }
        add([base.name.clone(), wrap(&asked), chosen(stock, *all)], base.platform);
    }
    for (index, selection) in plan.selections.iter().enumerate().filter(|(index, _)| !of_bases.contains(index)) {
        let request = Request::parse(&selection.request);
        let mut asked: Vec<_> = request.install.iter().map(|name| (*name).to_owned()).collect();
        asked.extend(request.files.iter().map(|name| format!("files of {name}")));
        asked.extend(request.sources.iter().map(|(name, version)| format!("the source of {name} {version}")));
        let asked = format!("{}, for {}", asked.join(" "), users(plan, index).join(" "));
        add([selection.base.clone(), wrap(&asked), chosen(stock, index)], selection.platform);
    }
    let rows = rows.into_iter().map(|([name, asked, state], platforms)| [name, list(&platforms), asked, state]);
    table(["BASE", "PLATFORMS", "PACKAGES ASKED FOR", "CHOSEN"], rows)
}

fn chosen(stock: &Stock, selection: usize) -> String {
    match stock.selections.get(selection) {
        Some(SelectionState::Pinned { packages, size }) if packages.len() == 1 => {
            format!("{}, {}", packages[0], Bytes(*size))
        }
        Some(SelectionState::Pinned { packages, size }) => format!("{} packages, {}", packages.len(), Bytes(*size)),
        Some(SelectionState::Unpinned) | None => "not chosen yet".to_owned(),
    }
}

/// What a selection that is no base's is for: components, or the tools that make them.
fn users(plan: &Plan, selection: usize) -> Vec<String> {
    let mut users = Vec::new();
    for component in &plan.components {
        let takes = match &component.way {
            Way::Package { selection: mine, .. } | Way::Go { input: Supply::Selection(mine), .. } => *mine == selection,
            Way::Go { .. } | Way::Release { .. } | Way::File { .. } => false,
        };
        let tools = component
            .tools
            .iter()
            .filter(|tool| tool.input.as_ref().is_some_and(|input| input.input == Supply::Selection(selection)));
        let names = takes.then(|| component.name.clone()).into_iter();
        for name in names.chain(tools.map(|tool| format!("the toolchain {}", tool.name))) {
            if !users.contains(&name) {
                users.push(name);
            }
        }
    }
    users
}

/// What is left out of bases although something in them depends on it.
fn left_out(stock: &Stock) -> String {
    let rows = stock.left_out.iter().map(|omitted| {
        let by: Vec<_> = omitted.needed_by.iter().map(|(name, by)| format!("{name} by {}", some(by))).collect();
        [omitted.base.clone(), wrap(&omitted.packages.join(" ")), wrap(&by.join("\n")), wrap(&omitted.why)]
    });
    table(["BASE", "LEFT OUT", "ASKED FOR", "BECAUSE"], rows)
}

/// The first of many names.
fn some(names: &BTreeSet<String>) -> String {
    const MOST: usize = 4;
    let mut text = names.iter().take(MOST).cloned().collect::<Vec<_>>().join(" ");
    if let more @ 1.. = names.len().saturating_sub(MOST) {
        let _ = write!(text, " and {more} more");
    }
    text
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
        "{}, {}, {}: {} here, {missing} to be fetched",
        Count(plan.tags.len(), "tag"),
        Count(plan.cells(), "image"),
        Count(inputs, "input"),
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
