//! Which cells the arguments choose, and what is said of a choice that the matrix does not have.

use std::collections::BTreeSet;

use super::args::{Filter, Platforms};
use crate::{
    base::Platform,
    matrix::{Located, Matrix, nearest},
    plan,
};

pub(super) fn as_filter(args: &Filter) -> plan::Filter {
    let mut platforms = Vec::new();
    for wanted in &args.platform {
        match wanted {
            Platforms::All => platforms.extend(Platform::ALL),
            Platforms::Native(platform) | Platforms::One(platform) => platforms.push(*platform),
        }
    }
    plan::Filter {
        kubernetes: args.tags.kubernetes.iter().flat_map(|versions| versions.0.clone()).collect(),
        variants: args.tags.variant.clone(),
        platforms,
        bases: args.tags.base.clone(),
    }
}

/// What the options of a filter take: everything that cells of the matrix have, be it by an `[[include]]`.
struct Known {
    versions: Vec<crate::base::Version>,
    variants: Vec<String>,
    bases: Vec<String>,
    platforms: Vec<String>,
}

impl Known {
    fn of(matrix: &Matrix) -> Self {
        let file = &matrix.file;
        let values = |list: &[Located<String>]| list.iter().map(|item| item.value.clone()).collect::<Vec<_>>();
        let included = || file.include.iter();
        let listed = file.kubernetes.iter().map(|version| version.value.clone());
        let platforms = file.platforms.iter().map(|platform| platform.value);
        Self {
            versions: once(listed.chain(included().flat_map(|rule| rule.versions.clone()))),
            variants: once(
                values(&file.variants).into_iter().chain(included().flat_map(|rule| values(&rule.variants))),
            ),
            bases: once(values(&file.bases).into_iter().chain(included().flat_map(|rule| values(&rule.bases)))),
            platforms: once(platforms.chain(included().flat_map(|rule| rule.platforms.clone())))
                .iter()
                .map(ToString::to_string)
                .collect(),
        }
    }

    fn versions(&self) -> Vec<String> {
        self.versions.iter().map(ToString::to_string).collect()
    }
}

/// In their order, each once.
fn once<T: Ord + Clone>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut seen = BTreeSet::new();
    items.into_iter().filter(|item| seen.insert(item.clone())).collect()
}

/// Every word of a filter that the matrix does not have, with what there is; `None` when there is none. One unknown word
/// beside known ones would otherwise leave out what somebody wanted, without a word.
pub(super) fn unknown(matrix: &Matrix, filter: &Filter) -> Option<String> {
    let known = Known::of(matrix);
    let mut lines = Vec::new();
    let mut check = |option: &str, unknown: Vec<String>, known: &[String]| {
        let names = || known.iter().map(String::as_str);
        let told = unknown.iter().map(|word| {
            let near = nearest(word, names()).map(|near| format!(": did you mean `{near}`?")).unwrap_or_default();
            format!("--{option}: the matrix has no `{word}`{near}")
        });
        lines.extend(told);
        if !unknown.is_empty() {
            lines.push(takes(option, known));
        }
    };
    let ranges = filter.tags.kubernetes.iter().flat_map(|versions| &versions.0);
    let empty = ranges.filter(|range| !known.versions.iter().any(|version| range.contains(version)));
    check("kubernetes", empty.map(ToString::to_string).collect(), &known.versions());
    let missing = |wanted: &[String], known: &[String]| -> Vec<String> {
        wanted.iter().filter(|word| !known.contains(word)).cloned().collect()
    };
    check("variant", missing(&filter.tags.variant, &known.variants), &known.variants);
    check("base", missing(&filter.tags.base, &known.bases), &known.bases);
    let platforms = filter.platform.iter().filter_map(|platform| match platform {
        Platforms::One(platform) => Some(platform.to_string()),
        // These mean what there is of them.
        Platforms::All | Platforms::Native(_) => None,
    });
    check("platform", missing(&platforms.collect::<Vec<_>>(), &known.platforms), &known.platforms);
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// What there is, where every word of a filter is known and no cell has all of them.
pub(super) fn nothing_left(matrix: &Matrix, filter: &Filter) -> String {
    let known = Known::of(matrix);
    let mut lines = vec!["no cell of the matrix fits".to_owned()];
    let mut add = |option: &str, given: bool, known: &[String]| {
        if given {
            lines.push(takes(option, known));
        }
    };
    add("kubernetes", !filter.tags.kubernetes.is_empty(), &known.versions());
    add("variant", !filter.tags.variant.is_empty(), &known.variants);
    add("platform", !filter.platform.is_empty(), &known.platforms);
    add("base", !filter.tags.base.is_empty(), &known.bases);
    lines.join("\n")
}

fn takes(option: &str, known: &[String]) -> String {
    format!("  help: --{option} takes: {}", known.join(", "))
}
