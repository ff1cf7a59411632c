//! `serve`: the gateway, until it is told to stop.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use super::{ConfigArgs, block_on};
use crate::app::{App, Process, Sockets, forbid_core_dumps, raise_file_limit};
use crate::config::Loaded;
use crate::credentials::Environment;
use crate::server::inherited;
use crate::telemetry::{self, Level};

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigArgs,
    /// Write the addresses that are listened on to this file, as JSON, once they are.
    #[arg(long, value_name = "FILE")]
    ports_file: Option<PathBuf>,
}

impl Serve {
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<ExitCode> {
        let loaded = self.config.load(environment)?;
        let log = telemetry::start(&loaded.settings.log).map_err(anyhow::Error::msg)?;
        block_on(serve(
            &loaded,
            environment,
            log.level(),
            self.ports_file.as_deref(),
        ))?
    }
}

async fn serve(
    loaded: &Loaded,
    environment: &Environment,
    level: Level,
    ports_file: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    let mut stop = StopSignal::listen()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let inherited = inherited().context("cannot use the socket that was passed on")?;
    let sockets = Sockets::bind(&loaded.settings, inherited)?;
    sockets.announce(loaded);
    forbid_core_dumps();
    raise_file_limit(loaded.settings.listen.max_connections);
    let process = Process {
        level: Some(level),
        sockets: Some(sockets),
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
        () = stop.wait() => tracing::warn!("told twice: stopping at once"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Where there is no systemd that wants to know, nothing is said.
fn tell_systemd(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

/// SIGTERM, as Kubernetes and systemd send it, or SIGINT, as Ctrl-C does.
pub(super) struct StopSignal {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignal {
    /// From here on the signals no longer end the process by themselves.
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

/// Whoever sees the file sees all of it. A pipe or a terminal is written to as it is.
pub(super) fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return std::fs::write(path, format!("{text}\n"));
    }
    let mut draft = path.as_os_str().to_owned();
    draft.push(".draft");
    std::fs::write(&draft, text)?;
    std::fs::rename(&draft, path)
}
