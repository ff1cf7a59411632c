use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::units::ByteSize;

fn nonces(max_per_key: u32, max_total: u64) -> Arc<Nonces> {
    Nonces::new(&Config {
        nonces_per_client: max_per_key,
        nonces_max_bytes: ByteSize(max_total * BYTES_PER_NONCE),
        ..Config::default()
    })
}

fn fingerprint(nonce: u64, head: u32, is_get: bool) -> Fingerprint {
    Fingerprint {
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
    assert_eq!(
        nonces.record(fingerprint(1, 7, true), now),
        Ok(Capacity::Free)
    );
    assert_eq!(
        nonces.record(fingerprint(1, 7, true), later),
        Ok(Capacity::Free)
    );
    let third = nonces.record(fingerprint(1, 7, true), later);
    assert_eq!(third, Err(AuthError::NonceUsed));
    assert_eq!(
        nonces.record(fingerprint(2, 7, true), now),
        Ok(Capacity::Free)
    );
    let changed = nonces.record(fingerprint(2, 8, true), now);
    assert_eq!(changed, Err(AuthError::NonceUsed));
    assert_eq!(
        nonces.record(fingerprint(3, 7, true), now),
        Ok(Capacity::Free)
    );
    let late = nonces.record(fingerprint(3, 7, true), later + SECOND);
    assert_eq!(late, Err(AuthError::NonceUsed));
}

#[test]
fn a_write_comes_never_again_while_its_date_holds() {
    let nonces = nonces(10, 10).of("key");
    let now = Instant::now();
    let write = fingerprint(1, 7, false);
    assert_eq!(nonces.record(write, now), Ok(Capacity::Free));
    // A date 900 s ahead holds until the last moment of the second that is 900 s behind it.
    let last = HALF_AN_HOUR + Duration::from_millis(999);
    for later in [Duration::ZERO, HALF_AN_HOUR, last] {
        assert_eq!(nonces.record(write, now + later), Err(AuthError::NonceUsed));
    }
    let after = now + HALF_AN_HOUR + Duration::from_millis(1200);
    assert_eq!(nonces.record(write, after), Ok(Capacity::Free));
}

#[test]
fn memory_is_bounded_and_never_at_a_writes_cost() {
    let all = nonces(2, 10);
    let nonces = all.of("key");
    let now = Instant::now();
    for nonce in 1..=2 {
        assert_eq!(
            nonces.record(fingerprint(nonce, 0, false), now),
            Ok(Capacity::Free)
        );
    }
    let full = nonces.record(fingerprint(3, 0, false), now);
    assert_eq!(full, Err(AuthError::NoncesFull));
    assert_eq!(
        nonces.record(fingerprint(3, 0, true), now),
        Ok(Capacity::Evicted)
    );
    assert_eq!(all.len(), 2);
    for nonce in 1..=2 {
        let again = nonces.record(fingerprint(nonce, 0, false), now);
        assert_eq!(again, Err(AuthError::NonceUsed));
    }
}

#[test]
fn all_keys_together_are_bounded_and_the_largest_gives_way() {
    let all = nonces(100, 10);
    let (busy, quiet) = (all.of("busy"), all.of("quiet"));
    let now = Instant::now();
    assert_eq!(
        quiet.record(fingerprint(100, 0, true), now),
        Ok(Capacity::Free)
    );
    for nonce in 1..=9 {
        assert_eq!(
            busy.record(fingerprint(nonce, 0, true), now),
            Ok(Capacity::Free)
        );
    }
    let write = quiet.record(fingerprint(101, 0, false), now);
    assert_eq!(write, Err(AuthError::NoncesFull));
    assert_eq!(
        quiet.record(fingerprint(102, 0, true), now),
        Ok(Capacity::Evicted)
    );
    assert_eq!(all.len(), 10);
    // The oldest of the busy key is gone, the quiet one's are there.
    assert_eq!(
        quiet.record(fingerprint(100, 1, true), now),
        Err(AuthError::NonceUsed)
    );
    assert_eq!(
        busy.record(fingerprint(2, 1, true), now),
        Err(AuthError::NonceUsed)
    );
    assert_eq!(
        busy.record(fingerprint(1, 1, true), now),
        Ok(Capacity::Evicted)
    );
    let later = now + HALF_AN_HOUR + 2 * SECOND;
    let third = all.of("third");
    assert_eq!(
        third.record(fingerprint(103, 0, false), later),
        Ok(Capacity::Free)
    );
    assert_eq!(all.len(), 1, "what is old is swept");
}

#[test]
fn a_key_that_comes_back_is_remembered() {
    let all = nonces(10, 10);
    let now = Instant::now();
    let write = fingerprint(1, 0, false);
    assert_eq!(all.of("key").record(write, now), Ok(Capacity::Free));
    let _other = all.of("other");
    assert_eq!(all.of("key").record(write, now), Err(AuthError::NonceUsed));
    assert_eq!(all.of("other").record(write, now), Ok(Capacity::Free));
    assert_eq!(all.by_key.lock().len(), 2);
}

proptest! {
    /// However full the table is, no write is accepted twice, and the number of nonces stays within its bound.
    #[test]
    fn no_write_comes_twice(
        max_per_key in 1..6_u32, max_total in 1..9_u64,
        asked in prop::collection::vec((0..3_usize, 0..8_u64, any::<bool>(), 0..400_u64), 0..80),
    ) {
        let all = nonces(max_per_key, max_total);
        let keys = ["a", "b", "c"].map(|key| all.of(key));
        let (mut now, mut done) = (Instant::now(), HashMap::new());
        for (key, nonce, is_get, wait) in asked {
            now += Duration::from_secs(wait);
            let entry = keys[key].record(fingerprint(nonce, 0, is_get), now);
            prop_assert!(all.len() as u64 <= max_total);
            if is_get || entry.is_err() {
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
    let entry = all
        .of("used")
        .record(fingerprint(1, 0, true), Instant::now());
    assert_eq!(entry, Ok(Capacity::Free));
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
    assert_eq!(key.record(fingerprint(1, 0, true), now), Ok(Capacity::Free));
    assert_eq!(
        key.record(fingerprint(2, 0, false), now),
        Ok(Capacity::Free)
    );
    assert_eq!(
        key.record(fingerprint(3, 0, true), now),
        Ok(Capacity::Evicted)
    );
    assert_eq!(all.len(), 2);
    for (nonce, is_get) in [(3, true), (2, false)] {
        let again = key.record(fingerprint(nonce, 1, is_get), now);
        assert_eq!(again, Err(AuthError::NonceUsed), "{nonce}");
    }
    assert_eq!(
        key.record(fingerprint(1, 1, true), now),
        Ok(Capacity::Evicted)
    );
}

/// It looks at every key, so it is done once a second at most.
#[test]
fn expired_nonces_are_removed_once_a_second() {
    let all = nonces(10, 10);
    let key = all.of("key");
    let entry = key.record(fingerprint(1, 0, true), Instant::now());
    assert_eq!((entry, all.len()), (Ok(Capacity::Free), 1));
    let start = LIFETIME + 5;
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
    let of = |head: &Parts| key.fingerprint(head, "n", true).head;
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
    let other = key.fingerprint(&head("GET", "/a", ("x", "1")), "m", true);
    assert_ne!(
        key.fingerprint(&head("GET", "/a", ("x", "1")), "n", true)
            .nonce,
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
            key.fingerprint(&head, "n", true).head.count_ones()
        })
        .sum();
    assert!((15_000..17_000).contains(&set), "{set} of 32000");
}

#[test]
fn a_write_is_no_resend_of_a_get() {
    let key = nonces(10, 10).of("key");
    let now = Instant::now();
    assert_eq!(key.record(fingerprint(1, 7, true), now), Ok(Capacity::Free));
    let write = key.record(fingerprint(1, 7, false), now);
    assert_eq!(write, Err(AuthError::NonceUsed));
}

#[test]
fn a_resend_is_accepted_for_ten_seconds_and_no_tenth_more() {
    let all = nonces(10, 10);
    let key = all.of("key");
    let resent_after = |nonce, milliseconds| {
        let resend = fingerprint(nonce, 7, true);
        assert_eq!(key.record(resend, all.epoch), Ok(Capacity::Free));
        key.record(resend, all.epoch + Duration::from_millis(milliseconds))
    };
    assert_eq!(resent_after(1, 10_000), Ok(Capacity::Free));
    assert_eq!(resent_after(2, 10_100), Err(AuthError::NonceUsed));
}

#[test]
fn a_nonce_is_remembered_for_half_an_hour_however_long_the_gateway_has_run() {
    let all = nonces(10, 10);
    let key = all.of("key");
    let write = fingerprint(1, 7, false);
    let came = all.epoch + 24 * 3600 * SECOND;
    assert_eq!(key.record(write, came), Ok(Capacity::Free));
    let again = key.record(write, came + HALF_AN_HOUR);
    assert_eq!(again, Err(AuthError::NonceUsed));
    let after = came + HALF_AN_HOUR + 2 * SECOND;
    assert_eq!(key.record(write, after), Ok(Capacity::Free));
}
