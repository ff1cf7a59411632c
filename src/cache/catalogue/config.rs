//! The `[catalogue]` settings.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, HumanDuration};

/// The `[catalogue]` settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Ids of the workspaces whose images are listed again and again; none turns the catalogue off, unless `official` is on. The credential needs `paiimage:ListImages`.
    pub workspaces: Vec<String>,
    /// Lists the official images, too: those with the label `system.official=true`.
    pub official: bool,
    /// Time from the beginning of one walk through all pages to the next.
    pub interval: HumanDuration,
    /// Images on a page: one call renews so many.
    pub page_size: u32,
    /// Answers a GetImage of an image that is not cached from its item, once items and GetImage have proved to agree.
    pub answer: bool,
    /// Bytes of memory for items. Beyond that, whole workspaces are dropped, the last first.
    pub max_bytes: ByteSize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workspaces: Vec::new(),
            official: false,
            interval: HumanDuration::secs(30),
            // alipai asks for as many, and no larger page is known to be accepted.
            page_size: 50,
            answer: true,
            // 60,000 images without labels.
            max_bytes: ByteSize(64 << 20),
        }
    }
}

/// A set of images that is walked by itself: those of one workspace, or the official ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Images of the workspace with this id.
    Workspace(String),
    /// Images with the label `system.official=true`.
    Official,
}

impl Scope {
    /// Returns the workspace's id, or `official`, for logs and `/status`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Workspace(id) => id,
            Self::Official => "official",
        }
    }

    /// Returns the parameter of ListImages that selects the scope, and its value.
    #[must_use]
    pub fn parameter(&self) -> (&'static str, String) {
        match self {
            Self::Workspace(id) => ("WorkspaceId", id.clone()),
            Self::Official => ("Labels", "system.official=true".to_owned()),
        }
    }
}

impl Config {
    /// Returns the scopes in the order of the settings; none if the catalogue is off.
    pub fn scopes(&self) -> impl Iterator<Item = Scope> + '_ {
        let workspaces = self.workspaces.iter().cloned().map(Scope::Workspace);
        workspaces.chain(self.official.then_some(Scope::Official))
    }

    /// Returns whether there is anything to walk.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.scopes().next().is_some()
    }

    /// Returns the time that a page keeps the entries fresh which it confirmed: until the next walk has surely come by.
    #[must_use]
    pub fn keeps_fresh(&self) -> Duration {
        self.interval.0.mul_f64(1.5)
    }
}
