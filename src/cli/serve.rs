//! `serve`: runs the gateway until a signal stops it, and reports its state to systemd.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use rustix::fs::OFlags;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use super::{ConfigArgs, Exit, block_on, may_colour};
use crate::app::{App, Process, Sockets, connections_allowed, forbid_core_dumps, raise_file_limit};
use crate::config::Loaded;
use crate::environment::Environment;
use crate::observability::logging::{self, LogHandle};
use crate::server::inherited;

/// Run the gateway until SIGTERM or SIGINT; SIGHUP reloads its files.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pai-image-gateway serve --config /etc/pai-image-gateway/gateway.toml
  pai-image-gateway serve --set upstream.region=cn-hangzhou --set listen.address=127.0.0.1:8080")]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigArgs,
    /// File to write the bound addresses to, as JSON, once the gateway accepts connections.
    #[arg(long, value_name = "FILE")]
    ports_file: Option<PathBuf>,
}

impl Serve {
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<Exit> {
        let loaded = self.config.load(environment)?;
        let log = logging::start(&loaded.settings.log, may_colour()).map_err(anyhow::Error::msg)?;
        block_on(serve(
            &loaded,
            environment,
            log.handle(),
            self.ports_file.as_deref(),
        ))?
    }
}

async fn serve(
    loaded: &Loaded,
    environment: &Environment,
    level: LogHandle,
    ports_file: Option<&Path>,
) -> anyhow::Result<Exit> {
    let mut stop = StopSignal::listen()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let inherited = inherited().context("cannot use the socket that systemd passed on")?;
    let sockets = Sockets::bind(&loaded.settings, inherited)?;
    sockets.announce(loaded);
    forbid_core_dumps();
    let wanted = loaded.settings.listen.max_connections;
    let process = Process {
        level: Some(level),
        sockets: Some(sockets),
        max_connections: Some(connections_allowed(raise_file_limit(), wanted)),
    };
    let app = App::start(loaded, environment, process).await?;
    if let Some(path) = ports_file {
        write_whole(path, &app.listening().to_string())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    tell_systemd(&[NotifyState::Ready]);
    loop {
        tokio::select! {
            () = stop.wait() => break,
            _ = hangup.recv() => app.reload(),
        }
    }
    tell_systemd(&[NotifyState::Stopping]);
    tokio::select! {
        () = app.stop() => {}
        () = stop.wait() => tracing::warn!("second signal: stopping at once"),
    }
    Ok(Exit::Success)
}

/// Reports a state to systemd; without `NOTIFY_SOCKET` this does nothing.
fn tell_systemd(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the state could not be reported to systemd");
    }
}

/// Signals that stop the process: SIGTERM, from Kubernetes and systemd, and SIGINT, from Ctrl-C.
pub(super) struct StopSignal {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignal {
    /// Begins to handle the signals, which from here on no longer end the process by themselves.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    pub(super) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Writes a file so that a reader never sees half of it. A pipe or a terminal is written to directly. Symbolic links
/// are not followed: a user who may write to the folder must not choose which file the gateway overwrites.
///
/// # Errors
/// A `path` that is a symbolic link, or cannot be written.
pub(super) fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let there = std::fs::symlink_metadata(path).ok();
    let kind = there.map(|metadata| metadata.file_type());
    match kind {
        Some(kind) if kind.is_symlink() => Err(std::io::Error::other(
            "it is a symbolic link, and none is followed: name the file itself",
        )),
        Some(kind) if !kind.is_file() => {
            let flags = i32::try_from(OFlags::NOFOLLOW.bits()).map_err(std::io::Error::other)?;
            let mut pipe = OpenOptions::new()
                .write(true)
                .custom_flags(flags)
                .open(path)?;
            writeln!(pipe, "{text}")
        }
        Some(_) | None => replace(path, text),
    }
}

/// Replaces the file at `path` by renaming a new one over it, which follows no link either.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".draft");
    // Left by an interrupted start, or a link that another user put there.
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&draft)?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_replaced_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
        std::fs::write(path("precious"), "kept").unwrap();
        std::fs::write(path("ports"), "old").unwrap();
        symlink("precious", path("link")).unwrap();
        symlink("precious", path("ports.draft")).unwrap();
        write_whole(&path("ports"), "new").unwrap();
        assert!(write_whole(&path("link"), "new").is_err());
        assert_eq!(
            (read("ports"), read("precious")),
            ("new".into(), "kept".into())
        );
    }
}
