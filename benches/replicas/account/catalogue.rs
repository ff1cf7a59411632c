//! The catalogue of the emulated origin's images.

use std::time::Duration;

use pai_image_gateway::config::{self, Layers};
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
    /// Those that this gateway has settings for.
    pub(super) fn known() -> Vec<Self> {
        let is_known = config::load(&Layers::new().flags(SETTINGS)).is_ok();
        let all = [Self::Off, Self::On].into_iter();
        all.filter(|one| *one == Self::Off || is_known).collect()
    }

    pub(super) fn settings(self) -> Vec<String> {
        match self {
            Self::Off => Vec::new(),
            Self::On => SETTINGS.map(str::to_owned).to_vec(),
        }
    }
}

/// Lets every gateway compare items with GetImage, and waits until it has walked and answers from its catalogue.
pub(super) async fn wait_until_it_answers(fleet: &Fleet) -> Outcome<()> {
    for sockets in &fleet.sockets {
        let mut client = Client::open(&sockets.data).await?;
        for id in fleet.images.ids().iter().take(COMPARED) {
            let answer = client.image(id).await?;
            if answer.status != 200 {
                return Err(format!("{id} was answered {}: {}", answer.status, answer.body).into());
            }
        }
    }
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
    r#"catalogue.workspaces=["15945","20817"]"#,
    "catalogue.official=true",
];

/// Images of which item and GetImage must agree before a catalogue answers.
const COMPARED: usize = 3;
/// Three times `catalogue.interval`.
const PATIENCE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(50);
