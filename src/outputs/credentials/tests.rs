//! Logins in files and with helper programs, in every spelling.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::{file::DOCKER_HUB, *};
use crate::host::files;

fn password(user: &str, password: &str) -> Login {
    Login::Password { user: user.to_owned(), password: Secret::new(password) }
}

fn with_file(text: &str) -> (tempfile::TempDir, PathBuf, Credentials) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    files::write(&file, text.as_bytes(), 0o644).unwrap();
    let credentials = Credentials { files: vec![file.clone()], helpers: Helpers::default() };
    (folder, file, credentials)
}

/// A helper that keeps what it was given in a file beside it, and shows what it saw.
fn helper(folder: &Path, name: &str, script: &str) -> Helpers {
    let text = format!("#!/bin/sh\ncd '{}'\n{script}", folder.display());
    files::write(&folder.join(format!("docker-credential-{name}")), text.as_bytes(), 0o755).unwrap();
    let search_path = folder.as_os_str().to_owned();
    Helpers { search_path, env: vec![("PATH".into(), "/usr/bin:/bin".into())] }
}

#[test]
fn every_spelling_of_an_entry_is_found() {
    let up = BASE64.encode("u:p:q");
    let cases = [
        (format!(r#"{{"auths":{{"quay.io":{{"auth":"{up}"}}}}}}"#), "quay.io", Some(password("u", "p:q"))),
        (format!(r#"{{"auths":{{"https://quay.io/v2/":{{"auth":"{up}"}}}}}}"#), "quay.io", Some(password("u", "p:q"))),
        (format!(r#"{{"auths":{{"{DOCKER_HUB}":{{"auth":"{up}"}}}}}}"#), "docker.io", Some(password("u", "p:q"))),
        (
            r#"{"auths":{"docker.io":{"username":"u","password":"p"}}}"#.to_owned(),
            "docker.io",
            Some(password("u", "p")),
        ),
        (
            r#"{"auths":{"h:5000":{"auth":"PHRva2VuPjo=","identitytoken":"t"}}}"#.to_owned(),
            "h:5000",
            Some(Login::Identity { token: Secret::new("t") }),
        ),
        (r#"{"auths":{"h":{}}}"#.to_owned(), "h", None),
        (format!(r#"{{"auths":{{"h/a":{{"auth":"{up}"}}}}}}"#), "h", Some(password("u", "p:q"))),
        (format!(r#"{{"auths":{{"h/x":{{"auth":"{up}"}}}}}}"#), "h", None),
        (format!(r#"{{"auths":{{"h.evil":{{"auth":"{up}"}}}}}}"#), "h", None),
        ("{}".to_owned(), "h", None),
        ("  \n".to_owned(), "h", None),
    ];
    for (text, registry, expected) in cases {
        let (_folder, _file, credentials) = with_file(&text);
        assert_eq!(credentials.find(registry, "a/b").unwrap(), expected, "{text}");
    }
}

#[test]
fn the_most_specific_entry_is_used() {
    let [whole, space, other] = ["u:1", "u:2", "u:3"].map(|text| BASE64.encode(text));
    let text =
        format!(r#"{{"auths":{{"h":{{"auth":"{whole}"}},"h/a":{{"auth":"{space}"}},"h/a/c":{{"auth":"{other}"}}}}}}"#);
    let (_folder, _file, credentials) = with_file(&text);
    for (path, expected) in [("a/b", "2"), ("a/c", "3"), ("ab", "1"), ("x/a/c", "1")] {
        assert_eq!(credentials.find("h", path).unwrap(), Some(password("u", expected)), "{path}");
    }
}

#[test]
fn a_malformed_file_is_named_without_its_secrets() {
    let texts =
        [r#"{"auths":{"h":"hunter2"}}"#, r#"{"auths":{"h":{"auth":"aHVudGVyMg=="}}}"#, "hunter2", r#"["hunter2"]"#];
    for text in texts {
        let (_folder, file, credentials) = with_file(text);
        let error = credentials.find("h", "a").unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("config.json"), "{shown}");
        assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVyMg"), "{shown}");
        if !text.contains("auth\"") {
            assert!(credentials.keep(&file, "h", &password("u", "p")).is_err(), "{text} is not overwritten");
        }
    }
    assert_eq!(format!("{:?}", password("u", "hunter2")), r#"Password { user: "u", password: *** }"#);
}

#[test]
fn a_login_is_kept_and_forgotten_with_all_else_as_it_was() {
    let (folder, file, credentials) = with_file(r#"{"proxies":{"default":{}},"auths":{"other":{"auth":"dTpw"}}}"#);
    for registry in ["localhost:5000", "docker.io"] {
        assert_eq!(credentials.keep(&file, registry, &password("me", "s3:t")).unwrap(), Kept::File);
        assert_eq!(files::mode(&file), Some(0o600));
        assert_eq!(credentials.find(registry, "a").unwrap(), Some(password("me", "s3:t")));
        assert_eq!(credentials.find("other", "a").unwrap(), Some(password("u", "p")));
        assert!(credentials.forget(&file, registry).unwrap());
        assert!(!credentials.forget(&file, registry).unwrap());
        assert_eq!(credentials.find(registry, "a").unwrap(), None);
    }
    assert!(files::read_text(&file, 1000).unwrap().contains("proxies"));
    assert_eq!(files::names(folder.path()).unwrap(), ["config.json"]);
    let new = folder.path().join("new/config.json");
    assert_eq!(credentials.keep(&new, "h", &Login::Identity { token: Secret::new("t") }).unwrap(), Kept::File);
    assert_eq!(files::mode(&new), Some(0o600));
}

#[test]
fn a_symbolic_link_to_the_file_stays_one() {
    let (folder, file, credentials) = with_file("{}");
    let link = folder.path().join("link.json");
    files::symlink(&file, &link).unwrap();
    credentials.keep(&link, "h", &password("u", "p")).unwrap();
    assert_eq!(credentials.find("h", "a").unwrap(), Some(password("u", "p")));
}

#[test]
fn a_helper_is_asked_on_its_standard_input() {
    let (folder, file, mut credentials) = with_file(r#"{"credHelpers":{"h:5000":"mem"}}"#);
    let script = r#"case $1 in
        store) cat > kept; echo "$@" > args;;
        get) cat > asked; if [ -e kept ]; then cat kept; else echo 'credentials not found in native keychain'; exit 1; fi;;
        erase) rm kept;;
    esac"#;
    credentials.helpers = helper(folder.path(), "mem", script);
    assert_eq!(credentials.find("h:5000", "a").unwrap(), None);
    assert_eq!(files::read_text(&folder.path().join("asked"), 100).unwrap(), "h:5000");
    let kept = credentials.keep(&file, "h:5000", &password("u", "s3cret")).unwrap();
    assert_eq!(kept, Kept::Helper("mem".to_owned()));
    assert_eq!(files::read_text(&folder.path().join("args"), 100).unwrap(), "store\n");
    assert!(!files::read_text(&file, 1000).unwrap().contains("s3cret"));
    assert_eq!(credentials.find("h:5000", "a").unwrap(), Some(password("u", "s3cret")));
    credentials.forget(&file, "h:5000").unwrap();
    assert_eq!(credentials.find("h:5000", "a").unwrap(), None);
}

#[test]
fn a_helper_that_fails_is_told_without_secrets() {
    let (folder, file, mut credentials) = with_file(r#"{"credsStore":"bad"}"#);
    assert!(matches!(credentials.find("h", "a"), Err(CredentialsError::NoHelper { .. })));
    credentials.helpers = helper(folder.path(), "bad", "cat; exit 3");
    let error = credentials.keep(&file, "h", &password("u", "s3cret")).unwrap_err().to_string();
    assert!(error.contains("docker-credential-bad store") && !error.contains("s3cret"), "{error}");
    credentials.helpers = helper(folder.path(), "bad", "echo nonsense");
    assert!(matches!(credentials.find("h", "a"), Err(CredentialsError::Helper { .. })));
    for name in ["../bad", "a b", "a/b"] {
        let (_folder, _file, credentials) = with_file(&format!(r#"{{"credsStore":"{name}"}}"#));
        assert!(matches!(credentials.find("h", "a"), Err(CredentialsError::HelperName { .. })), "{name}");
    }
}
