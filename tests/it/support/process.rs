//! The program, run as an operator would.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use pai_image_gateway::environment::Environment;
use pai_image_gateway::server::Address;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::eventually;

/// The program, with an empty environment of its own.
pub(crate) fn binary(environment: &Environment, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pai-image-gateway"));
    command
        .args(arguments)
        .env_clear()
        // No test asks beyond this machine.
        .env("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")
        .envs(environment)
        .stdin(Stdio::null());
    command
}

/// Exit status and output of a command.
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end.
pub(crate) async fn run(environment: &Environment, arguments: &[&str]) -> Finished {
    run_with(environment, arguments, "").await
}

/// The same, with this standard input.
pub(crate) async fn run_with(
    environment: &Environment,
    arguments: &[&str],
    input: &str,
) -> Finished {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("stdin"), input).unwrap();
    let mut process = Process::spawn(environment, arguments, folder);
    let code = process.wait().await.code().unwrap();
    Finished {
        code,
        stdout: process.output("stdout"),
        stderr: process.output("stderr"),
    }
}

/// A running program. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    folder: TempDir,
}

impl Process {
    /// Starts a command that listens, and waits until it does.
    pub(crate) async fn serve(environment: &Environment, arguments: &[&str]) -> (Self, Value) {
        Self::listening(binary(environment, arguments)).await
    }

    /// The same with a limit of open files.
    pub(crate) async fn serve_within(
        open_files: u32,
        environment: &Environment,
        arguments: &[&str],
    ) -> (Self, Value) {
        let limited = format!("ulimit -n {open_files} && exec \"$0\" \"$@\"");
        let inner = binary(environment, arguments);
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &limited])
            .arg(inner.get_program())
            .args(inner.get_args())
            .env_clear()
            .envs(
                inner
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .stdin(Stdio::null());
        Self::listening(command).await
    }

    async fn listening(mut command: Command) -> (Self, Value) {
        let folder = tempfile::tempdir().unwrap();
        let ports_file = folder.path().join("ports");
        command.arg("--ports-file").arg(&ports_file);
        let mut process = Self::run(command, folder);
        eventually("the ports file is there", async || {
            let ended = process.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", process.output("stderr"));
            ports_file.exists()
        })
        .await;
        let ports = std::fs::read(&ports_file).unwrap();
        (process, serde_json::from_slice(&ports).unwrap())
    }

    /// The same with this file as standard output and standard error.
    pub(crate) async fn serve_into(
        environment: &Environment,
        arguments: &[&str],
        output: std::os::fd::OwnedFd,
    ) -> (Self, Value) {
        let folder = tempfile::tempdir().unwrap();
        let ports_file = folder.path().join("ports");
        let child = binary(environment, arguments)
            .arg("--ports-file")
            .arg(&ports_file)
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let mut process = Self { child, folder };
        eventually("the ports file is there", async || {
            let ended = process.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}");
            ports_file.exists()
        })
        .await;
        let ports = std::fs::read(&ports_file).unwrap();
        (process, serde_json::from_slice(&ports).unwrap())
    }

    /// Starts a command that goes on until it is terminated.
    pub(crate) fn start(environment: &Environment, arguments: &[&str]) -> Self {
        Self::spawn(environment, arguments, tempfile::tempdir().unwrap())
    }

    fn spawn(environment: &Environment, arguments: &[&str], folder: TempDir) -> Self {
        Self::run(binary(environment, arguments), folder)
    }

    fn run(mut command: Command, folder: TempDir) -> Self {
        let file = |name: &str| std::fs::File::create(folder.path().join(name)).unwrap();
        let input = std::fs::File::open(folder.path().join("stdin"));
        let child = command
            .stdin(input.map_or_else(|_| Stdio::null(), Stdio::from))
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGHUP.
    pub(crate) fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Makes it crash with a signal that dumps core.
    pub(crate) fn abort(&self) {
        self.signal(Signal::ABORT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) async fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the process ends", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }

    /// Returns its output so far.
    pub(crate) fn output(&self, name: &str) -> String {
        let file: &Path = &self.folder.path().join(name);
        std::fs::read_to_string(file).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Returns one of the addresses in a ports file.
pub(crate) fn address(ports: &Value, name: &str) -> Address {
    Address::parse(ports[name].as_str().unwrap(), None, 0).unwrap()
}
