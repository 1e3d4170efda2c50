//! What the apt of a machine says decides where a base is had from, and whose signatures count there.

use std::fs;

use super::{
    Debian,
    archive::{Archive, put},
    keys::{Plan, Signer},
    serve,
};
use crate::support::{
    fixture::{fails, succeeds},
    server::Server,
};

impl Debian {
    /// An archive whose keys only the machine's apt knows.
    fn known_to_apt(archive: &Archive) -> Self {
        let debian = Self::new(archive);
        debian.fixture.edit("m/debian/12.toml", "keys = [\"archive.gpg\"]", "");
        let keyring = debian.fixture.path("m/debian/archive.gpg");
        fs::rename(keyring, debian.fixture.path("archive.gpg")).unwrap();
        debian
    }

    fn keyring(&self) -> String {
        self.fixture.path("archive.gpg").display().to_string()
    }

    /// Another archive beside the first: its address for apt, and its keyring.
    fn beside(&self, name: &str, archive: &Archive) -> (String, String) {
        let folder = self.fixture.path(name);
        let keyring = archive.write(&folder);
        (format!("file:{}", folder.display()), keyring.display().to_string())
    }
}

#[test]
fn keys_count_only_for_the_source_that_names_them() {
    let debian = Debian::known_to_apt(&Archive::new());
    let (keyring, mirror) = (debian.keyring(), debian.fixture.path("archive").display().to_string());
    let stranger = debian.fixture.path("stranger.gpg");
    put(&stranger, &Signer::new(8).keyring(Plan::default()));
    let stranger = stranger.display();
    let fingerprint = Archive::new().signer.fingerprint();
    let block = Archive::new().signer.armoured(Plan::default()).replace("\n\n", "\n.\n").replace('\n', "\n ");
    for (sources, words) in [
        (format!("deb [signed-by={keyring}] file:{mirror} bookworm main\n"), ""),
        (format!("deb [signed-by={keyring},{fingerprint}] file:{mirror} bookworm main\n"), ""),
        (
            format!("deb [signed-by={keyring},{}] file:{mirror} bookworm main\n", "0".repeat(40)),
            "does not hold this key",
        ),
        // The primary key alone: the archive signs with its subkey.
        (format!("deb [signed-by={keyring},{fingerprint}!] file:{mirror} bookworm main\n"), "does not hold this key"),
        (format!("deb [signed-by={stranger}] file:{mirror} bookworm main\n"), "does not hold this key"),
        (
            format!(
                "deb [signed-by={stranger}] file:{mirror} bookworm main\ndeb [signed-by={keyring}] file:/x sid main\n"
            ),
            "does not hold this key",
        ),
        (format!("deb [signed-by=/absent.gpg] file:{mirror} bookworm main\n"), "/absent.gpg"),
    ] {
        let _ = fs::remove_file(debian.fixture.path("m/matrix.lock"));
        let mut lock = debian.with_apt(&sources, &["matrix", "lock"]);
        if words.is_empty() {
            succeeds(&mut lock);
        } else {
            let error = fails(&mut lock, 1);
            assert!(error.contains(words), "{sources}: {error}");
        }
    }
    let stanza =
        format!("Types: deb\nURIs: file://{mirror}\nSuites: bookworm\nComponents: main\nSigned-By:\n {block}\n");
    debian.fixture.write("apt/sources.list.d/debian.sources", stanza);
    succeeds(&mut debian.with_apt("", &["matrix", "lock"]));
    fs::remove_file(debian.fixture.path("apt/sources.list.d/debian.sources")).unwrap();

    // An address of the definition that the machine's apt has keys for.
    let mirror = format!("suite = \"bookworm\"\nmirror = \"{}\"", debian.mirror);
    debian.fixture.edit("m/debian/12.toml", "suite = \"bookworm\"", &mirror);
    for (key, believed) in [(keyring.as_str(), true), (&stranger.to_string(), false)] {
        let _ = fs::remove_file(debian.fixture.path("m/matrix.lock"));
        let sources = format!("deb [signed-by={key}] {}/ bookworm main\n", debian.mirror);
        let locked = debian.with_apt(&sources, &["matrix", "lock"]).output().unwrap();
        assert_eq!(locked.status.success(), believed, "{key}: {}", String::from_utf8_lossy(&locked.stderr));
    }
}

/// Publishers of single programs call their suites `bookworm main` too.
#[test]
fn archives_of_others_are_passed_over() {
    let debian = Debian::known_to_apt(&Archive::new());
    let (cli, cli_keyring) =
        debian.beside("cli/debian", &Archive { signer: Signer::new(9), origin: "cli bookworm", ..Archive::new() });
    let others = format!("deb [signed-by={cli_keyring}] {cli} bookworm main\n");
    let own =
        format!("deb [signed-by={}] {} bookworm main\n", debian.keyring(), debian.mirror.replace("file://", "file:"));
    succeeds(&mut debian.with_apt(&format!("{others}{own}"), &["matrix", "lock"]));
    let lock = debian.lock();
    assert!(lock.contains(&format!("signed by {}", Archive::new().signer.subkey_fingerprint())), "{lock}");
    fs::remove_file(debian.fixture.path("m/matrix.lock")).unwrap();
    let error = fails(&mut debian.with_apt(&others, &["matrix", "lock"]), 1);
    assert!(error.contains("the archive of cli bookworm, not Debian's") && error.contains("`mirror`"), "{error}");
    // Whoever writes the address means it.
    let mirror = format!("mirror = \"{}\"\nkeys = [\"{cli_keyring}\"]", cli.replace("file:", "file://"));
    debian.fixture.edit("m/debian/12.toml", "suite = \"bookworm\"", &format!("suite = \"bookworm\"\n{mirror}"));
    succeeds(&mut debian.with_apt("", &["matrix", "lock"]));
}

#[test]
fn lists_of_mirrors_are_followed() {
    let debian = Debian::known_to_apt(&Archive::new());
    let list = debian.fixture.path("mirrors.list");
    put(&list, format!("file:/nowhere/debian\n{}\tpriority:1\n", debian.mirror).as_bytes());
    let sources = format!(
        "Types: deb deb-src\nURIs: mirror+file://{}\nSuites: bookworm\nComponents: main\nSigned-By: {}\n",
        list.display(),
        debian.keyring()
    );
    debian.fixture.write("apt/sources.list.d/debian.sources", sources);
    succeeds(&mut debian.with_apt("", &["matrix", "build"]));
    fs::remove_file(&list).unwrap();
    fs::remove_file(debian.fixture.path("m/matrix.lock")).unwrap();
    let error = fails(&mut debian.with_apt("", &["matrix", "lock"]), 1);
    assert!(error.contains("mirrors.list"), "{error}");
}

const OPTIONAL: &str = "[[repositories]]\nsuite = \"bookworm-updates\"\noptional = true\n[[packages]]";

/// A machine that runs this release has decided which suites it uses; on another whatever is there is used.
#[test]
fn optional_suites_are_used_where_they_are_there() {
    for (suites, updates_there, used, warned) in [
        ("bookworm", true, false, false),
        ("bookworm bookworm-updates", true, true, false),
        ("trixie", true, true, false),
        ("trixie", false, false, true),
    ] {
        let debian = Debian::known_to_apt(&Archive::new());
        let base = fs::read_to_string(debian.fixture.path("m/debian/12.toml")).unwrap();
        debian.fixture.write("m/debian/12.toml", base.replacen("[[packages]]", OPTIONAL, 1));
        if updates_there {
            let dists = debian.fixture.path("archive/dists");
            Archive { suite: "bookworm-updates", ..Archive::new() }.write(&debian.fixture.path("updates"));
            fs::rename(debian.fixture.path("updates/dists/bookworm-updates"), dists.join("bookworm-updates")).unwrap();
        }
        let sources = format!(
            "Types: deb\nURIs: file:{}\nSuites: {suites}\nComponents: main\nSigned-By: {}\n",
            debian.fixture.path("debian").display(),
            debian.keyring()
        );
        // The address ends in the archive's name, as those of mirrors do.
        std::os::unix::fs::symlink("archive", debian.fixture.path("debian")).unwrap();
        debian.fixture.write("apt/sources.list.d/debian.sources", sources);
        let said = succeeds(&mut debian.with_apt("", &["matrix", "lock"]));
        let said = String::from_utf8(said.stderr).unwrap();
        assert_eq!(debian.lock().contains("dists/bookworm-updates/"), used, "{suites}: {said}");
        assert_eq!(said.contains("going on without it"), warned, "{suites}: {said}");
    }
}

/// An archive of security updates beside the first, which the machine's apt uses; a function spoils what it has.
fn with_security(matrix: &str, spoil: impl Fn(&std::path::Path)) -> (Debian, String) {
    let debian = Debian::known_to_apt(&Archive::new());
    let optional = OPTIONAL.replace("bookworm-updates", "bookworm-security");
    let base = fs::read_to_string(debian.fixture.path("m/debian/12.toml")).unwrap();
    debian.fixture.write("m/debian/12.toml", base.replacen("[[packages]]", &optional, 1));
    let text = fs::read_to_string(debian.fixture.path("m/matrix.toml")).unwrap();
    debian.fixture.write("m/matrix.toml", format!("{matrix}\n{text}"));
    let (uri, keyring) = debian.beside("debian-security", &Archive { suite: "bookworm-security", ..Archive::new() });
    std::os::unix::fs::symlink("archive", debian.fixture.path("debian")).unwrap();
    let main = format!("deb [signed-by={keyring}] file:{} bookworm main\n", debian.fixture.path("debian").display());
    spoil(&debian.fixture.path("debian-security/dists/bookworm-security"));
    (debian, format!("{main}deb [signed-by={keyring}] {uri} bookworm-security main\n"))
}

/// What mirrors do between two states: the index by digest is not there yet, and its name means the state before.
fn half_synchronised(suite: &std::path::Path) {
    let folder = suite.join("main/binary-armhf");
    fs::remove_dir_all(folder.join("by-hash")).unwrap();
    put(&folder.join("Packages.xz"), b"the state before");
}

const SUITE: &str = "debian-security/dists/bookworm-security/";

#[test]
fn updates_that_apt_takes_are_never_left_out_silently() {
    let (debian, sources) = with_security("", |_| {});
    succeeds(&mut debian.with_apt(&sources, &["matrix", "lock"]));
    assert!(debian.lock().contains(SUITE), "{}", debian.lock());
    // Anew from a mirror that has lost the suite, also where nothing but the lock ever used it.
    let lock = debian.lock();
    fs::rename(debian.fixture.path("debian-security"), debian.fixture.path("lost")).unwrap();
    for sources in [
        sources.clone(),
        sources.replace("bookworm-security", "trixie-security").replace("bookworm main", "trixie main"),
    ] {
        let error = fails(&mut debian.with_apt(&sources, &["matrix", "lock", "--update", "debian12"]), 1);
        assert!(error.contains("no mirror has the suite `bookworm-security`"), "{error}");
        assert_eq!(debian.lock(), lock);
    }
    // One platform's index in another state than the signed one: for all platforms, and whatever is asked for.
    for arguments in [&["matrix", "lock"][..], &["matrix", "build", "--platform", "linux/arm/v7"]] {
        let (debian, sources) = with_security("", half_synchronised);
        let error = fails(&mut debian.with_apt(&sources, arguments), 1);
        for words in
            ["bookworm-security main armhf", "synchronised", "try again later", "incomplete-suites", "Packages.xz: it"]
        {
            assert!(error.contains(words), "{words}: {error}");
        }
        assert!(debian.has_nothing());
    }
}

#[test]
fn incomplete_updates_are_left_out_for_all_platforms_where_the_matrix_says_so() {
    let (debian, sources) = with_security("incomplete-suites = 'leave-out'", half_synchronised);
    // What was chosen for one platform before is chosen anew, so that all of them are of one state.
    succeeds(&mut debian.with_apt(&sources, &["matrix", "build", "--platform", "linux/amd64"]));
    assert!(debian.lock().contains(SUITE), "{}", debian.lock());
    let built = succeeds(&mut debian.with_apt(&sources, &["matrix", "build"]));
    let said = String::from_utf8(built.stderr).unwrap();
    assert_eq!(said.matches("going on without it on all platforms").count(), 1, "{said}");
    succeeds(&mut debian.with_apt(&sources, &["matrix", "lock"]));
    assert!(!debian.lock().contains(SUITE), "{}", debian.lock());
    // The lock goes on as it was made.
    debian.fixture.edit("m/debian/12.toml", "names = [\"base\"]", "names = [\"base\", \"plugins\"]");
    let locked = succeeds(&mut debian.with_apt(&sources, &["matrix", "lock"]));
    assert!(!debian.lock().contains(SUITE), "{}", String::from_utf8_lossy(&locked.stderr));
}

#[test]
fn a_machine_that_takes_no_security_updates_is_told() {
    let (debian, sources) = with_security("", |_| {});
    let sources = sources.lines().next().unwrap().to_owned() + "\n";
    let locked = succeeds(&mut debian.with_apt(&sources, &["matrix", "lock"]));
    let said = String::from_utf8(locked.stderr).unwrap();
    assert_eq!(said.matches("apt does not use bookworm-security").count(), 1, "{said}");
}

const EXPIRED: &str = "Thu, 02 Jan 2025 00:00:00 UTC";

#[test]
fn old_states_are_believed_where_somebody_says_so() {
    let stale = || Debian::new(&Archive { valid_until: EXPIRED, ..Archive::new() });
    let sources = |debian: &Debian| format!("deb {} bookworm main\n", debian.mirror.replace("file://", "file:"));
    for (settings, believed) in [
        ("Acquire::Check-Valid-Until \"false\";", true),
        ("Acquire { Check-Date no; };", true),
        ("Acquire::Check-Valid-Until \"true\";", false),
        ("// Acquire::Check-Valid-Until \"false\";", false),
    ] {
        let debian = stale();
        debian.fixture.write("apt/apt.conf.d/99snapshot", settings);
        let locked = debian.with_apt(&sources(&debian), &["matrix", "lock"]).output().unwrap();
        assert_eq!(locked.status.success(), believed, "{settings}: {}", String::from_utf8_lossy(&locked.stderr));
        // They are those of apt's own sources, not of an address that the user writes.
        let other =
            debian.kletimg(&["matrix", "lock", "--update"]).env("KLETIMG_STORE", debian.fixture.path("s2")).output();
        assert!(!other.unwrap().status.success(), "{settings}");
    }
    let debian = stale();
    debian.fixture.edit("m/debian/12.toml", "suite = \"bookworm\"", "suite = \"bookworm\"\ncheck-valid-until = false");
    succeeds(&mut debian.kletimg(&["matrix", "lock"]));
}

#[test]
fn mirrors_are_reached_as_apt_reaches_them() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Server::start());
    let debian = Debian::new(&Archive::new());
    let archive = debian.fixture.path("archive");
    // A cache of packages, for apt alone: the name of the mirror means something only to it.
    serve(&server, "http://mirror.invalid/debian", &archive);
    debian.fixture.write("apt/apt.conf.d/01proxy", format!("Acquire::http::Proxy \"{}\";\n", server.url));
    succeeds(&mut debian.with_apt("deb http://mirror.invalid/debian bookworm main\n", &["matrix", "build"]));
    fs::remove_dir_all(debian.fixture.path("store")).unwrap();
    fs::remove_file(debian.fixture.path("m/matrix.lock")).unwrap();

    // A login for one host, which the address does not show.
    serve(&server, "/debian", &archive);
    debian.fixture.write("apt/apt.conf.d/01proxy", "Acquire::http::Proxy \"DIRECT\";\n");
    let login = format!("machine {} login bob password hushhush\n", server.url);
    debian.fixture.write("apt/auth.conf.d/mirror.conf", login);
    let sources = format!("deb {}/debian bookworm main\n", server.url);
    let built = succeeds(&mut debian.with_apt(&sources, &["matrix", "build"]));
    let own = server.asked().into_iter().filter(|asked| asked.path.starts_with("/debian/"));
    let said: Vec<_> = own.map(|asked| asked.headers.get("authorization").cloned()).collect();
    // base64 of `bob:hushhush`.
    let expected = Some("Basic Ym9iOmh1c2hodXNo".to_owned());
    assert!(said.len() > 5 && said.iter().all(|said| *said == expected), "{said:?}");
    let printed = String::from_utf8_lossy(&built.stderr).into_owned();
    assert!(!printed.contains("hushhush") && !debian.lock().contains("bob"), "{printed}");
}

#[test]
fn methods_that_only_apt_has_are_named() {
    let debian = Debian::new(&Archive::new());
    for method in ["tor+http://mirror.test/debian", "mirror+http://mirror.test/list"] {
        let error = fails(&mut debian.with_apt(&format!("deb {method} bookworm main\n"), &["matrix", "lock"]), 1);
        assert!(error.contains(method) && error.contains("a method that kletimg does not have"), "{error}");
    }
}
