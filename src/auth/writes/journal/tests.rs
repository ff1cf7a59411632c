use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;

fn record(number: u8) -> Record {
    Record {
        fingerprints: [[number; 16], [!number; 16]],
        date: 1_790_000_000 + i64::from(number),
    }
}

fn file(records: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::from(head());
    for record in records {
        record.encode(&mut bytes);
    }
    bytes
}

#[test]
fn what_breaks_off_at_the_end_is_left_out() {
    let records = [record(1), record(2), record(3)];
    let whole = file(&records);
    for length in 0..=whole.len() {
        let read = decode(&whole[..length]);
        let expected = match length.checked_sub(HEAD) {
            None => Contents::New,
            Some(length) => Contents::Whole(records[..length / RECORD].to_vec()),
        };
        assert_eq!(read, expected, "{length}");
    }
    // A crash may have lengthened the file and not filled it.
    let mut zeros = whole;
    zeros.extend([0; 2 * RECORD + 5]);
    assert_eq!(decode(&zeros), Contents::Whole(records.to_vec()));
}

#[test]
fn what_is_damaged_before_the_end_is_told() {
    let records = [record(1), record(2), record(3)];
    let whole = file(&records);
    for at in 0..HEAD {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        assert_eq!(decode(&damaged), Contents::Damaged(Vec::new()), "{at}");
    }
    for at in HEAD..HEAD + RECORD {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        let left = records[1..].to_vec();
        assert_eq!(decode(&damaged), Contents::Damaged(left), "{at}");
    }
}

#[tokio::test]
async fn it_is_this_users_alone_and_does_not_grow_without_end() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal");
    let metrics = Metrics::new();
    let (journal, contents) = Journal::open(&path, 10, &metrics).unwrap();
    assert_eq!(contents, Contents::New);
    let kept = || vec![record(9)];
    for number in 0..=255 {
        for _ in 0..5 {
            journal.append(record(number), kept).await.unwrap();
        }
    }
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    let most = (HEAD + RECORD * (SLACK + COMPACT + 1)) as u64;
    assert!(metadata.len() <= most, "{}", metadata.len());
    drop(journal);
    let (_journal, contents) = Journal::open(&path, 10, &metrics).unwrap();
    let Contents::Whole(records) = contents else {
        panic!("{contents:?}")
    };
    assert_eq!(
        (records[0], records.last()),
        (record(9), Some(&record(255)))
    );
}

#[tokio::test]
async fn one_that_others_may_have_written_is_not_taken() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal");
    std::fs::write(&path, file(&[record(1)])).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = Journal::open(&path, 10, &Metrics::new()).unwrap_err();
    assert!(error.to_string().contains("0600"), "{error}");
}
