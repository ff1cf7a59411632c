//! Interface to the store that holds the slots of a whole fleet; the application connects it to a shared cache.
//!
//! The store knows no order of calls. Each replica asks it for as many slots as it has waiting calls, and gives those
//! that it gets to its most urgent ones.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::api::Action;

/// Store of a fleet's slots, with a clock of its own.
pub trait FleetPace: Debug + Send + Sync {
    /// Returns since when the store cannot be asked; `None` while it can.
    fn away(&self) -> Option<FleetAway>;

    /// Takes slots of one operation and gives others back, in one step. Ends within a bounded time, whatever the
    /// store does.
    fn exchange(
        &self,
        action: Action,
        request: FleetRequest,
    ) -> BoxFuture<'_, Result<FleetReply, FleetAway>>;
}

/// Identity of a slot that the fleet's store grants, unique within its replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId(pub u64);

/// Request of one replica to the store.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetRequest {
    /// Number of the fleet's slots now.
    pub limit: u32,
    /// Time for which a call that has ended keeps its slot.
    pub window: Duration,
    /// Time after which a slot is free although its end was not recorded, as after the death of its replica.
    pub hold: Duration,
    /// Number of slots to take at most; they are named by the numbers from `first` on.
    pub wanted: u32,
    /// Name of the first slot taken.
    pub first: GrantId,
    /// Number of wanted slots for calls that clients wait for: they may be taken ahead of their time, those that are
    /// free soonest, up to this replica's share. For other calls one may be taken ahead, the one that is free last.
    pub urgent: u32,
    /// Number of slots that this replica has taken ahead and not used yet.
    pub held_ahead: u32,
    /// Slots whose calls have ended, with the time of the end.
    pub ended: Vec<(GrantId, Instant)>,
    /// Slots that were not used.
    pub unused: Vec<GrantId>,
    /// End of a throttle window that this replica was told by the origin.
    pub throttled_until: Option<Instant>,
}

/// Reply of the store, with times of this process's clock, rather too late than too early.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FleetReply {
    /// Time from which each slot taken may be used, in the order of their names.
    pub granted: Vec<Instant>,
    /// Times at which the fleet's taken slots will be free if no end is recorded, the earliest first.
    pub taken: Vec<Instant>,
    /// Number of replicas whose clients wait for slots.
    pub contenders: u32,
    /// Latest throttle of any replica in the last seconds: its number, and the end of its window.
    pub throttle: Option<(u64, Instant)>,
    /// Time of the connection over which the reply came; `None` for the first connection of this process. A store
    /// that was lost in between may have lost slots.
    pub reconnected: Option<Instant>,
    /// Number of replicas of the fleet, this one included, if it is known.
    pub replicas: Option<u32>,
}

/// Failure of the store to answer. It may have carried out the request all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetAway {
    /// Time since which the store has been away; `None` if it has never answered.
    pub since: Option<Instant>,
    /// Number of replicas of the fleet that were last seen.
    pub replicas: Option<u32>,
}
