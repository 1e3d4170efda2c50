//! The real registry of Debian's package docker-registry, on this machine, for the life of a value.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::parts::need;

pub struct RealRegistry {
    process: Child,
    pub folder: tempfile::TempDir,
    /// `localhost:<port>`
    pub host: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Plain HTTP, for everyone.
    Open,
    /// Plain HTTP, for everyone, and nothing can be written.
    ReadOnly,
    /// TLS by a CA of its own, and the user `edge` with the password `s3cret`.
    TlsAndPassword,
}

fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

fn run(folder: &Path, program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl RealRegistry {
    /// Starts a registry, if the machine has one. The part is called `registry`.
    pub fn start(guard: Guard) -> Option<Self> {
        Self::start_in(guard, tempfile::tempdir().unwrap(), None)
    }

    /// Starts a registry that keeps its data in `data`.
    pub fn start_in(guard: Guard, folder: tempfile::TempDir, data: Option<PathBuf>) -> Option<Self> {
        let missing = ["docker-registry", "openssl", "htpasswd"].into_iter().find(|name| !on_path(name));
        need(
            "registry",
            missing.is_none().then_some(()),
            &format!("`{}` is not on PATH", missing.unwrap_or_default()),
        )?;
        // The registry cannot be asked which port it chose.
        let port = super::free_port();
        let data = data.unwrap_or_else(|| folder.path().join("data"));
        let maintenance = if guard == Guard::ReadOnly { ", maintenance: {readonly: {enabled: true}}" } else { "" };
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}\
             {maintenance}}}\nhttp:\n  addr: 127.0.0.1:{port}\n  secret: test\n",
            data.display()
        );
        if guard == Guard::TlsAndPassword {
            certificates(folder.path());
            run(folder.path(), "htpasswd", &["-Bbc", "passwords", "edge", "s3cret"]);
            let path = folder.path().display();
            let tls = format!("  tls: {{certificate: {path}/server.pem, key: {path}/server.key}}\n");
            let auth = format!("auth: {{htpasswd: {{realm: test, path: {path}/passwords}}}}\n");
            config.extend([tls, auth]);
        }
        std::fs::write(folder.path().join("config.yml"), config).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let process = Command::new("docker-registry")
            .args(["serve", "config.yml"])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut registry = Self { process, folder, host: format!("localhost:{port}") };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = registry.process.try_wait().unwrap();
            assert!(ended.is_none(), "docker-registry ended: {}", registry.log());
            assert!(began.elapsed() < Duration::from_secs(30), "docker-registry does not start: {}", registry.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(registry)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The CA of a registry with TLS.
    pub fn authority(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join("ca.pem")).unwrap()
    }

    /// A login file with these words.
    pub fn login_file(&self, user: &str, password: &str) -> PathBuf {
        use base64::Engine as _;
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        let path = self.folder.path().join(format!("{user}-{password}.json"));
        std::fs::write(&path, format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, self.host)).unwrap();
        path
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            // Of every question after something that is not there yet it makes an error of its own.
            let log = self.log();
            let lines: Vec<_> = log.lines().filter(|line| !line.contains("unknown")).collect();
            super::say(&format!("docker-registry said last: {}", lines[lines.len().saturating_sub(20)..].join("\n")));
        }
    }
}

fn certificates(folder: &Path) {
    std::fs::write(folder.join("san"), "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        .unwrap();
    let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let ca = ["req", "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test CA", "-days", "30"];
    run(folder, "openssl", &[&ca[..], &new_key].concat());
    let request = ["req", "-new", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost"];
    run(folder, "openssl", &[&request[..], &new_key].concat());
    let sign = ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
    run(folder, "openssl", &[&sign[..], &["-out", "server.pem", "-days", "30", "-extfile", "san"]].concat());
}
