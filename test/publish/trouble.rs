//! Registries that fail, lie or refuse, as whoever types the command sees them: the work ends right, or one message says
//! what to do, the exit code is 4, and no tag leads to what is not there.

use super::*;
use support::lying_registry::{Fault, LyingRegistry, Rule, rule};

fn answer(status: u16, header: &'static str, value: &str) -> Fault {
    Fault::Answer(status, header, value.to_owned())
}

/// A command, and how long it took.
fn timed(command: &mut Command) -> (Output, Duration) {
    let began = Instant::now();
    (command.output().unwrap(), began.elapsed())
}

/// The one message of a command that failed with this exit code.
fn message(name: &str, output: &Output, code: i32) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{name}: {stderr}");
    assert!(output.stdout.is_empty(), "{name}: {}", text(output));
    let errors: Vec<_> = stderr.lines().filter(|line| line.starts_with("error:")).collect();
    assert_eq!(errors.len(), 1, "{name}: {stderr}");
    assert!(stderr.ends_with(&format!("{}\n", errors[0])), "{name}: nothing after it: {stderr}");
    errors[0].to_owned()
}

/// Rules under which a push ends well, and the least seconds that it must have waited.
fn passing() -> Vec<(&'static str, Vec<Rule>, u64)> {
    vec![
        ("429 with Retry-After", vec![rule("POST", "/uploads/", 1, answer(429, "retry-after", "2"))], 2),
        ("503 with Retry-After", vec![rule("PUT", "/uploads/", 1, answer(503, "retry-after", "2"))], 2),
        ("503 at first", vec![rule("GET", "/v2/", 1, answer(503, "", ""))], 0),
        ("a drop in mid-upload", vec![rule("PUT", "/uploads/", 1, Fault::DropAfter(100_000))], 0),
        (
            "a drop in mid-upload and again",
            vec![
                rule("PUT", "/uploads/", 1, Fault::DropAfter(100_000)),
                rule("PATCH", "/uploads/", 1, Fault::DropAfter(100_000)),
            ],
            0,
        ),
        ("a lost answer", vec![rule("PUT", "/manifests/", 1, Fault::DropAnswer)], 0),
        ("a lost upload session", vec![rule("PUT", "/uploads/", 1, Fault::ForgetUpload)], 0),
    ]
}

/// Rules under which a push cannot end well, and what the message says of the reason and of what to do.
fn failing() -> Vec<(&'static str, Vec<Rule>, [&'static str; 2])> {
    let wrong = Digest::of("wrong").to_string();
    let instead = |value: &str| Fault::Instead("docker-content-digest", value.to_owned());
    vec![
        ("a drop of every upload", vec![rule("PUT", "/uploads/", 999, Fault::DropAfter(0))], ["attempts", "try again"]),
        (
            "every session lost",
            vec![rule("PUT", "/uploads/", 999, Fault::ForgetUpload)],
            ["lost the upload", "try again"],
        ),
        (
            "429 for an hour",
            vec![rule("POST", "/uploads/", 9, answer(429, "retry-after", "3600"))],
            ["3600 s", "try again later"],
        ),
        (
            "503 for ever",
            vec![rule("POST", "/uploads/", 999, answer(503, "retry-after", "0"))],
            ["answers 503", "try again"],
        ),
        (
            "no Location",
            vec![rule("POST", "/uploads/", 9, Fault::Without("location"))],
            ["no Location header", "specification"],
        ),
        (
            "a wrong digest of a blob",
            vec![rule("PUT", "/uploads/", 9, instead(&wrong))],
            ["expected the digest", "sha256:"],
        ),
        (
            "a wrong digest of a manifest",
            vec![rule("PUT", "/manifests/", 9, instead(&wrong))],
            ["expected the digest", "sha256:"],
        ),
        (
            "a blob that vanishes",
            vec![rule("PUT", "/uploads/", 9, Fault::Pretend)],
            ["does not have it", "registry's logs"],
        ),
        (
            "a full disk",
            vec![rule("PUT", "/uploads/", 999, answer(507, "", ""))],
            ["out of disk space", "free space there"],
        ),
        (
            "a read-only account",
            vec![rule("POST", "/uploads/", 9, answer(403, "", ""))],
            ["does not allow that", "ask for push rights"],
        ),
        (
            "a limit on sizes",
            vec![rule("PUT", "/uploads/", 9, answer(413, "", ""))],
            ["limits the size of uploads", "client_max_body_size"],
        ),
        (
            "no registry",
            vec![rule("GET", "/v2/", 9, answer(404, "", ""))],
            ["not a container registry", "check the name"],
        ),
    ]
}

/// A layout whose layers take more than one packet to send.
fn built() -> Built {
    let fixture = Fixture::new();
    for (go, seed) in [("amd64", 1), ("arm64", 2), ("arm", 3)] {
        fixture.publish(&format!("kubelet-{go}"), &[b"#!/bin/sh\n".as_slice(), &noise(seed, 300_000)].concat());
    }
    fixture.build();
    Built { fixture, host: "localhost:1".to_owned() }
}

#[test]
fn a_push_through_trouble_ends_whole_or_with_one_message() {
    let built = built();
    let copy = |registry: &LyingRegistry| {
        let to = format!("{}/a/b:t", registry.host);
        timed(&mut built.kletimg(&["image", "copy", &format!("dist:{TAG}"), &to]))
    };
    // Some wait long for a registry that does not recover: all at once.
    let copy = &copy;
    std::thread::scope(|scope| {
        for (name, rules, seconds) in passing() {
            scope.spawn(move || {
                let registry = LyingRegistry::start(rules);
                let (output, took) = copy(&registry);
                assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
                assert!(took >= Duration::from_secs(seconds), "{name}: after {took:?}");
                assert!(registry.state().tags_are_whole() && registry.state().tags() == 1, "{name}");
            });
        }
        for (name, rules, parts) in failing() {
            scope.spawn(move || {
                let registry = LyingRegistry::start(rules);
                let (output, _) = copy(&registry);
                let message = message(name, &output, 4);
                assert!(parts.iter().all(|part| message.contains(part)), "{name}: {message}");
                assert!(registry.state().tags_are_whole() && registry.state().tags() == 0, "{name}");
            });
        }
    });
}

/// A registry that wants tokens, and the command that copies there with this entry of a login file.
fn with_tokens(built: &Built, entry: &str, lasts: usize) -> (LyingRegistry, Command) {
    let registry = LyingRegistry::start(Vec::new());
    registry.state().tokens = Some(std::collections::BTreeMap::new());
    registry.state().token_lasts = lasts;
    let file = built.fixture.path(&format!("{}.json", registry.host));
    fs::write(&file, format!(r#"{{"auths":{{"{}":{entry}}}}}"#, registry.host)).unwrap();
    let to = format!("{}/a/b:t", registry.host);
    let mut command = built.kletimg(&["image", "copy", "--progress", "json", &format!("dist:{TAG}"), &to]);
    command.env("REGISTRY_AUTH_FILE", file);
    (registry, command)
}

/// `edge` and `s3cret`.
const PASSWORD: &str = r#"{"auth":"ZWRnZTpzM2NyZXQ="}"#;
const IDENTITY: &str = r#"{"identitytoken":"s3cret"}"#;

#[test]
fn tokens_that_run_out_are_replaced_and_those_that_are_refused_are_told() {
    let built = built();
    for entry in [PASSWORD, IDENTITY] {
        let (registry, mut command) = with_tokens(&built, entry, 12);
        let output = succeeds(&mut command);
        assert!(registry.state().logins.len() > 2 && registry.state().tags_are_whole(), "replaced while it pushed");
        let shown = text(&output) + &String::from_utf8_lossy(&output.stderr);
        assert!(!shown.contains("s3cret") && !shown.contains("token-"), "{shown}");
    }
    let denied = |realm: &str| Fault::Answer(401, "www-authenticate", format!(r#"Bearer realm="{realm}",service="s""#));
    let refused = |status| rule("*", "/token", 9, answer(status, "", ""));
    let cases = [
        ("a token that is never taken", PASSWORD, None, "has expired"),
        ("a wrong password", PASSWORD, Some(refused(401)), "is wrong or has expired"),
        ("a login that has expired", IDENTITY, Some(refused(401)), "is wrong or has expired"),
        ("a login that was withdrawn", IDENTITY, Some(refused(400)), "is wrong or has expired"),
        (
            "a token service elsewhere",
            PASSWORD,
            Some(rule("GET", "/v2/", 9, denied("ftp://x.invalid/"))),
            "not encrypted",
        ),
    ];
    for (name, entry, rule, part) in cases {
        let (registry, mut command) = with_tokens(&built, entry, 0);
        registry.state().rules.extend(rule);
        let output = command.output().unwrap();
        let message = message(name, &output, 4);
        assert!(message.contains(part), "{name}: {message}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("s3cret"), "{name}: {message}");
        assert!(message.contains("kletimg login") || name.ends_with("elsewhere"), "{name}: {message}");
    }
    // An account that may only read gets tokens, but none for this.
    let (registry, mut command) = with_tokens(&built, PASSWORD, usize::MAX);
    let realm = format!(r#"Bearer realm="http://{}/token",service="s",error="insufficient_scope""#, registry.host);
    registry.state().rules = vec![rule("POST", "/uploads/", 9, Fault::Answer(401, "www-authenticate", realm))];
    let message = message("read-only", &command.output().unwrap(), 4);
    assert!(message.contains("of `edge`") && message.contains("ask for push rights"), "{message}");
}

#[test]
fn a_registry_whose_disk_is_full_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(&data).output();
    let mounted = mount.is_ok_and(|output| output.status.success());
    let Some(()) = parts::need("mount", mounted.then_some(()), "a small file system cannot be mounted here") else {
        return;
    };
    let output =
        RealRegistry::start_in(Guard::Open, tempfile::tempdir().unwrap(), Some(data.clone())).map(|registry| {
            let to = format!("{}/a/b:t", registry.host);
            built().kletimg(&["image", "copy", &format!("dist:{TAG}"), &to]).output().unwrap()
        });
    succeeds(Command::new("umount").arg(&data));
    let Some(output) = output else { return };
    let message = message("full", &output, 4);
    assert!(message.contains("is out of disk space") && message.contains("free space there"), "{message}");
}

/// A keyring: what it is given, what it is called with, and what the process list shows of whoever calls it.
const HELPER: &str = r#"#!/bin/sh
cd "$KEYRING" || exit 1
echo "$@" >> calls
tr '\0' ' ' < /proc/$PPID/cmdline >> seen
case $1 in
store) cat > kept ;;
get) cat > asked; [ -f kept ] && cat kept && exit; echo "credentials not found in native keychain"; exit 1 ;;
erase) rm -f kept ;;
esac
"#;

#[test]
fn a_credential_helper_keeps_logins_that_nobody_sees() {
    let Some(registry) = RealRegistry::start(Guard::TlsAndPassword) else { return };
    let built = Built::new(&registry.host);
    let keyring = built.fixture.path("keyring");
    fs::create_dir_all(&keyring).unwrap();
    let helper = keyring.join("docker-credential-keyring");
    fs::write(&helper, HELPER).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let file = built.fixture.path("docker/config.json");
    built.fixture.write("docker/config.json", r#"{"credsStore":"keyring","detachKeys":"ctrl-x"}"#);
    let command = |args: &[&str]| {
        let mut command = built.kletimg(args);
        let path = std::env::join_paths(
            std::iter::once(keyring.clone()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        command.env("PATH", path.unwrap()).env("KEYRING", &keyring);
        command
    };
    let certificate = registry.folder.path().join("ca.pem").display().to_string();
    let host = registry.host.as_str();
    let login = ["login", host, "-u", "edge", "--password-stdin", "--ca-cert", &certificate];
    let output = with_input(&mut command(&login), "s3cret\n");
    let shown = text(&output) + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && shown.contains("docker-credential-keyring"), "{shown}");
    let kept: Value = serde_json::from_slice(&fs::read(keyring.join("kept")).unwrap()).unwrap();
    assert_eq!(
        (&kept["ServerURL"], &kept["Username"], &kept["Secret"]),
        (&host.into(), &"edge".into(), &"s3cret".into())
    );
    succeeds(&mut command(&["matrix", "push", "--ca-cert", &certificate]));
    assert_eq!(text(&succeeds(&mut command(&["logout", host]))), format!("logged out of {host}\n"));
    assert!(!keyring.join("kept").exists());
    let message = fails(&mut command(&["matrix", "push", "--ca-cert", &certificate]), 4);
    assert!(message.contains("not logged in"), "{message}");

    let calls = fs::read_to_string(keyring.join("calls")).unwrap();
    assert!(calls.lines().all(|call| ["store", "get", "erase"].contains(&call)), "{calls}");
    let config = fs::read_to_string(&file).unwrap();
    assert!(config.contains("detachKeys"), "what others keep there stays: {config}");
    for text in [shown, calls, config, fs::read_to_string(keyring.join("seen")).unwrap()] {
        assert!(!text.contains("s3cret") && !text.contains("ZWRnZTpzM2NyZXQ"), "{text}");
    }
}

#[test]
fn a_registry_that_serves_other_documents_is_found_out() {
    let built = built();
    let registry = LyingRegistry::start(Vec::new());
    let reference = format!("{}/a/b:t", registry.host);
    succeeds(&mut built.kletimg(&["image", "copy", &format!("dist:{TAG}"), &reference]));
    // The index, the first manifest, and all of them.
    for (skip, times) in [(0, 1), (1, 1), (0, 99)] {
        registry.state().rules = vec![Rule { skip, ..rule("GET", "/manifests/", times, Fault::Flip) }];
        let output = built.kletimg(&["image", "verify", "-q", &reference]).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(text(&output).contains("blob-"), "{}", text(&output));
        registry.state().rules = vec![Rule { skip, ..rule("GET", "/manifests/", times, Fault::Flip) }];
        let output = built.kletimg(&["image", "copy", "-q", &reference, "oci:there"]).output().unwrap();
        assert!(matches!(output.status.code(), Some(1 | 4)), "{}", text(&output));
        assert!(!built.fixture.path("m/there/index.json").exists());
    }
}
