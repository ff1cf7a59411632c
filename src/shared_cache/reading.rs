//! Reading what the fleet has of an image, or becoming the one who fetches it.

use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;
use tokio::time::Instant;

use super::clock::Reading;
use super::commands::Trouble;
use super::orders::Position;
use super::value::{self, Unfit};
use super::{Shared, milliseconds};
use crate::api::ImageKey;
use crate::cache::{CachedAnswer, Freshness, Policy};
use crate::observability::metrics::SharedResult;

pub(super) static GET: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/get.lua")));

/// How an image is, as the script tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Held and fresh.
    Held,
    /// This replica has the lease now.
    Leading,
    /// Another has it.
    Taken,
    /// Who had it failed.
    Failed,
}

impl State {
    const fn of(number: u8) -> Self {
        match number {
            0 => Self::Held,
            1 => Self::Leading,
            3 => Self::Failed,
            _ => Self::Taken,
        }
    }
}

/// Bytes of a value. An image has about 1 KiB; what is longer is not stored, and what lies there and is
/// longer is none of ours.
pub(super) const LONGEST_VALUE: usize = 4 << 20;

/// The greatest age that is asked for: longer than anything is kept.
const MAX_AGE: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a get replied.
pub(super) struct Got {
    pub(super) state: State,
    /// Empty for nothing.
    pub(super) held: Vec<u8>,
    /// How who had the lease failed.
    pub(super) mark: Vec<u8>,
    pub(super) left: Duration,
    pub(super) reading: Reading,
    /// Where the log of orders was before: what is heard of meanwhile counts as later.
    pub(super) position: Position,
}

impl Shared {
    pub(super) async fn get(
        &self,
        key: &ImageKey,
        token: &str,
        oldest: Option<Duration>,
        overlook: bool,
    ) -> Result<Got, Trouble> {
        // What was ordered here and could not be told yet still lies there.
        if self.unheard.lock().len() > 0 {
            return Err(Trouble::Skipped);
        }
        let position = self.horizon.lock().now().ok_or(Trouble::Skipped)?;
        let oldest = oldest.map_or(MAX_AGE, |age| age.min(MAX_AGE));
        let (asked, (server, state, held, mark, left)) = self
            .commands
            .run(async |mut connection| {
                let asked = Instant::now();
                let reply = GET
                    .key(self.names.image(key))
                    .key(self.names.no(&key.image))
                    .key(self.names.lease(key))
                    .arg(token)
                    .arg(milliseconds(self.config.lease.0))
                    .arg(milliseconds(oldest))
                    .arg(u8::from(overlook))
                    .arg(LONGEST_VALUE)
                    .invoke_async::<(u64, u8, Vec<u8>, Vec<u8>, i64)>(&mut connection)
                    .await?;
                Ok((asked, reply))
            })
            .await?;
        Ok(Got {
            state: State::of(state),
            held,
            mark,
            left: Duration::from_millis(u64::try_from(left).unwrap_or(0)),
            reading: Reading {
                server,
                asked,
                replied: Instant::now(),
            },
            position,
        })
    }

    /// What is held, if it is of use here.
    pub(super) fn read(
        &self,
        key: &ImageKey,
        got: &Got,
        policy: &Policy,
    ) -> Result<(CachedAnswer, Freshness), Unfit> {
        let names = [self.names.image(key), self.names.no(&key.image)];
        let held = value::decode([&names[0], &names[1]], &got.held, &got.reading)?;
        let position = held.position;
        let (landed, freshness) = held
            .land(policy, &got.reading, Instant::now())
            .ok_or(Unfit::Outdated)?;
        let admitted = self
            .horizon
            .lock()
            .admits(position, value::workspace(&landed));
        if admitted {
            Ok((landed, freshness))
        } else {
            Err(Unfit::Outdated)
        }
    }
}

impl Unfit {
    pub(super) const fn result(self) -> SharedResult {
        match self {
            Self::Foreign => SharedResult::Foreign,
            Self::Version => SharedResult::Version,
            Self::Corrupt => SharedResult::Corrupt,
            Self::Outdated => SharedResult::Outdated,
        }
    }
}
