//! The gateways of one host, each a process.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::time::sleep;

use crate::Outcome;
use crate::fleet::{Sockets, credential};

/// A host. Dropping it kills its gateways.
pub(crate) struct Machine {
    pub(crate) sockets: Vec<Sockets>,
    gateways: Vec<Child>,
    // Holds the sockets.
    _folder: TempDir,
}

impl Machine {
    pub(crate) async fn start(
        stem: &str,
        place: &str,
        count: usize,
        settings: &[String],
    ) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let all = |number| Sockets::of(folder.path(), number);
        let mut machine = Self {
            sockets: (0..count).map(all).collect(),
            gateways: Vec::new(),
            _folder: folder,
        };
        for sockets in &machine.sockets {
            let gateway = launch(&format!("{stem}-{place}"), sockets, settings)?;
            machine.gateways.push(gateway);
        }
        for sockets in &machine.sockets {
            await_listener(&sockets.data).await?;
        }
        Ok(machine)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for gateway in &mut self.gateways {
            drop(gateway.kill());
            drop(gateway.wait());
        }
    }
}

fn launch(namespace: &str, sockets: &Sockets, settings: &[String]) -> Outcome<Child> {
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", namespace])
        .args(["setpriv", "--pdeathsig", "KILL", "--"])
        .args([env!("CARGO_BIN_EXE_pai-image-gateway"), "serve"])
        .args(["--set", "log.level=error"]);
    for setting in settings.iter().chain(&sockets.settings()) {
        command.args(["--set", setting]);
    }
    let started = command.envs(credential()).stdin(Stdio::null()).spawn()?;
    Ok(started)
}

async fn await_listener(socket: &Path) -> Outcome<()> {
    let begun = Instant::now();
    while UnixStream::connect(socket).await.is_err() {
        if begun.elapsed() > PATIENCE {
            return Err("a gateway did not start".into());
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

const PATIENCE: Duration = Duration::from_secs(30);
