use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn proof(nonce: &str, date: Timestamp) -> WriteProof {
    WriteProof::new("KEY", nonce, nonce.as_bytes(), date)
}

/// Whole seconds, as dates are signed.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + seconds).unwrap()
}

fn open(path: Option<&Path>, now: Timestamp) -> WriteLog {
    WriteLog::open(path, &Metrics::new(), now)
}

#[tokio::test]
async fn a_write_is_accepted_once_over_restarts() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal");
    let write = proof("1", at(0));
    let writes = open(Some(&path), at(0));
    assert_eq!(writes.claim(&write, at(0), false).await, Ok(()));
    let again = writes.claim(&write, at(0), false).await;
    assert_eq!(again, Err(AuthError::NonceUsed));
    // Killed: nothing was closed but by the kernel.
    drop(writes);
    let writes = open(Some(&path), at(1));
    let again = writes.claim(&write, at(1), false).await;
    assert_eq!(again, Err(AuthError::NonceUsed));
    let before = proof("2", at(-600));
    assert_eq!(writes.claim(&before, at(1), false).await, Ok(()));
}

#[tokio::test]
async fn neither_the_nonce_nor_the_signature_comes_again() {
    let writes = open(None, at(-60));
    let write = WriteProof::new("KEY", "nonce", b"signature", at(0));
    assert_eq!(writes.claim(&write, at(0), false).await, Ok(()));
    for (key, nonce, signature, outcome) in [
        ("KEY", "nonce", b"another s", Err(AuthError::NonceUsed)),
        // Another key with the same secret: the key's id is not signed.
        ("OTHER", "nonce", b"signature", Err(AuthError::NonceUsed)),
        ("OTHER", "nonce", b"another s", Ok(())),
    ] {
        let other = WriteProof::new(key, nonce, signature, at(0));
        assert_eq!(writes.claim(&other, at(0), false).await, outcome, "{key}");
    }
}

#[tokio::test]
async fn without_a_journal_no_write_from_before_a_restart_is_accepted() {
    let writes = open(None, at(100));
    for (date, now, outcome) in [
        (104, 106, Err(AuthError::Expired)),
        (105, 106, Ok(())),
        (111, 106, Ok(())),
        (112, 106, Err(AuthError::Expired)),
    ] {
        let write = proof(&date.to_string(), at(date));
        assert_eq!(
            writes.claim(&write, at(now), false).await,
            outcome,
            "{date}"
        );
    }
    // Where a shared record decides, it decides about this too.
    assert_eq!(
        writes.claim(&proof("x", at(0)), at(106), true).await,
        Ok(())
    );
}

#[tokio::test]
async fn a_journal_that_begins_now_knows_nothing_of_before() {
    let folder = TempDir::new().unwrap();
    let writes = open(Some(&folder.path().join("journal")), at(100));
    let early = writes.claim(&proof("1", at(98)), at(100), false).await;
    assert_eq!(early, Err(AuthError::Expired));
    for (nonce, date) in [("2", 99), ("3", 100), ("4", 400)] {
        let write = proof(nonce, at(date));
        assert_eq!(writes.claim(&write, at(100), false).await, Ok(()), "{date}");
    }
}

#[tokio::test]
async fn a_journal_that_cannot_be_kept_is_none() {
    let folder = TempDir::new().unwrap();
    let held = open(Some(&folder.path().join("journal")), at(0));
    for path in ["nowhere/journal", "journal"] {
        let writes = open(Some(&folder.path().join(path)), at(0));
        let write = proof("1", at(4));
        let claimed = writes.claim(&write, at(4), false).await;
        assert_eq!(claimed, Err(AuthError::Expired), "{path}");
    }
    held.close().await;
    let closed = held.claim(&proof("1", at(4)), at(4), false).await;
    assert_eq!(closed, Err(AuthError::NotRecorded));
}

#[test]
fn a_write_is_kept_until_its_date_cannot_hold_by_either_clock() {
    let mut claimed = ClaimedWrites::default();
    let now = Instant::now();
    let record = |nonce: &str, date| WriteRecord::of(&proof(nonce, at(date)));
    claimed.note(record("1", 0), at(0), now).unwrap();
    for (wall, passed, outcome) in [
        (3600, 60, Err(AuthError::NonceUsed)),
        (60, 3600, Err(AuthError::NonceUsed)),
        (3600, 3600, Ok(())),
    ] {
        let later = now + Duration::from_secs(passed);
        let noted = claimed.note(record("1", 0), at(wall), later);
        assert_eq!(noted, outcome, "{wall} {passed}");
    }
}

/// What may happen to a gateway between two writes.
#[derive(Debug, Clone)]
enum Event {
    /// A client sends its write, this one of a few, dated so far from now.
    Send(u8),
    /// Time passes.
    Wait(i64),
    /// It ends without a word, and another begins.
    Kill,
    /// The end of its journal is torn off or filled with garbage by the crash.
    Tear(Vec<u8>),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => (0..6_u8).prop_map(Event::Send),
        2 => (1..400_i64).prop_map(Event::Wait),
        2 => Just(Event::Kill),
        1 => prop::collection::vec(any::<u8>(), 0..60).prop_map(Event::Tear),
    ];
    prop::collection::vec(event, 0..40)
}

async fn at_most_once(journal: bool, events: Vec<Event>) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal");
    let path = journal.then_some(path.as_path());
    let (mut now, mut sent) = (0, HashSet::new());
    let mut writes = Some(open(path, at(now)));
    // Dated up to a quarter of an hour from the beginning, either way.
    let all: Vec<_> = (0..6_u8)
        .map(|n| proof(&n.to_string(), at(i64::from(n) * 200 - 100)))
        .collect();
    for event in events {
        match event {
            Event::Wait(seconds) => now += seconds,
            Event::Send(which) => {
                let write = &all[usize::from(which)];
                let off = (at(now).as_second() - write.date.as_second()).abs();
                let claimed = writes.as_ref().unwrap().claim(write, at(now), false).await;
                if off <= WINDOW_SECONDS && claimed.is_ok() {
                    assert!(sent.insert(which), "write {which} was sent twice");
                }
            }
            Event::Kill => {
                drop(writes.take());
                now += 1;
                writes = Some(open(path, at(now)));
            }
            Event::Tear(garbage) => {
                drop(writes.take());
                if let Some(path) = path {
                    let mut bytes = std::fs::read(path).unwrap();
                    bytes.extend(garbage);
                    std::fs::write(path, bytes).unwrap();
                }
                now += 1;
                writes = Some(open(path, at(now)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn each_signed_write_is_accepted_at_most_once(journal in any::<bool>(), events in events()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(at_most_once(journal, events));
    }
}
