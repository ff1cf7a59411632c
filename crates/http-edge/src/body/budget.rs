//! Memory for responses that clients have not taken yet, bounded for all connections together.
//!
//! A response is charged when it is made, and the charge ends when its last byte has gone to the socket or
//! the client has gone. Over HTTP/1.1 a small response is not charged unless its client makes it wait: one
//! that can be written at once costs nothing here.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use host::units::ByteSize;

/// Room for responses, in kibibytes, each response rounded up.
#[derive(Debug, Clone)]
pub struct Budget {
    permits: Arc<Semaphore>,
    total: usize,
}

/// Part of the room; given back on drop.
#[derive(Debug)]
pub struct Charge(OwnedSemaphorePermit);

/// Over HTTP/1.1 a response of at most this many bytes is charged only while its client takes none of it.
pub const SMALL: usize = 16 << 10;

const UNIT: usize = 1 << 10;

impl Budget {
    /// Room for so many bytes.
    #[must_use]
    pub fn new(max: ByteSize) -> Self {
        let units = usize::try_from(max.0).unwrap_or(usize::MAX) / UNIT;
        let total = units.min(Semaphore::MAX_PERMITS);
        Self {
            permits: Arc::new(Semaphore::new(total)),
            total,
        }
    }

    /// Charges so many bytes; `None` when there is no room for them.
    #[must_use]
    pub fn try_charge(&self, bytes: usize) -> Option<Charge> {
        let permit = Arc::clone(&self.permits).try_acquire_many_owned(units(bytes)?);
        permit.ok().map(Charge)
    }

    /// Charges so many bytes as soon as there is room, in the order of asking; `None` for more than there
    /// ever is. The caller bounds the time.
    pub async fn charge(&self, bytes: usize) -> Option<Charge> {
        let units = units(bytes).filter(|units| *units as usize <= self.total)?;
        let permit = Arc::clone(&self.permits).acquire_many_owned(units).await;
        permit.ok().map(Charge)
    }

    /// Bytes charged now.
    #[must_use]
    pub fn used(&self) -> usize {
        (self.total - self.permits.available_permits()) * UNIT
    }
}

impl Charge {
    /// Bytes that are charged.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.num_permits() * UNIT
    }

    /// Adds what is missing to `bytes`; `false` when there is no room for it, and then nothing is added.
    #[must_use]
    pub fn grow_to(&mut self, bytes: usize, budget: &Budget) -> bool {
        let missing = bytes.saturating_sub(self.bytes());
        if missing == 0 {
            return true;
        }
        let Some(more) = budget.try_charge(missing) else {
            return false;
        };
        self.0.merge(more.0);
        true
    }

    /// The same bytes, charged until the last copy of them is dropped.
    #[must_use]
    pub fn attach(self, bytes: Bytes) -> Bytes {
        struct Charged(
            Bytes,
            #[expect(dead_code, reason = "given back on drop")] Charge,
        );
        impl AsRef<[u8]> for Charged {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        Bytes::from_owner(Charged(bytes, self))
    }
}

fn units(bytes: usize) -> Option<u32> {
    u32::try_from(bytes.div_ceil(UNIT)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_charge_beyond_the_budget_is_rejected_until_another_is_released() {
        let budget = Budget::new(ByteSize(4 << 10));
        let first = budget.try_charge(3000).unwrap();
        assert_eq!((first.bytes(), budget.used()), (3072, 3072));
        assert!(budget.try_charge(2000).is_none());
        drop(first);
        assert!(budget.try_charge(2000).is_some());
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn more_than_there_ever_is_is_not_waited_for() {
        assert!(Budget::new(ByteSize(1024)).charge(2048).await.is_none());
    }

    #[test]
    fn bytes_are_charged_until_their_last_copy_goes() {
        let budget = Budget::new(ByteSize(4 << 10));
        let bytes = budget.try_charge(3).unwrap().attach("abc".into());
        let part = bytes.slice(2..);
        drop(bytes);
        assert_eq!((&part[..], budget.used()), (&b"c"[..], 1024));
        drop(part);
        assert_eq!(budget.used(), 0);
    }

    proptest! {
        /// Whatever is charged, grown and given back: never more than the room, and all of it comes back.
        #[test]
        fn the_room_is_never_exceeded_and_comes_back(
            steps in prop::collection::vec((0..20_000_usize, any::<bool>(), any::<prop::sample::Index>()), 0..100),
        ) {
            let permits = 64 << 10;
            let budget = Budget::new(ByteSize(permits as u64));
            let mut held: Vec<Charge> = Vec::new();
            for (bytes, takes, at) in steps {
                match (takes, held.is_empty()) {
                    (true, true) => held.extend(budget.try_charge(bytes)),
                    (true, false) => {
                        let place = at.index(held.len());
                        let before = held[place].bytes();
                        let grown = held[place].grow_to(bytes, &budget);
                        let now = held[place].bytes();
                        prop_assert!(if grown { now >= bytes } else { now == before }, "{} of {}", now, bytes);
                        held.extend(budget.try_charge(bytes));
                    }
                    (false, true) => {}
                    (false, false) => drop(held.swap_remove(at.index(held.len()))),
                }
                prop_assert_eq!(budget.used(), held.iter().map(Charge::bytes).sum::<usize>());
                prop_assert!(budget.used() <= permits);
            }
            drop(held);
            prop_assert_eq!(budget.used(), 0);
        }
    }
}
