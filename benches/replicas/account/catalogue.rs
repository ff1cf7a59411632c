//! The catalogue of the emulated origin's images.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::Outcome;
use crate::client::Client;
use crate::fleet::{Fleet, Sockets};

/// Catalogue of the gateways in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Catalogue {
    Off,
    On,
}

impl Catalogue {
    /// Without one first.
    pub(super) const BOTH: [Self; 2] = [Self::Off, Self::On];

    pub(super) fn settings(self) -> Vec<String> {
        match self {
            Self::Off => Vec::new(),
            Self::On => SETTINGS.map(str::to_owned).to_vec(),
        }
    }
}

/// Waits until every gateway has walked its catalogue and answers from it.
pub(super) async fn wait_until_it_answers(fleet: &Fleet) -> Outcome<()> {
    for sockets in &fleet.sockets {
        timeout(PATIENCE, answers(sockets)).await??;
    }
    Ok(())
}

async fn answers(sockets: &Sockets) -> Outcome<()> {
    let mut admin = Client::open(&sockets.admin).await?;
    loop {
        let status: Value = serde_json::from_str(&admin.get("/status").await?.body)?;
        let catalogue = &status["catalogue"];
        let scopes = catalogue["scopes"].as_array().ok_or("no catalogue")?;
        let is_walked = scopes.iter().all(|scope| !scope["last_walk"].is_null());
        if is_walked && catalogue["answering"][0] == true {
            return Ok(());
        }
        sleep(POLL).await;
    }
}

/// Settings that make it cover every image that the emulator generates.
pub(super) const SETTINGS: [&str; 2] = [
    "catalogue.workspaces=15945,20817",
    "catalogue.official=true",
];

/// Three times `catalogue.interval`.
const PATIENCE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(50);
