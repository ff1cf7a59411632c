//! Names of walks in the log and in the server's keys.

use std::fmt;
use std::time::Duration;

use super::super::key_names::hex;
use crate::cache::catalogue::Scope;
use crate::cache::record;

/// Replicas that walk the same images in the same order and as often, with one Verbose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalkGroup {
    /// Digest of the interval and the names of the scopes.
    scopes: String,
    /// The items include labels.
    pub verbose: bool,
}

/// One scope of a group, as `GROUP-VERBOSE-NUMBER` in the log and in the names of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalkName {
    /// Its group.
    pub group: WalkGroup,
    /// Number of the scope.
    pub scope: usize,
}

impl WalkGroup {
    /// Creates the group of the replicas that walk these scopes at this interval.
    #[must_use]
    pub fn new(scopes: impl Iterator<Item = Scope>, interval: Duration, verbose: bool) -> Self {
        let mut names = vec![interval.as_millis().to_string()];
        names.extend(scopes.map(|scope| match scope {
            Scope::Workspace(id) => format!("workspace {id}"),
            Scope::Official => "official".to_owned(),
        }));
        let sum: [u8; 8] = record::sum(&[names.join("\n").as_bytes()]);
        Self {
            scopes: sum.iter().map(hex).collect(),
            verbose,
        }
    }
}

impl fmt::Display for WalkGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.scopes, self.verbose)
    }
}

impl fmt::Display for WalkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.group, self.scope)
    }
}

impl WalkName {
    /// Parses a name; `None` for what no gateway of this version writes.
    pub(in crate::shared_cache) fn parse(text: &str) -> Option<Self> {
        let [scopes, verbose, scope] = text.split('-').collect::<Vec<_>>().try_into().ok()?;
        let group = WalkGroup {
            scopes: scopes.to_owned(),
            verbose: verbose.parse().ok()?,
        };
        Some(Self {
            group,
            scope: scope.parse().ok()?,
        })
    }
}
