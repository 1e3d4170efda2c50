//! Pushes to and pulls from registries: Debian's docker-registry, and one that lies.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::{
    process::{Command, Output},
    sync::Arc,
    time::Duration,
};

use kletimg::{
    base::{Blob, Digest, progress::SharedProgress, progress::Silent},
    images::{
        Descriptor,
        reference::{Reference, Repository},
    },
    inputs::store::Store,
    outputs::{
        credentials::{Credentials, Login, Secret},
        registry::{
            Existing, Meter, Moved, PlannedTag, PushOptions, Pushed, Registry, RegistryError, Retry, Settings, plan,
            pull, push,
        },
        source::{Source, SourceError, Tag, TagKind, manifests},
    },
};
use support::{
    image::{self, multi_arch, noise},
    lying_registry::{Fault, LyingRegistry, Rule, rule},
    parts,
    registry::{Guard, RealRegistry},
    tls::TlsServer,
};

mod support;

fn quick() -> Settings {
    let retry = Retry { attempts: 4, first: Duration::from_millis(20), longest: Duration::from_secs(2) };
    Settings { retry, ..Settings::default() }
}

fn silent() -> SharedProgress {
    Arc::new(Silent)
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    (folder, store)
}

fn tag(host: &str, name: &str, root: &Descriptor) -> Tag {
    Tag::new(format!("{host}/{name}").parse().unwrap(), root.clone())
}

async fn push_all(
    settings: &Settings,
    store: &Store,
    tags: &[Tag],
    options: PushOptions,
) -> Result<Pushed, RegistryError> {
    let plan = plan(settings, Arc::new(store.clone()), tags, options).await?;
    push(&plan, &silent()).await
}

fn skopeo(args: &[&str]) -> Output {
    Command::new("skopeo").args(args).output().unwrap()
}

fn words(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_matrix_is_pushed_once_and_found_whole_by_skopeo() {
    let Some(registry) = RealRegistry::start(Guard::TlsAndPassword) else { return };
    let Some(_) = parts::program("skopeo") else { return };
    let (_folder, store) = store();
    let host = registry.host.as_str();
    let login = registry.login_file("edge", "s3cret");
    let mut settings = quick();
    settings.authorities = vec![registry.authority()];
    settings.credentials = Credentials { files: vec![login.clone()], ..Credentials::default() };
    let roots: Vec<_> = (1..=5).map(|seed| multi_arch(&store, seed, 3 << 20)).collect();
    let tags: Vec<_> = roots.iter().zip(1..).map(|(root, n)| tag(host, &format!("edge/kubelet:v{n}"), root)).collect();

    let pushed = push_all(&settings, &store, &tags, PushOptions::default()).await.unwrap();
    // Ten layers, ten configs, and the one layer that all share.
    assert_eq!((pushed.sent, pushed.mounted, pushed.present, pushed.manifests), (21, 0, 0, 15));
    assert!(pushed.tags.iter().all(|(_, _, moved)| *moved == Moved::New));
    let again = push_all(&settings, &store, &tags, PushOptions::default()).await.unwrap();
    assert_eq!((again.sent, again.present, again.manifests), (0, 21, 0));
    assert!(again.tags.iter().all(|(_, _, moved)| *moved == Moved::No));

    let certificates = registry.folder.path().join("certificates");
    std::fs::create_dir(&certificates).unwrap();
    std::fs::write(certificates.join("ca.crt"), registry.authority()).unwrap();
    let (login, certificates) = (login.to_string_lossy(), certificates.to_string_lossy());
    let copy = registry.folder.path().join("copy");
    for (tag, root) in tags.iter().zip(&roots) {
        let name = format!("docker://{}", tag.reference);
        let said = words(&skopeo(&[
            "inspect",
            "--authfile",
            &login,
            "--cert-dir",
            &certificates,
            "--format",
            "{{.Digest}}",
            &name,
        ]));
        assert_eq!(said.trim(), root.digest.to_string());
        let to = format!("dir:{}", copy.display());
        words(&skopeo(&["copy", "--all", "--authfile", &login, "--src-cert-dir", &certificates, &name, &to]));
    }

    // A sibling repository takes the blobs from the first one.
    let sibling = tag(host, "edge/mirror:v1", &roots[0]);
    let siblings = vec![tags[0].reference.repository.clone()];
    let options = PushOptions { siblings, ..PushOptions::default() };
    let mounted = push_all(&settings, &store, &[sibling], options).await.unwrap();
    assert_eq!((mounted.sent, mounted.mounted), (0, 5));

    // And what was pushed comes back the same.
    let (_folder, back) = self::store();
    let connected = Registry::connect(&settings, &tags[0].reference.repository).await.unwrap();
    let root = pull(&connected, &tags[0].reference, &back, &silent()).await.unwrap();
    assert_eq!(root.blob(), roots[0].blob());
    for manifest in manifests(&back, &root).unwrap() {
        assert!(manifest.links.children().iter().all(|child| back.has(&child.blob())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_login_or_certificate_lacks_is_said() {
    let Some(registry) = RealRegistry::start(Guard::TlsAndPassword) else { return };
    let (_folder, store) = store();
    let tags = [tag(&registry.host, "a/b:t", &multi_arch(&store, 1, 100))];
    let mut settings = quick();
    let error = push_all(&settings, &store, &tags, PushOptions::default()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Untrusted { .. }), "{error}");
    assert!(error.to_string().contains("--ca-cert"), "{error}");

    settings.authorities = vec![registry.authority()];
    let error = push_all(&settings, &store, &tags, PushOptions::default()).await.unwrap_err();
    assert!(matches!(error, RegistryError::LoginNeeded { .. }), "{error}");
    let wrong = registry.login_file("edge", "wr0ng");
    settings.credentials.files = vec![wrong];
    let error = push_all(&settings, &store, &tags, PushOptions::default()).await.unwrap_err();
    assert!(matches!(error, RegistryError::LoginRefused { .. }), "{error}");
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("kletimg login localhost") && !shown.contains("wr0ng"), "{shown}");
    assert_eq!(error.exit_hint(), 4);

    for (password, good) in [("s3cret", true), ("wr0ng", false)] {
        let login = Login::Password { user: "edge".to_owned(), password: Secret::new(password) };
        assert_eq!(Registry::check_login(&settings, &registry.host, login).await.is_ok(), good);
    }

    settings.authorities = vec![b"no certificate".to_vec()];
    let error = push_all(&settings, &store, &tags, PushOptions::default()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Tls(_)), "{error}");
    // Declared insecure, a certificate that nobody vouches for is taken.
    settings.authorities.clear();
    settings.insecure.insert(registry.host.clone());
    settings.credentials.files = vec![registry.login_file("edge", "s3cret")];
    push_all(&settings, &store, &tags, PushOptions::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_name_is_not_blamed_on_its_authority() {
    let Some(server) = TlsServer::start() else { return };
    let settings = Settings { authorities: vec![std::fs::read(server.authority()).unwrap()], ..quick() };
    let host = server.url.replace("https://127.0.0.1", "localhost");
    let repository: Repository = format!("{host}/a").parse().unwrap();
    let error = Registry::connect(&settings, &repository).await.err().unwrap();
    assert!(matches!(error, RegistryError::Certificate { .. }), "{error}");
    assert!(error.to_string().contains("127.0.0.1") && error.exit_hint() == 4, "the name it is for: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_is_not_moved_unless_that_is_wanted() {
    let Some(registry) = RealRegistry::start(Guard::Open) else { return };
    let (_folder, store) = store();
    let (one, two) = (multi_arch(&store, 1, 100), multi_arch(&store, 2, 100));
    let names = ["a:fixed", "a:new"];
    let settings = quick();
    let first = [tag(&registry.host, names[0], &one)];
    push_all(&settings, &store, &first, PushOptions::default()).await.unwrap();
    let both = names.map(|name| tag(&registry.host, name, &two));
    let error = push_all(&settings, &store, &both, PushOptions::default()).await.unwrap_err();
    let RegistryError::TagExists { conflicts } = &error else { panic!("{error}") };
    assert_eq!((conflicts[0].there, conflicts[0].ours, conflicts.len()), (one.digest, two.digest, 1));
    assert_eq!(error.exit_hint(), 3);
    let connected = Registry::connect(&settings, &both[0].reference.repository).await.unwrap();
    assert_eq!(connected.tag_digest(&both[1].reference).await.unwrap(), None, "nothing was sent");

    let overwrite = PushOptions { existing: Existing::Overwrite, ..PushOptions::default() };
    let planned = plan(&settings, Arc::new(store.clone()), &both, overwrite).await.unwrap();
    assert_eq!(planned.tags().map(PlannedTag::moves).collect::<Vec<_>>(), [Moved::From(one.digest), Moved::New]);
    assert_eq!(planned.missing().count(), 4, "the shared layer is there");
    let pushed = push(&planned, &silent()).await.unwrap();
    assert_eq!(pushed.tags[0].2, Moved::From(one.digest));
    assert_eq!(connected.tag_digest(&both[0].reference).await.unwrap(), Some(two.digest));

    let twice = [tag(&registry.host, "a:x", &one), tag(&registry.host, "a:x", &two)];
    let error = push_all(&settings, &store, &twice, PushOptions::default()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Ambiguous { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_in_pieces_is_taken_by_the_real_registry() {
    let Some(registry) = RealRegistry::start(Guard::Open) else { return };
    let (_folder, store) = store();
    let root = multi_arch(&store, 3, 1 << 20);
    let settings = Settings { piece: Some(300_000), ..quick() };
    let tags = [tag(&registry.host, "a/b:t", &root)];
    let pushed = push_all(&settings, &store, &tags, PushOptions::default()).await.unwrap();
    assert_eq!(pushed.sent, 5);
}

/// A proxy before a registry limits requests, 1 MiB being nginx's own limit.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_too_large_goes_in_pieces() {
    let (_folder, store) = store();
    let layer = image::layer(&store, "f", &noise(1, 2_500_000));
    let root = image::index(&store, &[image::image(&store, "amd64", &[layer])]);
    let limits = ["PUT", "PATCH"].map(|method| rule(method, "/uploads/", 99, Fault::LargerThan(1 << 20)));
    let registry = LyingRegistry::start(limits.to_vec());
    let tags = [tag(&registry.host, "a:t", &root)];
    push_all(&quick(), &store, &tags, PushOptions::default()).await.unwrap();
    assert_eq!(registry.count("PATCH", "/uploads/"), 4);
    let state = registry.state();
    assert!(state.tags_are_whole() && state.tags() == 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moving_tag_takes_nothing_from_those_who_follow_it() {
    let (_folder, store) = store();
    let image =
        |architecture, seed| image::image(&store, architecture, &[image::layer(&store, "f", &noise(seed, 100))]);
    let both = image::index(&store, &[image("amd64", 1), image("arm64", 2)]);
    let newer = image::index(&store, &[image("amd64", 3), image("arm64", 4)]);
    let less = image::index(&store, &[image("amd64", 5)]);
    let registry = LyingRegistry::start(Vec::new());
    let moving = |root| [Tag { kind: TagKind::Moving, ..tag(&registry.host, "a:latest", root) }];
    for root in [&both, &newer] {
        push_all(&quick(), &store, &moving(root), PushOptions::default()).await.unwrap();
    }
    let error = push_all(&quick(), &store, &moving(&less), PushOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("it would lose linux/arm64") && error.exit_hint() == 3, "{error}");
    let reference = &moving(&less)[0].reference;
    let connected = Registry::connect(&quick(), &reference.repository).await.unwrap();
    assert_eq!(connected.tag_digest(reference).await.unwrap(), Some(newer.digest));
    let overwrite = PushOptions { existing: Existing::Overwrite, ..PushOptions::default() };
    push_all(&quick(), &store, &moving(&less), overwrite).await.unwrap();
    // More platforms than there were are no loss.
    push_all(&quick(), &store, &moving(&both), PushOptions::default()).await.unwrap();
}

/// The rules, and whether a push under them ends well.
#[allow(clippy::too_many_lines, reason = "a table")]
fn faults() -> Vec<(&'static str, Vec<Rule>, Result<(), &'static str>)> {
    let answer = |status, header, value: &str| Fault::Answer(status, header, value.to_owned());
    let wrong = Digest::of("wrong").to_string();
    // Whether the answer is seen before the broken connection is up to the network.
    let if_early = "uploading the blob";
    vec![
        ("busy at first", vec![rule("*", "/blobs/", 2, answer(503, "retry-after", "0"))], Ok(())),
        ("too many requests", vec![rule("POST", "/uploads/", 3, answer(429, "retry-after", "0"))], Ok(())),
        ("busy at the ping", vec![rule("GET", "/v2/", 2, answer(503, "", ""))], Ok(())),
        ("busy for ever", vec![rule("POST", "/uploads/", 999, answer(503, "", ""))], Err("after 4 attempts")),
        (
            "asks for an hour",
            vec![rule("POST", "/uploads/", 1, answer(429, "retry-after", "3600"))],
            Err("wait 3600 s"),
        ),
        ("drops an upload early", vec![rule("PUT", "/uploads/", 1, Fault::DropAfter(0))], Ok(())),
        ("drops an upload in the middle", vec![rule("PUT", "/uploads/", 1, Fault::DropAfter(200_000))], Ok(())),
        (
            "drops uploads again and again",
            vec![
                rule("PUT", "/uploads/", 2, Fault::DropAfter(90_000)),
                rule("PATCH", "/uploads/", 2, Fault::DropAfter(90_000)),
            ],
            Ok(()),
        ),
        ("drops every upload", vec![rule("PUT", "/uploads/", 999, Fault::DropAfter(0))], Err("attempts")),
        (
            "has another part of an upload than it said",
            vec![
                rule("PUT", "/uploads/", 1, Fault::DropAfter(9999)),
                rule("GET", "/uploads/", 1, Fault::Instead("range", "0-4999".to_owned())),
            ],
            Ok(()),
        ),
        (
            "has more of an upload than there is",
            vec![
                rule("PUT", "/uploads/", 1, Fault::DropAfter(9999)),
                rule("GET", "/uploads/", 1, Fault::Instead("range", "0-99999999999".to_owned())),
            ],
            Ok(()),
        ),
        ("drops the answer to an upload", vec![rule("PUT", "/uploads/", 1, Fault::DropAnswer)], Ok(())),
        ("drops the answer to a manifest", vec![rule("PUT", "/manifests/", 2, Fault::DropAnswer)], Ok(())),
        ("loses the upload", vec![rule("PUT", "/uploads/", 1, Fault::ForgetUpload)], Ok(())),
        (
            "loses the upload after a drop",
            vec![rule("PUT", "/uploads/", 1, Fault::DropAfter(9999)), rule("GET", "/uploads/", 1, Fault::ForgetUpload)],
            Ok(()),
        ),
        ("loses every upload", vec![rule("PUT", "/uploads/", 999, Fault::ForgetUpload)], Err("lost the upload")),
        ("omits Location", vec![rule("POST", "/uploads/", 1, Fault::Without("location"))], Err("no Location header")),
        (
            "leads nowhere",
            vec![rule("POST", "/uploads/", 1, Fault::Instead("location", "mailto:x".to_owned()))],
            Err("Location header of the answer is invalid"),
        ),
        (
            "names another digest for a blob",
            vec![rule("PUT", "/uploads/", 1, Fault::Instead("docker-content-digest", wrong.clone()))],
            Err("expected the digest"),
        ),
        (
            "names another digest for a manifest",
            vec![rule("PUT", "/manifests/", 1, Fault::Instead("docker-content-digest", wrong.clone()))],
            Err("expected the digest"),
        ),
        (
            "names no digest",
            vec![
                rule("PUT", "", 99, Fault::Without("docker-content-digest")),
                rule("HEAD", "/manifests/", 99, Fault::Without("docker-content-digest")),
            ],
            Ok(()),
        ),
        (
            "names nonsense as a digest",
            vec![rule("PUT", "/manifests/", 1, Fault::Instead("docker-content-digest", "sha256:xyz".to_owned()))],
            Err("is invalid"),
        ),
        ("pretends to take a blob", vec![rule("PUT", "/uploads/", 1, Fault::Pretend)], Err("does not have it")),
        ("pretends to take a manifest", vec![rule("PUT", "/manifests/", 1, Fault::Pretend)], Err("does not have it")),
        ("says a digest is wrong", vec![rule("PUT", "/uploads/", 1, answer(400, "", ""))], Err("answers 400")),
        ("has a full disk", vec![rule("PUT", "/uploads/", 999, answer(507, "", ""))], Err("out of disk space")),
        ("fails for ever", vec![rule("PUT", "/uploads/", 999, answer(500, "", ""))], Err("answers 500")),
        ("forbids", vec![rule("POST", "/uploads/", 1, answer(403, "", ""))], Err("does not allow that")),
        (
            "takes no uploads so large",
            vec![rule("PUT", "/uploads/", 9, answer(413, "", ""))],
            Err("limits the size of uploads"),
        ),
        ("is busy before it has read", vec![rule("PUT", "/uploads/", 2, Fault::Early(503))], Ok(())),
        ("refuses before it has read", vec![rule("PUT", "/uploads/", 99, Fault::Early(413))], Err(if_early)),
        (
            "sends elsewhere first",
            vec![rule("HEAD", "/blobs/", 1, answer(307, "location", "/v2/other/blobs/sha256:00"))],
            Ok(()),
        ),
        (
            "sends in circles",
            vec![rule("HEAD", "/blobs/", 999, answer(307, "location", "/v2/a/b/blobs/x"))],
            Err("too many redirects"),
        ),
        ("is no registry", vec![rule("GET", "/v2/", 99, answer(404, "", ""))], Err("not a container registry")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_fails_or_lies_gets_a_whole_tag_or_none() {
    let (_folder, store) = store();
    let root = multi_arch(&store, 4, 300_000);
    for (name, rules, expected) in faults() {
        let registry = LyingRegistry::start(rules);
        let tags = [tag(&registry.host, "a/b:t", &root)];
        let result = push_all(&quick(), &store, &tags, PushOptions { jobs: 2, ..PushOptions::default() }).await;
        let state = registry.state();
        assert!(state.tags_are_whole(), "{name}");
        match (&result, expected) {
            (Ok(_), Ok(())) => assert_eq!(state.tags(), 1, "{name}"),
            (Err(error), Err(part)) => {
                assert!(error.to_string().contains(part), "{name}: {error}");
                assert_eq!((state.tags(), error.exit_hint()), (0, 4), "{name}");
                // What will not go on is removed, except that of the other upload at work, which is stopped by the error.
                let cleans = ["has a full disk", "fails for ever"].contains(&name);
                assert!(!cleans || state.uploads.len() < 2, "{name}");
            }
            _ => panic!("{name}: {result:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_upload_goes_on_where_it_broke() {
    let (_folder, store) = store();
    let root =
        image::index(&store, &[image::image(&store, "amd64", &[image::layer(&store, "f", &noise(1, 4_000_000))])]);
    let first = Rule { skip: 1, ..rule("PUT", "/uploads/", 1, Fault::DropAfter(3_000_000)) };
    for rules in [vec![rule("PUT", "/uploads/", 1, Fault::DropAfter(3_000_000))], vec![first]] {
        let registry = LyingRegistry::start(rules);
        let tags = [tag(&registry.host, "a:t", &root)];
        push_all(&quick(), &store, &tags, PushOptions { jobs: 1, ..PushOptions::default() }).await.unwrap();
        assert!(registry.state().tags_are_whole());
    }
    // The largest blob goes first, so the drop hits it; the rest goes with PATCH and is not begun anew.
    let registry = LyingRegistry::start(vec![rule("PUT", "/uploads/", 1, Fault::DropAfter(3_000_000))]);
    let tags = [tag(&registry.host, "a:t", &root)];
    push_all(&quick(), &store, &tags, PushOptions { jobs: 1, ..PushOptions::default() }).await.unwrap();
    assert_eq!((registry.count("PATCH", "/uploads/"), registry.count("POST", "/uploads/")), (1, 2));
}

/// The push that the next test kills, in a process of its own.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by a_killed_push_is_completed_by_the_next"]
async fn push_in_a_process_of_its_own() {
    let [host, folder] = ["KLETIMG_TEST_HOST", "KLETIMG_TEST_STORE"].map(|name| std::env::var(name).unwrap());
    let store = Store::new(folder);
    let tags = [tag(&host, "a:t", &multi_arch(&store, 5, 100_000))];
    push_all(&quick(), &store, &tags, PushOptions { jobs: 1, ..PushOptions::default() }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_push_is_completed_by_the_next() {
    let (folder, store) = store();
    let tags = |host: &str| [tag(host, "a:t", &multi_arch(&store, 5, 100_000))];
    for blobs in [0, 2, 5] {
        let registry = LyingRegistry::start(Vec::new());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "push_in_a_process_of_its_own"])
            .env("KLETIMG_TEST_HOST", &registry.host)
            .env("KLETIMG_TEST_STORE", folder.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        while registry.state().blobs.len() < blobs || registry.state().uploads.is_empty() && blobs == 0 {
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "the push failed by itself");
                break;
            }
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(registry.state().tags_are_whole());
        let there = registry.state().blobs.len();
        let tags = tags(&registry.host);
        let pushed = push_all(&quick(), &store, &tags, PushOptions::default()).await.unwrap();
        assert!(pushed.present >= there && pushed.sent + pushed.present == 5, "{pushed:?}");
        assert!(registry.state().tags_are_whole());
        assert_eq!(registry.state().tags(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_runs_out_is_replaced() {
    let (_folder, store) = store();
    let root = multi_arch(&store, 6, 50_000);
    let registry = LyingRegistry::start(Vec::new());
    {
        let mut state = registry.state();
        state.tokens = Some(std::collections::BTreeMap::new());
        state.token_lasts = 3;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    let mut settings = quick();
    settings.credentials.files = vec![file.clone()];
    let login = Login::Password { user: "edge".to_owned(), password: Secret::new("s3cret") };
    settings.credentials.keep(&file, &registry.host, &login).unwrap();
    let tags = [tag(&registry.host, "a:t", &root)];
    push_all(&settings, &store, &tags, PushOptions { jobs: 1, ..PushOptions::default() }).await.unwrap();
    let logins = registry.state().logins.clone();
    assert!(logins.len() > 2 && registry.state().tags_are_whole());
    assert!(logins.iter().all(|login| login.as_deref() == Some("Basic ZWRnZTpzM2NyZXQ=")));

    // One that is never taken ends in an error, not in a loop.
    registry.state().token_lasts = 0;
    let error = push_all(&settings, &store, &tags, PushOptions::default()).await.unwrap_err();
    assert!(matches!(error, RegistryError::LoginRefused { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_account_is_told_so() {
    let (_folder, store) = store();
    let root = multi_arch(&store, 8, 1000);
    let registry = LyingRegistry::start(Vec::new());
    let denied = format!(r#"Bearer realm="http://{}/token",service="s",error="insufficient_scope""#, registry.host);
    registry.state().rules = vec![rule("POST", "/uploads/", 9, Fault::Answer(401, "www-authenticate", denied.clone()))];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    let mut settings = quick();
    settings.credentials.files = vec![file.clone()];
    let login = Login::Password { user: "edge".to_owned(), password: Secret::new("s3cret") };
    settings.credentials.keep(&file, &registry.host, &login).unwrap();
    let tags = [tag(&registry.host, "a:t", &root)];
    let error = push_all(&settings, &store, &tags, PushOptions::default()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Forbidden { .. }), "{error}");
    assert!(error.to_string().contains("`edge`") && !format!("{error:?}").contains("s3cret"), "{error}");

    // Tokens are not asked for over an unencrypted line to elsewhere, nor logins sent to another host's realm in plain.
    let elsewhere = r#"Bearer realm="ftp://elsewhere.invalid/token",service="s""#.to_owned();
    registry.state().rules = vec![rule("GET", "/v2/", 9, Fault::Answer(401, "www-authenticate", elsewhere))];
    let error = push_all(&settings, &store, &tags, PushOptions::default()).await.unwrap_err();
    assert!(matches!(error, RegistryError::UnsafeRealm { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sibling_that_cannot_be_mounted_from_is_no_hindrance() {
    let (_folder, store) = store();
    let root = multi_arch(&store, 9, 1000);
    let answers: [(&str, Fault); 3] = [
        ("refused", Fault::Answer(401, "", String::new())),
        ("not known", Fault::Answer(405, "", String::new())),
        ("said to be done", Fault::Answer(201, "", String::new())),
    ];
    for (name, fault) in answers {
        let registry = LyingRegistry::start(vec![rule("POST", "/blobs/uploads/", 1, fault)]);
        let tags = [tag(&registry.host, "a:t", &root)];
        let siblings = vec![format!("{}/b", registry.host).parse().unwrap()];
        let options = PushOptions { siblings, jobs: 1, ..PushOptions::default() };
        let pushed = push_all(&quick(), &store, &tags, options).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((pushed.sent, pushed.mounted), (5, 0), "{name}");
        assert!(registry.state().tags_are_whole(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_repositories_share_their_blobs() {
    let Some(registry) = RealRegistry::start(Guard::Open) else { return };
    let (_folder, store) = store();
    let root = multi_arch(&store, 10, 1000);
    let tags = ["kubelet:t", "kube-proxy:t"].map(|name| tag(&registry.host, name, &root));
    let pushed = push_all(&quick(), &store, &tags, PushOptions::default()).await.unwrap();
    assert_eq!((pushed.sent, pushed.mounted, pushed.tags.len()), (5, 5, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_at_the_real_registry_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(&data).output();
    let mounted = mount.is_ok_and(|output| output.status.success());
    let Some(()) = parts::need("mount", mounted.then_some(()), "a small file system cannot be mounted here") else {
        return;
    };
    let (_store_folder, store) = store();
    let error = match RealRegistry::start_in(Guard::Open, tempfile::tempdir().unwrap(), Some(data.clone())) {
        Some(registry) => {
            let tags = [tag(&registry.host, "a:t", &multi_arch(&store, 11, 1 << 20))];
            Some(push_all(&quick(), &store, &tags, PushOptions::default()).await)
        }
        None => None,
    };
    words(&Command::new("umount").arg(&data).output().unwrap());
    let Some(result) = error else { return };
    let error = result.unwrap_err();
    assert!(matches!(error, RegistryError::Full { .. }), "{error}");
    assert_eq!(error.exit_hint(), 4);
}

/// A source that gives wrong bytes for one blob.
struct Damaged(Store, Blob);

impl Source for Damaged {
    fn open(&self, blob: &Blob, from: u64) -> Result<Box<dyn std::io::Read + Send>, SourceError> {
        if blob.digest == self.1.digest {
            return Ok(Box::new(std::io::Read::take(std::io::repeat(7), blob.size - from)));
        }
        Source::open(&self.0, blob, from)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_missing_blob_here_is_not_published() {
    let (_folder, store) = store();
    let layer = image::layer(&store, "f", &noise(1, 400_000));
    let root = image::index(&store, &[image::image(&store, "amd64", &[layer])]);
    for piece in [None, Some(100_000)] {
        let registry = LyingRegistry::start(Vec::new());
        let tags = [tag(&registry.host, "a:t", &root)];
        let settings = Settings { piece, ..quick() };
        let source = Arc::new(Damaged(store.clone(), layer.0));
        let planned = plan(&settings, source, &tags, PushOptions::default()).await.unwrap();
        let error = push(&planned, &silent()).await.unwrap_err();
        assert!(matches!(error, RegistryError::Source(SourceError::Damaged { .. })), "{error}");
        assert_eq!(error.exit_hint(), 1);
        assert!(registry.state().tags() == 0 && !registry.state().blobs.contains_key(&layer.0.digest.to_string()));
    }
    std::fs::remove_file(store.path(&layer.0.digest)).unwrap();
    let registry = LyingRegistry::start(Vec::new());
    let tags = [tag(&registry.host, "a:t", &root)];
    let error = push_all(&quick(), &store, &tags, PushOptions::default()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Source(SourceError::Store(_))), "{error}");
    assert_eq!(registry.state().tags(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_is_wrong_is_told_before_anything_is_asked() {
    let (_folder, store) = store();
    let (blob, diff_id) = image::layer(&store, "f", &noise(1, 400_000));
    for size in [0, blob.size - 1, blob.size + 1, u64::MAX] {
        let wrong = Blob { size, ..blob };
        let root = image::index(&store, &[image::image(&store, "amd64", &[(wrong, diff_id)])]);
        let registry = LyingRegistry::start(Vec::new());
        let tags = [tag(&registry.host, "a:t", &root)];
        let error = push_all(&quick(), &store, &tags, PushOptions::default()).await.unwrap_err();
        assert!(matches!(error, RegistryError::Source(SourceError::Damaged { .. })), "{size}: {error}");
        let told = error.to_string();
        assert!(told.contains(&format!("{size} bytes")) && told.contains(&format!("has {}", blob.size)), "{told}");
        assert_eq!((registry.count("*", "/blobs/"), error.exit_hint()), (0, 1), "{size}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pulled_is_checked_and_resumed() {
    let (_folder, store) = store();
    let root = multi_arch(&store, 7, 200_000);
    let registry = LyingRegistry::start(Vec::new());
    let tags = [tag(&registry.host, "a:t", &root)];
    push_all(&quick(), &store, &tags, PushOptions::default()).await.unwrap();
    let (repository, reference) = (&tags[0].reference.repository, &tags[0].reference);
    let connected = Registry::connect(&quick(), repository).await.unwrap();
    let cases = [
        ("cut short", rule("GET", "/blobs/", 2, Fault::CutBody(100)), Ok(())),
        ("always cut short", rule("GET", "/blobs/", 99, Fault::CutBody(0)), Err("attempts")),
        ("another manifest", rule("GET", "/manifests/", 1, Fault::Flip), Err("expected the digest")),
        ("another blob", rule("GET", "/blobs/", 1, Fault::Flip), Err("expected the digest")),
        (
            "not there",
            rule("GET", "/blobs/", 1, Fault::Answer(404, "", String::new())),
            Err("not found in the registry"),
        ),
        ("no type", rule("GET", "/manifests/", 1, Fault::Without("content-type")), Err("delivered as")),
    ];
    let cases = cases.into_iter().map(|(name, rule, expected)| (name, vec![rule], expected));
    let ignored = [rule("GET", "/blobs/", 1, Fault::CutBody(150_000)), rule("GET", "/blobs/", 9, Fault::IgnoreRange)];
    for (name, rules, expected) in cases.chain([("ranges ignored", ignored.to_vec(), Ok(()))]) {
        registry.state().rules = rules;
        let (_folder, back) = self::store();
        let result = pull(&connected, reference, &back, &silent()).await;
        match (&result, expected) {
            (Ok(pulled), Ok(())) => assert_eq!(pulled.blob(), root.blob(), "{name}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{name}: {error}"),
            _ => panic!("{name}: {result:?}"),
        }
    }
    registry.state().rules.clear();
    let missing = Blob { digest: Digest::of("missing"), size: 7 };
    let meter = Meter::new(Box::new(Silent));
    assert!(connected.read_blob(repository, missing, Vec::new(), &meter).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_there_is_told_at_once() {
    let port = support::free_port();
    let repository: Repository = format!("localhost:{port}/a").parse().unwrap();
    let error = Registry::connect(&quick(), &repository).await.err().unwrap();
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
    let reference: Reference = "kletimg.invalid/a:t".parse().unwrap();
    let error = Registry::connect(&quick(), &reference.repository).await.err().unwrap();
    assert!(matches!(error, RegistryError::Unreachable { .. } | RegistryError::NotARegistry { .. }), "{error}");
}
