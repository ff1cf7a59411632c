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
    // A date 900 s ahead holds until the last moment of the second that is 900 s behind it.
    let last = HALF_AN_HOUR + Duration::from_millis(999);
    for later in [Duration::ZERO, HALF_AN_HOUR, last] {
        assert_eq!(nonces.note(write, now + later), Err(Refused::NonceUsed));
    }
    let after = now + HALF_AN_HOUR + Duration::from_millis(1200);
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
    let later = now + HALF_AN_HOUR + 2 * SECOND;
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

#[test]
fn a_memory_is_kept_while_a_client_has_its_key_or_a_nonce_is_in_it() {
    let all = nonces(10, 10);
    let held = all.of("held");
    drop(all.of("dropped"));
    let noted = all.of("used").note(print(1, 0, true), Instant::now());
    assert_eq!(noted, Ok(Room::Enough));
    assert!(all.of("held").is(&held));
    let mut keys: Vec<_> = all.by_key.lock().keys().cloned().collect();
    keys.sort_unstable();
    assert_eq!(keys, ["held", "used"]);
}

#[test]
fn the_oldest_get_of_a_full_key_gives_way() {
    let all = nonces(2, 10);
    let key = all.of("key");
    let now = Instant::now();
    assert_eq!(key.note(print(1, 0, true), now), Ok(Room::Enough));
    assert_eq!(key.note(print(2, 0, false), now), Ok(Room::Enough));
    assert_eq!(key.note(print(3, 0, true), now), Ok(Room::Made));
    assert_eq!(all.len(), 2);
    for (nonce, is_get) in [(3, true), (2, false)] {
        let again = key.note(print(nonce, 1, is_get), now);
        assert_eq!(again, Err(Refused::NonceUsed), "{nonce}");
    }
    assert_eq!(key.note(print(1, 1, true), now), Ok(Room::Made));
}

/// It looks at every key, so it is done once a second at most.
#[test]
fn what_is_old_is_swept_once_a_second() {
    let all = nonces(10, 10);
    let key = all.of("key");
    let noted = key.note(print(1, 0, true), Instant::now());
    assert_eq!((noted, all.len()), (Ok(Room::Enough), 1));
    let start = MEMORY + 5;
    all.sweep(start - 8);
    for (tick, left) in [(start, 1), (start + 1, 1), (start + 2, 0)] {
        all.sweep(tick);
        assert_eq!(all.len(), left, "{tick}");
    }
}

fn head(method: &str, target: &str, header: (&'static str, &'static str)) -> Parts {
    let request = http::Request::builder().method(method).uri(target);
    let request = request.header(header.0, header.1).body(());
    request.unwrap().into_parts().0
}

#[test]
fn a_print_is_of_the_whole_head() {
    let key = nonces(10, 10).of("key");
    let of = |head: &Parts| key.print(head, "n", true).head;
    let one = of(&head("GET", "/a", ("x", "1")));
    assert_eq!(one, of(&head("GET", "/a", ("x", "1"))));
    for other in [
        head("HEAD", "/a", ("x", "1")),
        head("GET", "/b", ("x", "1")),
        head("GET", "/a?", ("x", "1")),
        head("GET", "/a", ("y", "1")),
        head("GET", "/a", ("x", "2")),
    ] {
        assert_ne!(one, of(&other), "{other:?}");
    }
    let other = key.print(&head("GET", "/a", ("x", "1")), "m", true);
    assert_ne!(
        key.print(&head("GET", "/a", ("x", "1")), "n", true).nonce,
        other.nonce
    );
}

/// Half the bits of a hash are set; a fold that loses some has clearly more or fewer.
#[test]
fn a_print_uses_every_bit() {
    let key = nonces(10, 10).of("key");
    let set: u32 = (0..1000)
        .map(|id| {
            let head = head("GET", &format!("/{id}"), ("x", "1"));
            key.print(&head, "n", true).head.count_ones()
        })
        .sum();
    assert!((15_000..17_000).contains(&set), "{set} of 32000");
}

#[test]
fn a_write_is_no_resend_of_a_get() {
    let key = nonces(10, 10).of("key");
    let now = Instant::now();
    assert_eq!(key.note(print(1, 7, true), now), Ok(Room::Enough));
    let write = key.note(print(1, 7, false), now);
    assert_eq!(write, Err(Refused::NonceUsed));
}
