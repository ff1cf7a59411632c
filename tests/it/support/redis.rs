//! A real Redis or Valkey, in a folder and on a port of its own.
//!
//! It is a child in the foreground, killed when it is dropped, and by the kernel should this process
//! die first. Commands of tests use a Unix socket in its folder, regardless of the clients' address. If the
//! program is missing, [`Redis::start`] prints that and returns `None`: the test is skipped, but fails
//! with `CI=true`.

mod cluster;
mod failover;
mod forwarder;
mod options;
mod program;
mod wire;

pub(crate) use cluster::Cluster;
pub(crate) use failover::Pair;
pub(crate) use forwarder::Forwarder;
pub(crate) use options::{Files, Listen, Options, Persistence};
pub(crate) use program::Kind;

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Deadline far beyond any step of a server.
const DEADLINE: Duration = Duration::from_secs(30);

/// A running server. Dropping it kills it and removes its folder.
pub(crate) struct Redis {
    kind: Kind,
    program: PathBuf,
    options: Options,
    child: Child,
    folder: TempDir,
    /// The port; zero if it listens on its Unix socket only.
    pub(crate) port: u16,
}

impl Redis {
    /// Starts one and waits until it answers; `None` without the program.
    pub(crate) async fn start(kind: Kind, change: impl FnOnce(&mut Options)) -> Option<Self> {
        let program = kind.find()?;
        let mut options = Options::default();
        change(&mut options);
        for _ in 0..ATTEMPTS {
            if let Some(redis) = Self::launch(kind, &program, options.clone()).await {
                return Some(redis);
            }
        }
        panic!("no port for {} in {ATTEMPTS} attempts", kind.name())
    }

    /// Returns `None` if another process has taken the port meanwhile.
    async fn launch(kind: Kind, program: &Path, options: Options) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let port = match options.listen {
            Listen::Port => free_port(),
            Listen::Socket => 0,
        };
        options.write(folder.path());
        let child = spawn(program, &options, folder.path(), port);
        let mut redis = Self {
            kind,
            program: program.to_owned(),
            options,
            child,
            folder,
            port,
        };
        redis.await_answer().await.then_some(redis)
    }

    /// The URL for `shared_cache.url`.
    pub(crate) fn url(&self) -> String {
        match (self.options.listen, &self.options.tls) {
            (Listen::Socket, _) => format!("redis+unix://{}?db=0", self.socket().display()),
            (Listen::Port, Some(_)) => format!("rediss://localhost:{}", self.port),
            (Listen::Port, None) => format!("redis://{}", self.address()),
        }
    }

    /// Its host and port.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.options.host(), self.port)
    }

    /// Kills it at once, like a failing machine.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Restarts it in the same folder, with its data on disk.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        drop(std::fs::remove_file(self.socket()));
        self.child = spawn(&self.program, &self.options, self.folder.path(), self.port);
        assert!(self.await_answer().await, "{}", self.log());
    }

    /// Suspends it: connections stay open, and nothing is answered.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Resumes it.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Returns a command's reply as text: a line for each element of a list, empty for nil. Panics on an error.
    pub(crate) async fn command(&self, words: &[&str]) -> String {
        let reply = self.ask(words).await;
        reply.unwrap_or_else(|refusal| panic!("{words:?}: {refusal}"))
    }

    /// Returns a command's reply, or the error's text.
    pub(crate) async fn ask(&self, words: &[&str]) -> Result<String, String> {
        let reply = wire::ask(&self.socket(), &self.options.sign_in(), words).await;
        reply.unwrap_or_else(|error| panic!("{words:?}: {error}: {}", self.log()))
    }

    /// Waits until a command's reply contains this.
    pub(crate) async fn await_reply(&self, words: &[&str], wanted: &str) {
        let begun = Instant::now();
        loop {
            let reply = self.command(words).await;
            if reply.contains(wanted) {
                return;
            }
            assert!(begun.elapsed() < DEADLINE, "no {wanted} in time: {reply}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Returns its log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The server's program.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it answers; false if it ended because the port is in use.
    async fn await_answer(&mut self) -> bool {
        let begun = Instant::now();
        loop {
            let reply = wire::ask(&self.socket(), &self.options.sign_in(), &["PING"]).await;
            if matches!(&reply, Ok(Ok(pong)) if pong == "PONG") {
                return true;
            }
            if self.child.try_wait().unwrap().is_some() {
                let log = self.log();
                assert!(log.contains("in use"), "{}: {log}", self.kind.name());
                return false;
            }
            assert!(begun.elapsed() < DEADLINE, "{reply:?}: {}", self.log());
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(program: &Path, options: &Options, folder: &Path, port: u16) -> Child {
    let log = File::create(folder.join("log")).unwrap();
    // A program in between does the step that would need `unsafe` here.
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(program)
        .args(options.arguments(folder, port))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Returns a port below the ephemeral range, so that it is still free at a restart.
fn free_port() -> u16 {
    let candidates = std::iter::repeat_with(|| fastrand::u16(10_240..32_768));
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    candidates.take(1_000).find(free).unwrap()
}

const ATTEMPTS: usize = 5;
const PAUSE: Duration = Duration::from_millis(5);
