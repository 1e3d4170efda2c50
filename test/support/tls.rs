//! An https server with a certificate authority of its own: OpenSSL's, which serves the files of its folder as whole HTTP
//! responses.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::parts;

pub struct TlsServer {
    server: Child,
    folder: tempfile::TempDir,
    pub url: String,
}

impl TlsServer {
    /// `None` where there is no `openssl`.
    pub fn start() -> Option<Self> {
        let openssl = parts::program("openssl")?;
        let folder = tempfile::tempdir().unwrap();
        let run = |args: &str| {
            let output = Command::new(&openssl).args(args.split(' ')).current_dir(folder.path()).output().unwrap();
            assert!(output.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout";
        std::fs::write(folder.path().join("extensions"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
            .unwrap();
        run(&format!("req -x509 {new_key} ca.key -out ca.pem -subj /CN=authority -days 2"));
        run(&format!("req {new_key} server.key -out server.csr -subj /CN=server"));
        run(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile extensions -days 2 -out server.pem",
        );
        let mut server = Command::new(&openssl)
            .args("s_server -accept 127.0.0.1:0 -cert server.pem -key server.key -HTTP".split(' '))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = lines.find_map(|line| line.strip_prefix("ACCEPT ")?.rsplit(':').next().map(str::to_owned));
        // It prints for every connection, and would stop when nobody read it.
        std::thread::spawn(move || lines.count());
        let url = format!("https://127.0.0.1:{}", port.expect("openssl says where it listens"));
        Some(Self { server, folder, url })
    }

    /// The certificate authority, in PEM.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file with a response, head and all.
    pub fn on(&self, name: &str, response: &str) -> String {
        std::fs::write(self.folder.path().join(name), response.replace('\n', "\r\n")).unwrap();
        format!("{}/{name}", self.url)
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
