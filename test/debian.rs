//! Bases of Debian packages, from a definition to an image: against an archive that the tests sign themselves, and the
//! example matrix against the machine's own mirror.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]
#![allow(unreachable_pub, dead_code, reason = "a test program has no outside, and uses a part of what others made")]

mod support;

#[path = "debian/archive.rs"]
mod archive;
#[path = "debian/first_run.rs"]
mod first_run;
#[path = "deb/keys.rs"]
mod keys;
#[path = "debian/machine.rs"]
mod machine;

use std::{fs, process::Command};

use archive::{Archive, Spoil, put};
use keys::{DAY, How, Signer};
use serde_json::Value;
use support::{
    archives::Tar,
    fixture::{Fixture, fails, hex, succeeds},
    server::{Reply, Server, nobody},
};

const MATRIX: &str = r#"
repository = "docker.io/example/kubelet"
kubernetes = ["1.26.0"]
variants = ["plain", "cni"]
base = "debian12"
source-date-epoch = 1600000000
"#;

const BASE: &str = r#"
remove = ["/usr/sbin/tables-old"]
[[repositories]]
suite = "bookworm"
keys = ["archive.gpg"]
[[packages]]
names = ["base"]
why = "every image has it"
[[packages]]
names = ["tools"]
kubernetes = ">=1.20"
why = "some versions need them"
[[without]]
names = ["configurator"]
why = "nothing is configured"
[[alternatives]]
link = "/usr/sbin/tables"
target = "/usr/sbin/tables-new"
"#;

/// A matrix whose base is made of the packages of an archive in a folder, as the machine's apt knows it.
struct Debian {
    fixture: Fixture,
    mirror: String,
}

impl Debian {
    fn new(archive: &Archive) -> Self {
        let fixture = Fixture::new();
        fixture.write("m/matrix.toml", MATRIX);
        fixture.write("m/debian/12.toml", BASE);
        fixture.write("m/variants/plain.toml", "infix = ''\ncomponents = []\nentrypoint = ['sh']\n");
        fixture.write("m/variants/cni.toml", "extends = ['plain']\ncomponents = ['plugins']\n");
        fixture.write(
            "m/components/plugins.toml",
            "directory = '/opt/cni/bin'\npack = false\nstrip = false\nfiles = [{ name = 'one' }]\n[[way]]\nkind = 'package'\n\
             from = 'debian12'\npackage = 'plugins'\nmember = 'usr/lib/plugins/{file}'\n",
        );
        for unused in
            ["variants/extra.toml", "variants/kube-proxy.toml", "components/tool.toml", "components/kubelet.toml"]
        {
            fs::remove_file(fixture.path("m").join(unused)).unwrap();
        }
        let keyring = archive.write(&fixture.path("archive"));
        fs::copy(keyring, fixture.path("m/debian/archive.gpg")).unwrap();
        fs::create_dir_all(fixture.path("apt")).unwrap();
        let mirror = format!("file://{}", fixture.path("archive").display());
        Self { fixture, mirror }
    }

    /// kletimg on a machine whose apt has these sources.
    fn with_apt(&self, sources: &str, arguments: &[&str]) -> Command {
        self.fixture.write("apt/sources.list", sources);
        let mut command = self.fixture.kletimg(arguments);
        command.env("KLETIMG_APT", self.fixture.path("apt"));
        command
    }

    /// kletimg with the archive as a mirror.
    fn kletimg(&self, arguments: &[&str]) -> Command {
        let mut command = self.with_apt("", arguments);
        command.arg("--mirror").arg(format!("deb://debian={}", self.mirror));
        command
    }

    fn lock(&self) -> String {
        fs::read_to_string(self.fixture.path("m/matrix.lock")).unwrap()
    }

    /// Neither a pin nor a layout is left by what failed. What has nothing to do with it may be pinned.
    fn has_nothing(&self) -> bool {
        let lock = fs::read_to_string(self.fixture.path("m/matrix.lock")).unwrap_or_default();
        !lock.contains("deb://") && !self.fixture.path("m/dist").exists()
    }
}

#[test]
fn packages_become_layers_and_a_lock_that_names_no_mirror() {
    let debian = Debian::new(&Archive::new());
    succeeds(&mut debian.kletimg(&["matrix", "build"]));
    let lock = debian.lock();
    assert!(lock.contains("deb://debian/pool/main/base_1.0-1_armhf.deb") && !lock.contains("file:/"), "{lock}");
    assert!(!lock.contains("configurator_1.0"), "what is left out is not pinned: {lock}");
    assert!(lock.contains("deb://debian/dists/bookworm/InRelease, signed by"), "{lock}");
    let listed = succeeds(&mut debian.fixture.kletimg(&["image", "ls", "dist:v1.26.0-cni-debian12"]));
    let listed = String::from_utf8(listed.stdout).unwrap();
    for (path, there) in [
        ("usr/sbin/tables-new", true),
        ("usr/sbin/tables-old", false),
        ("usr/bin/ask", false),
        ("opt/cni/bin/one", true),
        ("usr/share/doc/base/changelog", false),
        ("var/lib/dpkg/status", true),
    ] {
        assert_eq!(listed.contains(path), there, "{path}: {listed}");
    }
}

#[test]
fn the_next_steps_run_as_they_are_printed() {
    let debian = Debian::new(&Archive::new());
    // Nobody listens there.
    debian.fixture.edit("m/matrix.toml", "docker.io/", "127.0.0.1:9/");
    let folder = debian.fixture.path("m");
    fs::rename(folder.join("matrix.toml"), folder.join("my matrix.toml")).unwrap();
    let built =
        succeeds(&mut debian.kletimg(&["matrix", "build", "-f", "my matrix.toml", "-o", "type=oci,dest=to/it"]));
    let said = String::from_utf8(built.stderr).unwrap();
    for (step, reason, code) in
        [("push them:", "127.0.0.1:9", 4), ("load them:", "no-engine.sock", 1), ("run one:", "no-engine.sock", 1)]
    {
        let line = said.lines().find_map(|line| line.strip_prefix(step)).unwrap_or_else(|| panic!("{step}: {said}"));
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).current_dir(&folder).env_clear();
        shell.env("PATH", "/usr/bin:/bin").env("DOCKER_HOST", "unix:///no-engine.sock");
        let error = fails(shell.env("KLETIMG_STORE", debian.fixture.path("store")), code);
        assert!(error.contains(reason), "{line}: {error}");
    }
}

#[test]
fn units_start_where_a_variant_asks_for_them() {
    let debian = Debian::new(&Archive::new());
    let variant = "infix = ''\ncomponents = []\nentrypoint = ['sh']\nenable = ['agent.service', 'local.service']\n\
        [[files]]\npath = '/etc/systemd/system/local.service'\ntext = \"[Install]\\nWantedBy=local.target\\n\"\n";
    debian.fixture.write("m/variants/plain.toml", variant);
    succeeds(&mut debian.kletimg(&["matrix", "build"]));
    let listed = succeeds(&mut debian.fixture.kletimg(&["image", "ls", "dist:v1.26.0-cni-debian12"]));
    let listed = String::from_utf8(listed.stdout).unwrap();
    for link in ["multi-user.target.wants/agent.service", "local.target.wants/local.service"] {
        assert!(listed.contains(&format!("etc/systemd/system/{link}")), "{link}: {listed}");
    }
    debian.fixture.edit("m/variants/plain.toml", "'agent.service'", "'agents.service'");
    let error = fails(&mut debian.kletimg(&["matrix", "build"]), 1);
    assert!(error.contains("agents.service") && error.contains("brings it"), "{error}");
}

#[test]
fn mirrors_and_repetition_change_nothing() {
    let debian = Debian::new(&Archive::new());
    succeeds(&mut debian.kletimg(&["matrix", "build"]));
    let index = debian.fixture.index();
    // From another folder, with a store of its own, and from a copy that a fetch made.
    let elsewhere = debian.fixture.path("elsewhere");
    fs::rename(debian.fixture.path("archive"), &elsewhere).unwrap();
    let mirror = format!("deb://debian=file://{}", elsewhere.display());
    let copy = debian.fixture.path("copy");
    let mut fetch = debian.with_apt("", &["matrix", "fetch", "--mirror", &mirror, "--to"]);
    succeeds(fetch.arg(&copy));
    assert!(copy.join("debian/dists/bookworm/InRelease").exists());
    for arguments in [vec!["--mirror", &mirror], vec!["--offline", "--mirror", copy.to_str().unwrap()]] {
        fs::remove_dir_all(debian.fixture.path("store")).unwrap();
        fs::remove_dir_all(debian.fixture.path("m/dist")).unwrap();
        succeeds(debian.with_apt("", &["matrix", "build", "--locked", "-j1"]).args(&arguments));
        assert_eq!(debian.fixture.index(), index, "{arguments:?}");
    }
}

#[test]
fn builds_at_the_same_time_give_the_same_and_disturb_nobody() {
    let debian = Debian::new(&Archive::new());
    succeeds(&mut debian.kletimg(&["matrix", "lock"]));
    let outputs = ["a", "b", "c"].map(|dest| format!("type=oci,dest={dest}"));
    let start = |output: &String| {
        let mut build = debian.kletimg(&["matrix", "build", "--locked", "-o", output]);
        build.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    let started: Vec<_> = outputs.iter().map(start).collect();
    for build in started {
        let ended = build.wait_with_output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
    let index = |dest: &str| fs::read(debian.fixture.path("m").join(dest).join("index.json")).unwrap();
    assert_eq!(index("a"), index("b"));
    assert_eq!(index("a"), index("c"));
}

#[test]
fn a_plan_says_what_is_left_out_and_why() {
    let debian = Debian::new(&Archive::new());
    succeeds(&mut debian.kletimg(&["matrix", "lock"]));
    let plan = succeeds(&mut debian.with_apt("", &["matrix", "plan"]));
    let text = String::from_utf8(plan.stdout).unwrap();
    for expected in [
        "without configurator",
        "nothing is configured",
        "configurator by base",
        "files of plugins, for plugins",
        "files of a package",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let plan = succeeds(&mut debian.with_apt("", &["matrix", "plan", "--format", "json"]));
    let plan: Value = serde_json::from_slice(&plan.stdout).unwrap();
    let left_out = &plan["stock"]["left_out"][0];
    assert_eq!(left_out["why"], "nothing is configured");
    assert_eq!(left_out["needed_by"]["configurator"], serde_json::json!(["base"]));
}

#[test]
fn what_the_definition_changes_is_chosen_anew() {
    let debian = Debian::new(&Archive::new());
    succeeds(&mut debian.kletimg(&["matrix", "lock"]));
    debian.fixture.edit("m/debian/12.toml", "[\"configurator\"]", "[\"plugins\"]");
    let error = fails(&mut debian.kletimg(&["matrix", "build", "--locked"]), 2);
    assert!(error.contains("packages of debian12"), "{error}");
    succeeds(&mut debian.kletimg(&["matrix", "lock"]));
    assert!(debian.lock().contains("configurator_1.0-1_amd64.deb"));
}

/// Serves the files of a folder below a path.
fn serve(server: &Server, prefix: &str, folder: &std::path::Path) {
    let mut folders = vec![folder.to_owned()];
    while let Some(below) = folders.pop() {
        for entry in fs::read_dir(&below).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
                continue;
            }
            let path = entry.strip_prefix(folder).unwrap().display().to_string();
            server.on(&format!("{prefix}/{path}"), [Reply::ok(fs::read(&entry).unwrap())]);
        }
    }
}

#[test]
fn mirrors_of_apt_are_tried_until_one_answers_rightly() {
    let stale = Archive { valid_until: "Thu, 02 Jan 2025 00:00:00 UTC", ..Archive::new() };
    let debian = Debian::new(&Archive::new());
    let old = debian.fixture.path("old");
    stale.write(&old);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Server::start());
    let serve = |prefix: &str, folder: &std::path::Path| {
        let prefix = format!("/{prefix}");
        serve(&server, &prefix, folder);
        format!("{}{prefix}", server.url)
    };
    let (stale, good) = (serve("old/debian", &old), serve("good/debian", &debian.fixture.path("archive")));
    let sources =
        format!("deb {}/debian bookworm main\ndeb {stale} bookworm main\ndeb {good} bookworm main\n", nobody());
    succeeds(&mut debian.with_apt(&sources, &["matrix", "build"]));
    let error = {
        let alone = Debian::new(&Archive::new());
        let error = fails(&mut alone.with_apt(&format!("deb {stale} bookworm main\n"), &["matrix", "build"]), 1);
        assert!(alone.has_nothing());
        error
    };
    assert!(error.contains("was valid until 2025-01-02") && error.contains("take another"), "{error}");
}

#[test]
fn a_machine_without_sources_is_told_what_to_set() {
    let debian = Debian::new(&Archive::new());
    let error = fails(&mut debian.with_apt("", &["matrix", "build"]), 1);
    assert!(error.contains("no apt sources") && error.contains("`mirror`"), "{error}");
    assert!(debian.has_nothing());
    let error = fails(&mut debian.with_apt("nonsense\n", &["matrix", "build"]), 1);
    assert!(error.contains("sources.list: line 1"), "{error}");
}

/// A change of the archive, and words of the message.
type Fault = (fn(&mut Archive), &'static [&'static str]);

const FAULTS: [Fault; 7] = [
    (|archive| archive.valid_until = "Thu, 02 Jan 2025 00:00:00 UTC", &["valid until", "clock"]),
    (|archive| archive.spoil = Some(Spoil::Index), &["the packages of bookworm", "digest", "armhf"]),
    (|archive| archive.spoil = Some(Spoil::Deb), &["_1.0-1_", ".deb", "digest"]),
    (|archive| archive.spoil = Some(Spoil::CutDeb), &["_1.0-1_", ".deb"]),
    (
        |archive| {
            archive.debs.push(|_| archive::Deb::new("base", "", Tar::new().file("./../../escaped", b"x")));
            archive.debs.remove(0);
        },
        &["base_1.0-1_", ".."],
    ),
    (
        |archive| {
            archive
                .debs
                .push(|_| archive::Deb::new("base", "", Tar::new().entry(tar::EntryType::Char, "./dev/null", "", b"")));
            archive.debs.remove(0);
        },
        &["base_1.0-1_", "device"],
    ),
    (|archive| archive.spoil = Some(Spoil::OtherDeb), &["_1.0-1_", "mixes up packages", "9.9"]),
];

#[test]
fn a_bad_archive_is_refused_and_leaves_nothing() {
    for (number, (spoil, words)) in FAULTS.iter().enumerate() {
        let mut archive = Archive::new();
        spoil(&mut archive);
        let debian = Debian::new(&archive);
        let error = fails(&mut debian.kletimg(&["matrix", "build"]), 1);
        for word in *words {
            assert!(error.contains(word), "fault {number}: {word}: {error}");
        }
        assert!(!debian.fixture.path("m/dist").exists() && !debian.fixture.path("escaped").exists(), "fault {number}");
        // The same store goes on with a good archive.
        let _ = fs::remove_file(debian.fixture.path("m/matrix.lock"));
        Archive::new().write(&debian.fixture.path("archive"));
        succeeds(&mut debian.kletimg(&["matrix", "build"]));
    }
}

#[test]
fn a_release_that_nobody_trusted_signed_is_refused() {
    let debian = Debian::new(&Archive::new());
    let release = debian.fixture.path("archive/dists/bookworm/InRelease");
    let good = fs::read_to_string(&release).unwrap();
    let stranger = Signer::new(8).sign("Suite: stable\n", How::default());
    let expired = Archive::new().signer.sign("Suite: stable\n", How { lifetime: DAY, ..How::default() });
    for (bad, word) in [
        (good.replace("Suite: stable", "Suite: stabil"), "changed"),
        (stranger, "does not hold this key"),
        (expired, "expired"),
        (good.replace("-----BEGIN PGP SIGNED MESSAGE-----", "Hash: SHA256"), "clear-signed"),
    ] {
        put(&release, bad.as_bytes());
        let error = fails(&mut debian.kletimg(&["matrix", "build"]), 1);
        assert!(error.contains(word), "{word}: {error}");
        assert!(debian.has_nothing());
    }
    put(&release, good.as_bytes());
    succeeds(&mut debian.kletimg(&["matrix", "build"]));
}

#[test]
fn names_that_are_wrong_are_told() {
    let other_suite = Archive { suite: "trixie", ..Archive::new() };
    let debian = Debian::new(&other_suite);
    let error = fails(&mut debian.kletimg(&["matrix", "lock"]), 1);
    assert!(error.contains("no mirror of debian has a suite `bookworm`"), "a suite that is not there: {error}");
    assert!(error.contains("12.toml") && error.contains("dists/bookworm/InRelease"), "{error}");
    assert_eq!(error.matches("a suite `bookworm`").count(), 1, "once for all platforms: {error}");
    let from = debian.fixture.path("archive/dists/trixie");
    fs::rename(from, debian.fixture.path("archive/dists/bookworm")).unwrap();
    let error = fails(&mut debian.kletimg(&["matrix", "lock"]), 1);
    assert!(error.contains("trixie") && error.contains("bookworm"), "a suite that is another: {error}");

    let debian = Debian::new(&Archive::new());
    for (from, to, words) in [
        ("[\"base\"]", "[\"bases\"]", "no suite has a package `bases`"),
        ("suite = \"bookworm\"", "suite = \"bookworm\"\ncomponents = [\"contrib\"]", "no component contrib"),
        ("suite = \"bookworm\"", "suite = \"../x\"", "no name of a suite"),
        ("keys = [\"archive.gpg\"]", "keys = [\"none.gpg\"]", "none.gpg"),
    ] {
        debian.fixture.write("m/debian/12.toml", BASE);
        debian.fixture.edit("m/debian/12.toml", from, to);
        let output = debian.kletimg(&["matrix", "lock"]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(words), "{words}: {error}");
    }
}

#[test]
fn an_archive_without_files_by_digest_will_do() {
    let debian = Debian::new(&Archive { by_hash: false, ..Archive::new() });
    succeeds(&mut debian.kletimg(&["matrix", "lock"]));
    let plain = debian.lock();
    assert!(plain.contains("binary-arm64/Packages.xz"), "{plain}");
}

#[test]
fn the_tarball_of_a_source_package_is_pinned_by_its_upstream_version() {
    let debian = Debian::new(&Archive::new());
    debian.fixture.write(
        "m/components/plugins.toml",
        "directory = '/opt/cni/bin'\npackage = '.'\npack = false\nversion = '1.10'\n[[way]]\nkind = 'go'\nfrom = 'debian12'\n\
         source-package = 's'\nsource-version = '{version}'\n",
    );
    succeeds(&mut debian.kletimg(&["matrix", "lock"]));
    let lock = debian.lock();
    let url = "deb://debian/pool/main/s_1.10.orig.tar.gz";
    assert!(lock.contains(&format!("packages = [\"{url}\"]")), "{lock}");
    let tarball = fs::read(debian.fixture.path("archive/pool/main/s_1.10.orig.tar.gz")).unwrap();
    assert!(lock.contains(&hex(&tarball)), "{lock}");
    debian.fixture.edit("m/components/plugins.toml", "'{version}'", "'2'");
    let error = fails(&mut debian.kletimg(&["matrix", "lock"]), 1);
    assert!(error.contains("no suite has the source package s 2") && error.contains("1.10-2"), "{error}");
}

/// bookworm's packages bring files in /bin and /sbin, which are links in an image; a definition may write either.
#[test]
fn paths_of_a_definition_lead_through_the_merged_usr() {
    let debian = Debian::new(&Archive::new());
    let alternatives = "[[alternatives]]\nlink = \"/bin/ash\"\ntarget = \"/usr/bin/sh\"\n\
        [[alternatives]]\nlink = \"/usr/bin/bsh\"\ntarget = \"/bin/sh\"\n";
    let base = BASE.replace("remove = [\"/usr/sbin/tables-old\"]", "remove = [\"/sbin/tables-old\"]") + alternatives;
    debian.fixture.write("m/debian/12.toml", base);
    let built = succeeds(&mut debian.kletimg(&["matrix", "build"]));
    let said = String::from_utf8(built.stderr).unwrap();
    assert!(!said.contains("warning"), "{said}");
    let listed = succeeds(&mut debian.fixture.kletimg(&["image", "ls", "dist:v1.26.0-cni-debian12"]));
    let listed = String::from_utf8(listed.stdout).unwrap();
    for (path, there) in [
        ("usr/bin/ash -> /etc/alternatives/ash", true),
        ("etc/alternatives/ash -> /usr/bin/sh", true),
        ("etc/alternatives/bsh -> /usr/bin/sh", true),
        ("usr/sbin/tables-old", false),
    ] {
        assert_eq!(listed.contains(path), there, "{path}: {listed}");
    }
}

#[test]
fn what_does_nothing_in_any_image_is_told() {
    let debian = Debian::new(&Archive::new());
    let idle = "[[alternatives]]\nlink = \"/bin/ash\"\ntarget = \"/usr/bin/none\"\n\
        [[declared]]\npackage = \"nobody\"\nwhy = \"w\"\n[[keep]]\npackage = \"nothing\"\nprograms = [\"x\"]\nwhy = \"w\"\n\
        [[without]]\nnames = [\"plugins\"]\nwhy = \"w\"\n";
    debian.fixture.write("m/debian/12.toml", BASE.replace("tables-old", "tables-odl") + idle);
    let told = |ended: std::process::Output| {
        let said = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        for words in [
            "`remove` names /usr/sbin/tables-odl",
            "target of the alternative /bin/ash",
            "[[declared]] names nobody",
            "[[keep]] names nothing",
            "[[without]] names plugins, which nothing asks for",
        ] {
            assert_eq!(said.matches(words).count(), 1, "{words}: {said}");
        }
        said
    };
    told(succeeds(&mut debian.kletimg(&["matrix", "build"])));
    told(succeeds(&mut debian.with_apt("", &["matrix", "plan"])));
    // Another platform may have it.
    let narrow = succeeds(&mut debian.kletimg(&["matrix", "build", "--platform", "linux/amd64"]));
    assert!(!String::from_utf8(narrow.stderr).unwrap().contains("in no image"));

    let both = BASE.replace("[\"configurator\"]", "[\"configurator\", \"tools\"]");
    debian.fixture.write("m/debian/12.toml", both);
    let error = fails(&mut debian.with_apt("", &["matrix", "plan"]), 2);
    assert!(
        error.contains("`tools` is asked for in [[packages]] and left out") && error.contains("12.toml:14"),
        "{error}"
    );
}

#[test]
fn the_order_of_a_definition_is_that_of_the_question() {
    let either: fn(&str) -> archive::Deb = |_| archive::Deb::new("either", "Depends: first | second\n", Tar::new());
    let first: fn(&str) -> archive::Deb = |_| archive::Deb::new("first", "Conflicts: second\n", Tar::new());
    let second: fn(&str) -> archive::Deb = |_| archive::Deb::new("second", "Conflicts: first\n", Tar::new());
    let needs: fn(&str) -> archive::Deb = |_| archive::Deb::new("any", "Depends: second | first\n", Tar::new());
    let mut archive = Archive::new();
    archive.debs.extend([either, first, second, needs]);
    let debian = Debian::new(&archive);
    // Whichever comes first chooses for both, as on apt's command line.
    for (names, chosen) in [("\"any\", \"either\"", "second"), ("\"either\", \"any\"", "first")] {
        debian.fixture.write("m/debian/12.toml", BASE.replace("[\"base\"]", &format!("[\"base\", {names}]")));
        succeeds(&mut debian.kletimg(&["matrix", "lock"]));
        let lock = debian.lock();
        assert!(lock.contains(&format!("/{chosen}_1.0-1_amd64.deb")), "{names}: {lock}");
        assert_eq!(lock.contains("/first_1.0-1"), chosen == "first", "{names}");
    }
    // A lock of before the order counted is good for the same packages.
    let mut lines: Vec<_> = debian.lock().lines().map(str::to_owned).collect();
    let mut begin = 0;
    while let Some(at) = lines[begin..].iter().position(|line| line == "request = [") {
        let end = begin + at + 1 + lines[begin + at + 1..].iter().position(|line| line == "]").unwrap();
        lines[begin + at + 1..end].sort();
        begin = end;
    }
    debian.fixture.write("m/matrix.lock", lines.join("\n"));
    succeeds(&mut debian.kletimg(&["matrix", "build", "--locked"]));
}

#[test]
fn a_package_that_mirrors_no_longer_have_says_how_to_go_on() {
    let debian = Debian::new(&Archive::new());
    succeeds(&mut debian.kletimg(&["matrix", "lock"]));
    fs::remove_file(debian.fixture.path("archive/pool/main/base_1.0-1_arm64.deb")).unwrap();
    let error = fails(&mut debian.kletimg(&["matrix", "build"]), 1);
    assert!(error.contains("base_1.0-1_arm64.deb") && error.contains("matrix lock --update debian12`"), "{error}");
}

/// Advice that leads to a lock would lead back to the same file.
#[test]
fn damage_is_told_in_words() {
    let debian = Debian::new(&Archive::new());
    let release = debian.fixture.path("archive/dists/bookworm/InRelease");
    let good = fs::read_to_string(&release).unwrap();
    for bad in [
        good.replacen("Hash: SHA", "Evil: yes\n\nHash: SHA", 1),
        good.replacen("-----BEGIN PGP SIGNATURE-----\n", "-----BEGIN PGP SIGNATURE-----\nX\n", 1),
        good.replace("Suite: stable", "Suite: stabil"),
    ] {
        put(&release, bad.as_bytes());
        let error = fails(&mut debian.kletimg(&["matrix", "lock"]), 1);
        assert!(error.len() < 1500 && error.contains("another mirror"), "{error}");
        assert!(!error.contains("lock --update") && !error.contains("[45, 45"), "{error}");
    }
}
