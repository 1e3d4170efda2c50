//! Whole files, right and wrong: which problems they have, at which line.

use std::path::Path;

use super::{Definition, DefinitionKind, Matrix, Problems, load};
use crate::base::Version;

const MATRIX: &str = r#"
repository = "docker.io/example/kubelet"
kubernetes = ["1.26.0", "1.20.2"]
variants = ["plain", "cni"]
base = "alpine3.22"
"#;

const KUBELET: &str = r#"
daemon = true
directory = "/usr/bin"
[[way]]
kind = "release"
url = "https://example.org/{kubernetes}/{arch}/kubelet"
"#;

const PLAIN: &str = r#"
infix = ""
components = ["kubelet"]
entrypoint = ["kubelet", "--"]
options = ["--config=/x", { option = "--late", kubernetes = ">=1.26" }]
"#;

const CNI: &str = r#"
extends = ["plain"]
options = [{ option = "--network-plugin=cni", kubernetes = "<1.24" }]
cmd = [{ kubernetes = "<1.24", use = ["--v=1"] }, { use = [] }]
[env]
A = "b"
"#;

const BASE: &str = "[rootfs]\nurl = \"https://example.org/{alpine-arch}.tar.gz\"\n";

/// The right files, with the text of one of them replaced.
fn with(changed: &str, text: &str) -> Result<Matrix, Problems> {
    let files = [
        ("variants/plain.toml", DefinitionKind::Variant, PLAIN),
        ("variants/cni.toml", DefinitionKind::Variant, CNI),
        ("components/kubelet.toml", DefinitionKind::Component, KUBELET),
        ("alpine/3.22.toml", DefinitionKind::Base, BASE),
    ];
    let definitions: Vec<_> = files
        .into_iter()
        .map(|(path, kind, original)| {
            let stem = path.rsplit('/').next().unwrap().trim_end_matches(".toml");
            let name = if kind == DefinitionKind::Base { format!("alpine{stem}") } else { stem.to_owned() };
            let text = if path == changed { text } else { original };
            Definition { name, kind, path: path.into(), text: text.to_owned() }
        })
        .collect();
    load(Path::new("matrix.toml"), if changed == "matrix.toml" { text } else { MATRIX }, &definitions)
}

#[test]
fn right_files_are_read_and_variants_take_over_what_they_extend() {
    let matrix = with("", "").unwrap();
    let cni = &matrix.variants["cni"];
    assert_eq!(cni.components.iter().map(|used| used.component.value.as_str()).collect::<Vec<_>>(), ["kubelet"]);
    assert_eq!(cni.start(&Version::new(1, 26, 0)), ["kubelet", "--config=/x", "--late", "--"]);
    assert_eq!(cni.start(&Version::new(1, 20, 2)), ["kubelet", "--config=/x", "--network-plugin=cni", "--"]);
    assert_eq!(Matrix::args(cni.cmd.as_ref(), &Version::new(1, 20, 2)), ["--v=1"]);
    assert_eq!(Matrix::args(cni.cmd.as_ref(), &Version::new(1, 26, 0)), Vec::<String>::new());
    assert_eq!(cni.infix, "cni");
}

#[test]
fn every_mistake_is_found_where_it_is() {
    let cases: [(&str, String, &str, &str); 18] = [
        ("matrix.toml", MATRIX.replace("variants", "variant"), "missing-key matrix.toml:1", "variants = "),
        ("matrix.toml", MATRIX.replace("variants", "variantz"), "unknown-key matrix.toml:4", "variants"),
        ("matrix.toml", MATRIX.replace("\"cni\"", "\"cnii\""), "unknown-variant matrix.toml:4", "`cni`"),
        ("matrix.toml", MATRIX.replace("alpine3.22", "alpine3.99"), "unknown-base matrix.toml:5", "alpine3.22"),
        ("matrix.toml", MATRIX.replace("1.26.0", "1.26"), "invalid-value matrix.toml:3", ""),
        ("matrix.toml", MATRIX.replace("1.26.0", "1.20.2"), "given-twice matrix.toml:3", "remove"),
        ("matrix.toml", MATRIX.replace("example/kubelet", "Example"), "invalid-value matrix.toml:2", ""),
        ("matrix.toml", format!("{MATRIX}\nsquash = 1"), "wrong-type matrix.toml:7", ""),
        ("matrix.toml", format!("{MATRIX}\nsource-date-epoch = -1"), "out-of-range matrix.toml:7", ""),
        ("matrix.toml", format!("{MATRIX}\n[[exclude]]\n"), "empty-rule matrix.toml:7", "platform"),
        ("matrix.toml", format!("{MATRIX}\nx = ["), "toml-syntax matrix.toml:7", ""),
        (
            "variants/plain.toml",
            PLAIN.replace("kubelet\"]", "kublet\"]"),
            "unknown-component variants/plain.toml:3",
            "`kubelet`",
        ),
        ("variants/plain.toml", format!("pack = [\"kubelet\"]{PLAIN}"), "packed-daemon variants/plain.toml:1", "pack"),
        ("variants/plain.toml", format!("extends = [\"cni\"]{PLAIN}"), "circular-extends", "remove"),
        ("variants/cni.toml", CNI.replace("\"<1.24\"", "\"<1.27\""), "removed-flag variants/cni.toml:3", "<1.24"),
        ("components/kubelet.toml", format!("pack = true{KUBELET}"), "packed-daemon", "remove"),
        (
            "components/kubelet.toml",
            KUBELET.replace("release", "relase"),
            "unknown-way components/kubelet.toml:5",
            "release",
        ),
        (
            "components/kubelet.toml",
            KUBELET.replace("{arch}", "{archi}"),
            "invalid-value components/kubelet.toml:6",
            "",
        ),
    ];
    for (file, text, expected, help) in cases {
        let problems = with(file, &text).expect_err(expected).0;
        let found: Vec<_> = problems.iter().map(|problem| format!("{} {}", problem.code, problem.at)).collect();
        let hit = found.iter().position(|found| found.starts_with(expected));
        let hit = hit.unwrap_or_else(|| panic!("{expected} is not among {found:?}"));
        assert!(problems[hit].help.clone().unwrap_or_default().contains(help), "{}", problems[hit]);
    }
}

#[test]
fn values_that_are_no_such_thing_are_found_where_they_are() {
    let matrix = |line: &str| ("matrix.toml", format!("{MATRIX}\n{line}"));
    let tool = |line: &str| matrix(&format!("[toolchains.upx]\nversion = \"1\"\nurl = \"https://h/a.tar\"\n{line}"));
    let replaced = |from: &str, to: &str| ("matrix.toml", MATRIX.replace(from, to));
    let plain = |line: &str| ("variants/plain.toml", format!("{line}{PLAIN}"));
    let kubelet = |line: &str| ("components/kubelet.toml", format!("{KUBELET}{line}"));
    let base = |url: &str| ("alpine/3.22.toml", BASE.replace("https://", url));
    let cases = [
        (tool("program = \"../../upx\""), "invalid-value matrix.toml:10"),
        (tool("program = \"{version}/../upx\""), "invalid-value matrix.toml:10"),
        (base("https://user:secret@"), "login-in-url alpine/3.22.toml:2"),
        (kubelet("checksum = \"https://me@example.org/sums\""), "login-in-url components/kubelet.toml:7"),
        (kubelet("checksum = \"0123456789\""), "invalid-checksum components/kubelet.toml:7"),
        (replaced("[\"1.26.0\", \"1.20.2\"]", "[]"), "empty-list matrix.toml:3"),
        (replaced("[\"plain\", \"cni\"]", "[]"), "empty-list matrix.toml:4"),
        (replaced("\"alpine3.22\"", "[]"), "empty-list matrix.toml:5"),
        (matrix("platforms = []"), "empty-list matrix.toml:7"),
        (matrix("[mirrors]\n\"https://a\" = [\"https://b\", \"nonsense\"]"), "invalid-mirror matrix.toml:8"),
        (matrix("[mirrors]\n\"https://a\" = \"https:\""), "invalid-mirror matrix.toml:8"),
        (matrix("[[include]]\nkubernetes = \">=1.27\""), "empty-range matrix.toml:8"),
        (plain("stop-signal = \"SIGTREM\""), "invalid-signal variants/plain.toml:1"),
        (plain("volumes = [\"/a\", \"b\"]"), "invalid-path variants/plain.toml:1:18"),
        (plain("working-dir = \"/a/../b\""), "invalid-path variants/plain.toml:1"),
        (plain("env = { \"A=B\" = \"c\" }"), "invalid-env variants/plain.toml:1"),
        (
            ("components/kubelet.toml", format!("files = [{{ name = \"a\" }}, {{ name = \"a\" }}]{KUBELET}")),
            "given-twice",
        ),
    ];
    for ((file, text), expected) in cases {
        let problems = with(file, &text).expect_err(expected).0;
        let found: Vec<_> = problems.iter().map(|problem| format!("{} {}", problem.code, problem.at)).collect();
        assert!(found.iter().any(|found| found.starts_with(expected)), "{expected} is not among {found:?}");
        assert!(!problems.iter().any(|problem| problem.message.contains("secret")), "{problems:?}");
    }
    for right in ["SIGTERM", "TERM", "15", "SIGRTMIN+3", "RTMAX-2"] {
        with("variants/plain.toml", &format!("stop-signal = \"{right}\"{PLAIN}")).expect(right);
    }
    let digest = crate::base::Digest::of("x").hex();
    with("components/kubelet.toml", &format!("{KUBELET}checksum = \"{digest}\"")).unwrap();
}

#[test]
fn an_inclusion_takes_versions_and_ranges_of_those_that_are_listed() {
    let cases = [("\"1.31.0\"", "1.31.0"), ("\">=1.24\"", "1.26.0"), ("[\"<1.24\", \"1.31.0\"]", "1.20.2 1.31.0")];
    for (written, expected) in cases {
        let matrix = with("matrix.toml", &format!("{MATRIX}[[include]]\nkubernetes = {written}\n")).unwrap();
        let versions: Vec<_> = matrix.file.include[0].versions.iter().map(ToString::to_string).collect();
        assert_eq!(versions.join(" "), expected);
    }
}

#[test]
fn two_components_of_one_image_bring_no_path_twice() {
    let tool = KUBELET.replace("daemon = true", "files = [{ name = \"kubelet\" }]");
    let load = |plain: &str| {
        let definitions = [
            ("plain", DefinitionKind::Variant, plain),
            ("cni", DefinitionKind::Variant, CNI),
            ("kubelet", DefinitionKind::Component, KUBELET),
            ("tool", DefinitionKind::Component, tool.as_str()),
            ("alpine3.22", DefinitionKind::Base, BASE),
        ];
        let definitions = definitions.map(|(name, kind, text)| Definition {
            name: name.to_owned(),
            kind,
            path: format!("{name}.toml").into(),
            text: text.to_owned(),
        });
        load(Path::new("matrix.toml"), MATRIX, &definitions)
    };
    let both = PLAIN.replace("[\"kubelet\"]\ne", "[\"kubelet\", \"tool\"]\ne");
    let problems = load(&both).unwrap_err().to_string();
    assert!(problems.contains("plain.toml:3:26: `kubelet` and `tool` both bring `/usr/bin/kubelet`"), "{problems}");
    // One for older and one for newer versions are never together.
    let either = "[{ name = \"kubelet\", kubernetes = \"<1.24\" }, { name = \"tool\", kubernetes = \">=1.24\" }]\ne";
    load(&PLAIN.replace("[\"kubelet\"]\ne", either)).unwrap();
}

#[test]
fn all_problems_of_all_files_are_found_at_once() {
    let text = MATRIX.replace("1.26.0", "x").replace("plain", "plane").replace("base", "bass");
    let problems = with("matrix.toml", &text).unwrap_err().0;
    let codes: Vec<_> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["missing-key", "invalid-value", "unknown-key"], "names are judged once the file can be read");
    let text = MATRIX.replace("1.26.0", "x").replace("plain", "plane");
    let problems = with("matrix.toml", &text).unwrap_err().0;
    assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), ["invalid-value", "unknown-variant"]);
}

#[test]
fn no_text_makes_the_reader_panic() {
    for text in
        ["", "=", "[", "a = [[", "\u{0}", "repository = {}", "kubernetes = [[1]]", "[images]\nx = 1", "mirrors = 1"]
    {
        for file in ["matrix.toml", "variants/plain.toml", "components/kubelet.toml", "alpine/3.22.toml"] {
            // Whatever it is, it is answered.
            let _ = with(file, text);
        }
    }
}

#[test]
fn accounts_of_a_base_are_read_and_checked() {
    const BASE: &str = "[[repositories]]\nurl = \"https://example.org/main\"\nallow-unsigned = true\n[[packages]]\n\
                        names = [\"busybox\"]\nwhy = \"the shell\"\n[[groups]]\nname = \"chrony\"\ngid = 124\n[[users]]\n\
                        name = \"chrony\"\nuid = 123\nhome = \"/var/lib/chrony\"\n";
    let matrix = with("alpine/3.22.toml", BASE).unwrap();
    let super::BaseRoot::Alpine(root) = &matrix.bases["alpine3.22"].root else { panic!("not of packages") };
    let user = &root.accounts.users[0];
    let texts = [&user.name, &user.group, &user.home, &user.shell, &user.comment];
    assert_eq!(texts, ["chrony", "chrony", "/var/lib/chrony", "/sbin/nologin", ""]);
    assert_eq!((user.uid, root.accounts.groups[0].gid), (123, 124));
    for (good, bad, expected) in [
        ("uid = 123", "uid = 70000", "out-of-range alpine/3.22.toml:12"),
        ("uid = 123", "", "missing-key alpine/3.22.toml:10"),
        ("name = \"chrony\"\nuid", "name = \"Chrony:\"\nuid", "invalid-name alpine/3.22.toml:10"),
        ("\"/var/lib/chrony\"", "\"var:lib\"", "invalid-value alpine/3.22.toml:10"),
        ("gid = 124", "gid = 124\nmembers = [\"a b\"]", "invalid-name alpine/3.22.toml:7"),
        ("gid = 124", "gid = 124\nsize = 1", "unknown-key alpine/3.22.toml:10"),
        ("gid = 124", "gid = 124\n[[groups]]\nname = \"chrony\"\ngid = 125", "duplicate-account alpine/3.22.toml:1"),
    ] {
        let problems = with("alpine/3.22.toml", &BASE.replacen(good, bad, 1)).expect_err(expected).0;
        let found: Vec<_> = problems.iter().map(|problem| format!("{} {}", problem.code, problem.at)).collect();
        assert!(found.iter().any(|found| found.starts_with(expected)), "{expected} is not among {found:?}");
    }
}
