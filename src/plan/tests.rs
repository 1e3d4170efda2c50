//! Plans of small matrices: which cells, which tags, which way and why.

use std::path::Path;

use super::{Filter, Plan, Way, plan};
use crate::{
    base::Platform,
    matrix::{Definition, DefinitionKind, Problems, load},
};

pub(super) const MATRIX: &str = r#"
repository = "docker.io/example/kubelet"
kubernetes = ["1.36.1", "1.26.0"]
variants = ["plain", "kubeadm", "kube-proxy"]
base = "alpine3.22"
[images.kube-proxy]
repository = "docker.io/example/kube-proxy"
tag = "v{kubernetes}-{base}"
"#;

const DEFINITIONS: [(&str, DefinitionKind, &str); 7] = [
    ("plain", DefinitionKind::Variant, "infix = ''\ncomponents = ['kubelet']"),
    ("kubeadm", DefinitionKind::Variant, "extends = ['plain']\ncomponents = ['kubeadm']"),
    ("kube-proxy", DefinitionKind::Variant, "image = 'kube-proxy'\ncomponents = ['kube-proxy']"),
    ("kubelet", DefinitionKind::Component, "daemon = true\ndirectory = '/usr/bin'\npackage = './cmd/kubelet'\n[[way]]\nkind = 'go'\ncgo = true\nurl = 'https://example.org/{kubernetes}.tar.gz'"),
    ("kube-proxy", DefinitionKind::Component, "daemon = true\ndirectory = '/usr/bin'\n[[way]]\nkind = 'release'\nurl = 'https://example.org/{kubernetes}/{arch}/{component}'"),
    (
        "kubeadm",
        DefinitionKind::Component,
        "directory = '/usr/bin'\npackage = './cmd/kubeadm'
[[way]]\nkind = 'release'\nkubernetes = '<=1.26'\nurl = 'https://example.org/{kubernetes}/{arch}/{component}'\nchecksum = '{url}.sha256'
[[way]]\nkind = 'release'\nplatforms = ['linux/amd64', 'linux/arm64']\nurl = 'https://example.org/{kubernetes}/{arch}/{component}'
[[way]]\nkind = 'go'\nurl = 'https://example.org/{kubernetes}.tar.gz'",
    ),
    ("alpine3.22", DefinitionKind::Base, "[rootfs]\nurl = 'https://example.org/{alpine-arch}.tar.gz'"),
];

pub(super) fn planned(matrix: &str, filter: &Filter) -> Result<Plan, Problems> {
    let definitions: Vec<_> = DEFINITIONS
        .into_iter()
        .map(|(name, kind, text)| Definition {
            name: name.to_owned(),
            kind,
            path: format!("{}/{name}.toml", kind.noun()).into(),
            text: text.to_owned(),
        })
        .collect();
    plan(&load(Path::new("matrix.toml"), matrix, &definitions)?, filter, Some(Platform::Amd64))
}

fn tags(plan: &Plan) -> Vec<String> {
    plan.tags.iter().map(|tag| format!("{} x{}", tag.layout_name, tag.cells.len())).collect()
}

#[test]
fn the_product_is_narrowed_by_rules_and_filters() {
    let all = planned(MATRIX, &Filter::default()).unwrap();
    assert_eq!(
        tags(&all),
        [
            "v1.36.1-alpine3.22 x3",
            "v1.36.1-kubeadm-alpine3.22 x3",
            "kube-proxy:v1.36.1-alpine3.22 x3",
            "v1.26.0-alpine3.22 x3",
            "v1.26.0-kubeadm-alpine3.22 x3",
            "kube-proxy:v1.26.0-alpine3.22 x3",
        ]
    );
    let excluded = format!("{MATRIX}[[exclude]]\nkubernetes = '>=1.36'\nplatform = 'linux/arm/v7'\n");
    assert_eq!(tags(&planned(&excluded, &Filter::default()).unwrap())[0], "v1.36.1-alpine3.22 x2");
    let included =
        format!("{excluded}[[include]]\nkubernetes = '1.20.2'\nvariant = 'plain'\nplatform = 'linux/amd64'\n");
    let filter = Filter { kubernetes: vec!["<1.26".parse().unwrap()], ..Filter::default() };
    assert_eq!(tags(&planned(&included, &filter).unwrap()), ["v1.20.2-alpine3.22 x1"]);
    let filter = Filter { platforms: vec![Platform::ArmV7], variants: vec!["kubeadm".into()], ..Filter::default() };
    assert_eq!(tags(&planned(&excluded, &filter).unwrap()), ["v1.26.0-kubeadm-alpine3.22 x1"]);
}

#[test]
fn the_first_way_that_serves_a_cell_is_taken_and_explained() {
    let plan = planned(MATRIX, &Filter::default()).unwrap();
    let way = |version: &str, platform| {
        let found = plan.components.iter().find(|component| {
            component.name == "kubeadm" && component.version == version && component.platform == platform
        });
        let component = found.unwrap();
        (matches!(component.way, Way::Go { .. }), component.why.clone())
    };
    assert_eq!(way("1.26.0", Platform::ArmV7), (false, "the first way".to_owned()));
    let (from_source, why) = way("1.36.1", Platform::ArmV7);
    assert!(from_source);
    assert!(why.contains("way 1 (release) is only for Kubernetes <=1.26"), "{why}");
    assert!(why.contains("way 2 (release) is only for linux/amd64, linux/arm64"), "{why}");
}

#[test]
fn equal_components_and_inputs_are_planned_once() {
    let plan = planned(MATRIX, &Filter::default()).unwrap();
    let kubelets = plan.components.iter().filter(|component| component.name == "kubelet").count();
    assert_eq!(kubelets, 6, "two versions on three platforms, shared by two variants");
    let sources = plan.inputs.iter().filter(|input| input.url == "https://example.org/1.36.1.tar.gz").count();
    assert_eq!(sources, 1, "kubelet on all platforms and kubeadm on one share a source");
}

#[test]
fn tags_that_collide_or_are_none_are_refused() {
    let cases = [
        (MATRIX.replace("base = ", "tag = 'v{kubernetes}-{base}'\nbase = "), "duplicate-tag"),
        (MATRIX.replace("base = ", "tag = '-{kubernetes}{-variant}'\nbase = "), "invalid-tag"),
        (MATRIX.replace("base = ", "tag = '{arch}{kubernetes}{-variant}'\nbase = "), "invalid-tag"),
    ];
    for (matrix, code) in cases {
        let problems = planned(&matrix, &Filter::default()).unwrap_err();
        assert!(problems.0.iter().any(|problem| problem.code == code), "{code}: {problems}");
    }
}
