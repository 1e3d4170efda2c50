//! Programs of the machine, run with a clean environment, no standard input but what is given to them, and a time
//! limit.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Write as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use super::files::{self, FileError};

/// The process groups that run now, so that they can be stopped when the user stops us: each program has a group of its
/// own and would not see the terminal's interrupt. `None` once they were: nothing is started any more.
static RUNNING: Mutex<Option<BTreeSet<i32>>> = Mutex::new(Some(BTreeSet::new()));

/// Stops every program that was started and still runs, with its children. From then on none can be started: what this
/// process does in the background is over.
pub fn stop_all() {
    if let Ok(mut running) = RUNNING.lock() {
        running.take().into_iter().flatten().for_each(kill_group);
    }
}

/// A program to run: exactly these arguments and exactly this environment.
#[derive(Clone, Debug)]
pub struct Program {
    pub path: PathBuf,
    pub args: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
    pub folder: Option<PathBuf>,
    pub limit: Duration,
}

/// How long a program may be busy before that is an error.
const BUSY_LIMIT: Duration = Duration::from_secs(2);

/// How a program ended. Output beyond 1 MiB of either stream is dropped.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("starting {}: {source}", program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("waiting for {}: {source}", program.display())]
    Wait { program: PathBuf, source: io::Error },
    #[error("{} did not end within {} s and was stopped", program.display(), limit.as_secs())]
    TimedOut { program: PathBuf, limit: Duration },
    #[error("{} was not started: kletimg is ending", program.display())]
    Ending { program: PathBuf },
    #[error(transparent)]
    File(#[from] FileError),
}

impl Program {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), args: Vec::new(), env: Vec::new(), folder: None, limit: Duration::from_secs(60) }
    }

    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    #[must_use]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs the program and keeps what it prints.
    pub fn run(&self) -> Result<Ended, ProcessError> {
        self.collect(self.spawn(Stdio::null(), Stdio::piped(), Stdio::piped())?)
    }

    /// Runs the program with `input` on its standard input. Secrets go this way: arguments and environments can be read
    /// by others on the machine.
    pub fn run_with_input(&self, input: Vec<u8>) -> Result<Ended, ProcessError> {
        let mut child = self.spawn(Stdio::piped(), Stdio::piped(), Stdio::piped())?;
        if let Some(mut stdin) = child.child.stdin.take() {
            // In a thread, because a program may print before it has read; one that does not want its input closes the
            // pipe, and its exit status tells whether that was right.
            std::thread::spawn(move || {
                let _ = stdin.write_all(&input);
            });
        }
        self.collect(child)
    }

    fn collect(&self, mut child: Running) -> Result<Ended, ProcessError> {
        let stdout = child.child.stdout.take().map(Drain::new);
        let stderr = child.child.stderr.take().map(Drain::new);
        let status = self.wait(&mut child)?;
        let collect = |drain: Option<Drain>| drain.map(|drain| drain.kept(&child.group)).unwrap_or_default();
        Ok(Ended { status, stdout: collect(stdout), stderr: collect(stderr) })
    }

    /// Runs the program with all its output, both streams as they come, appended to the file at `log`.
    pub fn run_logged(&self, log: &Path) -> Result<ExitStatus, ProcessError> {
        if let Some(folder) = log.parent() {
            files::create_folder(folder)?;
        }
        let open = || -> Result<File, FileError> {
            files::at("opening", log, File::options().create(true).append(true).open(log))
        };
        let mut child = self.spawn(Stdio::null(), open()?.into(), open()?.into())?;
        self.wait(&mut child)
    }

    fn spawn(&self, stdin: Stdio, stdout: Stdio, stderr: Stdio) -> Result<Running, ProcessError> {
        let mut command = Command::new(&self.path);
        command.args(&self.args).env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        // A group of its own, so that a compiler's children can be stopped with it.
        command.process_group(0);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let began = Instant::now();
        loop {
            // Held until the child is known, so that none is missed that starts while all are stopped.
            let mut running = RUNNING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let Some(groups) = running.as_mut() else {
                return Err(ProcessError::Ending { program: self.path.clone() });
            };
            match command.spawn() {
                Ok(child) => return Ok(Running { group: Group::of(&child, groups), child }),
                // A file that was just written is busy while another thread, between fork and exec, holds a copy of the
                // descriptor that it was written through. That lasts for an instant.
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && began.elapsed() < BUSY_LIMIT => {
                    drop(running);
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(source) => return Err(ProcessError::Start { program: self.path.clone(), source }),
            }
        }
    }

    fn wait(&self, running: &mut Running) -> Result<ExitStatus, ProcessError> {
        let waiting = |source| ProcessError::Wait { program: self.path.clone(), source };
        let began = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = running.child.try_wait().map_err(waiting)? {
                return Ok(status);
            }
            if began.elapsed() > self.limit {
                kill_group(running.group.0);
                running.child.wait().map_err(waiting)?;
                return Err(ProcessError::TimedOut { program: self.path.clone(), limit: self.limit });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

/// A program that was started, in a process group of its own.
struct Running {
    child: Child,
    group: Group,
}

/// A process group that [`stop_all`] knows of for as long as this value lives. Its number is that of the child.
struct Group(i32);

impl Group {
    fn of(child: &Child, groups: &mut BTreeSet<i32>) -> Self {
        // Linux process IDs are at most 2^22.
        let id = i32::try_from(child.id()).unwrap_or_default();
        groups.insert(id);
        Self(id)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Ok(mut running) = RUNNING.lock()
            && let Some(groups) = running.as_mut()
        {
            groups.remove(&self.0);
        }
    }
}

fn kill_group(id: i32) {
    if let Some(group) = rustix::process::Pid::from_raw(id) {
        // It may have ended by itself in the meantime, which is as good.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

/// What a program prints, read in a thread, so that it never waits for us.
struct Drain {
    kept: Arc<Mutex<Vec<u8>>>,
    /// Disconnected at the end of the stream.
    ended: mpsc::Receiver<()>,
}

impl Drain {
    /// In bytes.
    const KEPT: usize = 1 << 20;

    /// How long a program that has ended may leave its output open to others that it started.
    const GRACE: Duration = Duration::from_secs(2);

    fn new(mut stream: impl io::Read + Send + 'static) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let (ending, ended) = mpsc::channel::<()>();
        let filled = Arc::clone(&kept);
        std::thread::spawn(move || {
            let _ending = ending;
            let mut piece = vec![0; 16 << 10];
            // A stream that breaks ends what can be kept; the exit status tells the rest.
            while let Ok(length @ 1..) = stream.read(&mut piece) {
                if let Ok(mut kept) = filled.lock() {
                    let room = Self::KEPT - kept.len().min(Self::KEPT);
                    kept.extend_from_slice(&piece[..length.min(room)]);
                }
            }
        });
        Self { kept, ended }
    }

    /// What was printed by a program that has ended. What it started and left behind is stopped if it holds the output.
    fn kept(self, group: &Group) -> Vec<u8> {
        let open = |wait| matches!(self.ended.recv_timeout(wait), Err(mpsc::RecvTimeoutError::Timeout));
        if open(Self::GRACE) {
            kill_group(group.0);
            let _ = open(Self::GRACE);
        }
        self.kept.lock().map(|mut kept| std::mem::take(&mut *kept)).unwrap_or_default()
    }
}

impl Ended {
    /// The last lines of standard output and error, at most `count`, for messages.
    pub fn last_lines(&self, count: usize) -> String {
        let text = self.text();
        let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }

    /// Standard output and error as text, for messages.
    pub fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&self.stderr));
        text
    }
}

/// How a program ended, in words: `exit code 2` or `signal 11`.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}

/// Finds an executable by name in the folders of a `PATH`, or takes a name with a slash as it is.
pub fn find(name: &str, search_path: &OsStr) -> Option<PathBuf> {
    let executable =
        |path: &Path| files::mode(path).is_some_and(|mode| mode & 0o111 != 0) && files::size(path).is_some();
    if name.contains('/') {
        let path = PathBuf::from(name);
        return executable(&path).then_some(path);
    }
    std::env::split_paths(search_path).map(|folder| folder.join(name)).find(|path| executable(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_sees_only_its_own_environment() {
        let ended = Program::new("/usr/bin/env").env("ONLY", "this").run().unwrap();
        assert!(ended.status.success());
        assert_eq!(String::from_utf8_lossy(&ended.stdout), "ONLY=this\n");
    }

    #[test]
    fn a_program_is_given_its_input() {
        let large = vec![b'x'; 1 << 19];
        let ended = Program::new("/bin/cat").run_with_input(large.clone()).unwrap();
        assert_eq!(ended.stdout, large);
        // One that reads nothing ends all the same.
        assert!(Program::new("/bin/true").run_with_input(large).unwrap().status.success());
    }

    #[test]
    fn what_a_program_leaves_behind_is_not_waited_for() {
        let ended = Program::new("/bin/sh").args(["-c", "sleep 600 & echo done"]).run().unwrap();
        assert_eq!(ended.stdout, b"done\n");
    }

    #[test]
    fn a_program_that_does_not_end_is_stopped_with_its_children() {
        let program = Program::new("/bin/sh").args(["-c", "sleep 60 & wait"]).limit(Duration::from_millis(50));
        assert!(matches!(program.run(), Err(ProcessError::TimedOut { .. })));
    }
}
