use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::units::ByteSize;

fn nonces(per_key: u32, in_all: u64) -> Arc<Nonces> {
    Nonces::new(&Config {
        nonces_per_client: per_key,
        nonces_max_bytes: ByteSize(in_all * BYTES),
        ..Config::default()
    })
}

fn print(nonce: u64, head: u32, is_get: bool) -> Print {
    Print {
        nonce,
        head,
        is_get,
    }
}

const SECOND: Duration = Duration::from_secs(1);
const HALF_AN_HOUR: Duration = Duration::from_secs(30 * 60);

#[test]
fn a_get_comes_once_more_byte_by_byte_within_ten_seconds() {
    let nonces = nonces(10, 10).of("key");
    let now = Instant::now();
    let later = now + 10 * SECOND;
    assert_eq!(nonces.note(print(1, 7, true), now), Ok(Room::Enough));
    assert_eq!(nonces.note(print(1, 7, true), later), Ok(Room::Enough));
    let third = nonces.note(print(1, 7, true), later);
    assert_eq!(third, Err(Refused::NonceUsed));
    assert_eq!(nonces.note(print(2, 7, true), now), Ok(Room::Enough));
    let changed = nonces.note(print(2, 8, true), now);
    assert_eq!(changed, Err(Refused::NonceUsed));
    assert_eq!(nonces.note(print(3, 7, true), now), Ok(Room::Enough));
    let late = nonces.note(print(3, 7, true), later + SECOND);
    assert_eq!(late, Err(Refused::NonceUsed));
}

#[test]
fn a_write_comes_never_again_while_its_date_holds() {
    let nonces = nonces(10, 10).of("key");
    let now = Instant::now();
    let write = print(1, 7, false);
    assert_eq!(nonces.note(write, now), Ok(Room::Enough));
    for later in [Duration::ZERO, HALF_AN_HOUR] {
        assert_eq!(nonces.note(write, now + later), Err(Refused::NonceUsed));
    }
    let after = now + HALF_AN_HOUR + SECOND;
    assert_eq!(nonces.note(write, after), Ok(Room::Enough));
}

#[test]
fn memory_is_bounded_and_never_at_a_writes_cost() {
    let all = nonces(2, 10);
    let nonces = all.of("key");
    let now = Instant::now();
    for nonce in 1..=2 {
        assert_eq!(nonces.note(print(nonce, 0, false), now), Ok(Room::Enough));
    }
    let full = nonces.note(print(3, 0, false), now);
    assert_eq!(full, Err(Refused::NoncesFull));
    assert_eq!(nonces.note(print(3, 0, true), now), Ok(Room::Made));
    assert_eq!(all.len(), 2);
    for nonce in 1..=2 {
        let again = nonces.note(print(nonce, 0, false), now);
        assert_eq!(again, Err(Refused::NonceUsed));
    }
}

#[test]
fn all_keys_together_are_bounded_and_the_largest_gives_way() {
    let all = nonces(100, 10);
    let (busy, quiet) = (all.of("busy"), all.of("quiet"));
    let now = Instant::now();
    assert_eq!(quiet.note(print(100, 0, true), now), Ok(Room::Enough));
    for nonce in 1..=9 {
        assert_eq!(busy.note(print(nonce, 0, true), now), Ok(Room::Enough));
    }
    let write = quiet.note(print(101, 0, false), now);
    assert_eq!(write, Err(Refused::NoncesFull));
    assert_eq!(quiet.note(print(102, 0, true), now), Ok(Room::Made));
    assert_eq!(all.len(), 10);
    // The oldest of the busy key is gone, the quiet one's are there.
    assert_eq!(
        quiet.note(print(100, 1, true), now),
        Err(Refused::NonceUsed)
    );
    assert_eq!(busy.note(print(2, 1, true), now), Err(Refused::NonceUsed));
    assert_eq!(busy.note(print(1, 1, true), now), Ok(Room::Made));
    let later = now + HALF_AN_HOUR + SECOND;
    let third = all.of("third");
    assert_eq!(third.note(print(103, 0, false), later), Ok(Room::Enough));
    assert_eq!(all.len(), 1, "what is old is swept");
}

#[test]
fn a_key_that_comes_back_is_remembered() {
    let all = nonces(10, 10);
    let now = Instant::now();
    let write = print(1, 0, false);
    assert_eq!(all.of("key").note(write, now), Ok(Room::Enough));
    let _other = all.of("other");
    assert_eq!(all.of("key").note(write, now), Err(Refused::NonceUsed));
    assert_eq!(all.of("other").note(write, now), Ok(Room::Enough));
    assert_eq!(all.by_key.lock().len(), 2);
}

proptest! {
    /// However full it is, no write is let in twice, and no more is held than may be.
    #[test]
    fn no_write_comes_twice(
        per_key in 1..6_u32, in_all in 1..9_u64,
        asked in prop::collection::vec((0..3_usize, 0..8_u64, any::<bool>(), 0..400_u64), 0..80),
    ) {
        let all = nonces(per_key, in_all);
        let keys = ["a", "b", "c"].map(|key| all.of(key));
        let (mut now, mut done) = (Instant::now(), HashMap::new());
        for (key, nonce, is_get, wait) in asked {
            now += Duration::from_secs(wait);
            let noted = keys[key].note(print(nonce, 0, is_get), now);
            prop_assert!(all.len() as u64 <= in_all);
            if is_get || noted.is_err() {
                continue;
            }
            if let Some(before) = done.insert((key, nonce), now) {
                prop_assert!(now - before > HALF_AN_HOUR);
            }
        }
    }
}
