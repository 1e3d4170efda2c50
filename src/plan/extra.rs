//! Extra tags by rule: `v1.26` for the newest patch of a minor, `latest` for the newest of all.
//!
//! A rule gives every tag a further name, and of those that come out alike within a repository the newest Kubernetes
//! version has it. So `v{minor}{-variant}-{base}` is one name for each minor, variant and base. Pre-releases have none:
//! whoever follows `latest` wants a release. The whole matrix counts, whatever a filter leaves of it, so that a narrow
//! build does not move a name to an older version.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Tag,
    cells::{is_tag, tag_of},
};
use crate::{
    base::Version,
    matrix::{ExtraTag, Fields, Matrix, Sink},
};

/// The placeholders that a rule can use.
const USABLE: [&str; 5] = ["kubernetes", "minor", "variant", "base", "image"];

/// A tag by what it is of: version, variant, base.
pub(super) type Kind = (Version, String, String);

/// Names by repository, and who has them by now.
type Names = BTreeMap<(String, String), Kind>;

/// Gives the tags of a plan their extra names. `kinds` are all tags of the matrix.
pub(super) fn assign(matrix: &Matrix, kinds: &BTreeSet<Kind>, tags: &mut [Tag], sink: &Sink) {
    if matrix.file.extra_tags.is_empty() {
        return;
    }
    let fixed = kinds.iter().filter_map(|kind| Some(named(matrix, kind)?.1)).map(|tag| (tag.repository, tag.tag));
    let fixed: BTreeSet<(String, String)> = fixed.collect();
    // The same name from two rules leads to the newest of both.
    let mut names = Names::new();
    for rule in matrix.file.extra_tags.iter().filter(|rule| usable(matrix, rule, sink)) {
        let mut reported = BTreeSet::new();
        for kind in kinds.iter().filter(|kind| applies(rule, kind)) {
            let Some((fields, tag)) = named(matrix, kind) else { continue };
            let Ok(name) = rule.tag.fill(&fields) else { continue };
            let name = (tag.repository, name);
            match problem(&name, kind, &fixed, names.get(&name)) {
                Some((code, message, help)) if reported.insert(name.clone()) => {
                    sink.report(code, &rule.at, message, Some(help.to_owned()));
                }
                Some(_) => {}
                None => {
                    let newest = names.entry(name).or_insert_with(|| kind.clone());
                    if newest.0 < kind.0 {
                        newest.clone_from(kind);
                    }
                }
            }
        }
    }
    for tag in tags {
        let mine = (&tag.kubernetes, &tag.variant, &tag.base);
        let of_mine = names.iter().filter(|((repository, _), (version, variant, base))| {
            *repository == tag.repository && (version, variant, base) == mine
        });
        tag.extra = of_mine.map(|((_, name), _)| name.clone()).collect();
    }
}

/// What is wrong with a name for this kind: code, message and help.
fn problem(
    (repository, name): &(String, String),
    kind: &Kind,
    fixed: &BTreeSet<(String, String)>,
    holder: Option<&Kind>,
) -> Option<(&'static str, String, &'static str)> {
    if !is_tag(name) {
        let help = "a tag has up to 128 letters, digits, `_`, `.` and `-`, and begins with none of the last two";
        return Some(("invalid-tag", format!("`{name}` is no tag that registries take"), help));
    }
    if fixed.contains(&(repository.clone(), name.clone())) {
        let message = format!("the extra tag `{repository}:{name}` is also the name of a built tag");
        return Some(("duplicate-tag", message, "leave `{kubernetes}` out of an extra tag"));
    }
    let (version, variant, base) = holder?;
    if *version != kind.0 || (variant, base) == (&kind.1, &kind.2) {
        return None;
    }
    let message =
        format!("the extra tag `{repository}:{name}` would name both {variant} on {base} and {} on {}", kind.1, kind.2);
    Some(("duplicate-tag", message, "tell them apart in `tag`, or choose one with `variant` and `base`"))
}

fn applies(rule: &ExtraTag, (version, variant, base): &Kind) -> bool {
    let is_release = *version >= Version::new(version.major(), version.minor(), version.patch());
    is_release
        && (rule.variants.is_empty() || rule.variants.iter().any(|wanted| wanted.value == *variant))
        && (rule.bases.is_empty() || rule.bases.iter().any(|wanted| wanted.value == *base))
}

/// Whether the rule speaks of things that the matrix has.
fn usable(matrix: &Matrix, rule: &ExtraTag, sink: &Sink) -> bool {
    let mut sound = true;
    for name in rule.tag.names().filter(|name| !USABLE.contains(name)) {
        let help = format!("a tag can hold: {}", USABLE.map(|name| format!("{{{name}}}")).join(", "));
        sink.report("invalid-tag", &rule.at, format!("`{{{name}}}` is not known of a tag"), Some(help));
        sound = false;
    }
    let lists = [("variant", &rule.variants, &matrix.file.variants), ("base", &rule.bases, &matrix.file.bases)];
    for (what, wanted, known) in lists {
        for name in wanted.iter().filter(|name| !known.iter().any(|known| known.value == name.value)) {
            let known: Vec<_> = known.iter().map(|known| known.value.clone()).collect();
            let help = format!("the matrix has: {}", known.join(", "));
            sink.report("unknown-name", &name.at, format!("the matrix has no {what} `{}`", name.value), Some(help));
            sound = false;
        }
    }
    sound
}

/// A kind's own tag, and what placeholders stand for there.
fn named(matrix: &Matrix, (version, variant, base): &Kind) -> Option<(Fields, Tag)> {
    let variant = matrix.variants.get(variant)?;
    let tag = tag_of(matrix, variant, version, base)?;
    let fields =
        Fields::new().kubernetes(version).with("variant", &variant.infix).with("base", base).with("image", &tag.image);
    Some((fields, tag))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{MATRIX, planned};
    use crate::plan::Filter;

    fn extras(rules: &str, filter: &Filter) -> Vec<(String, Vec<String>)> {
        let matrix = format!("{}{rules}", MATRIX.replace("\"1.26.0\"", "\"1.26.0\", \"1.26.3\", \"1.37.0-rc.1\""));
        let plan = planned(&matrix, filter).unwrap();
        plan.tags.into_iter().filter(|tag| !tag.extra.is_empty()).map(|tag| (tag.layout_name, tag.extra)).collect()
    }

    #[test]
    fn the_newest_of_those_that_come_out_alike_has_the_name() {
        let rules = "[[extra-tag]]\ntag = 'v{minor}'\nvariant = ['plain', 'kube-proxy']\n\
                     [[extra-tag]]\ntag = 'latest'\nvariant = 'plain'\n";
        let word = |text: &str| text.to_owned();
        let expected = [
            (word("v1.36.1-alpine3.22"), vec![word("latest"), word("v1.36")]),
            (word("kube-proxy:v1.36.1-alpine3.22"), vec![word("v1.36")]),
            (word("v1.26.3-alpine3.22"), vec![word("v1.26")]),
            (word("kube-proxy:v1.26.3-alpine3.22"), vec![word("v1.26")]),
        ];
        let found = extras(rules, &Filter::default());
        assert_eq!(found.len(), expected.len(), "{found:?}");
        assert!(expected.iter().all(|expected| found.contains(expected)), "{found:?}");
        let old = Filter { kubernetes: vec!["1.26.0".parse().unwrap()], ..Filter::default() };
        assert_eq!(extras(rules, &old), [], "a filter does not make an old version the newest");
    }

    #[test]
    fn rules_that_cannot_hold_are_refused() {
        let cases = [
            ("tag = 'latest'", "duplicate-tag"),
            ("tag = 'v{kubernetes}{-variant}-{base}'", "duplicate-tag"),
            ("tag = '-{minor}{-variant}'", "invalid-tag"),
            ("tag = '{arch}{-variant}'", "invalid-tag"),
            ("tag = 'latest'\nvariant = 'pain'", "unknown-name"),
            ("variant = 'plain'", "missing-key"),
        ];
        for (rule, code) in cases {
            let problems = planned(&format!("{MATRIX}[[extra-tag]]\n{rule}\n"), &Filter::default()).unwrap_err();
            assert!(problems.0.iter().any(|problem| problem.code == code), "{rule}: {problems}");
        }
    }
}
