use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;

fn record(number: u8) -> WriteRecord {
    WriteRecord {
        fingerprints: [[number; 16], [!number; 16]],
        date: 1_790_000_000 + i64::from(number),
    }
}

fn file(records: &[WriteRecord]) -> Vec<u8> {
    let mut bytes = Vec::from(header());
    for record in records {
        record.encode(&mut bytes);
    }
    bytes
}

#[test]
fn an_incomplete_last_record_is_left_out() {
    let records = [record(1), record(2), record(3)];
    let whole = file(&records);
    for length in 0..=whole.len() {
        let read = decode(&whole[..length]);
        let expected = match length.checked_sub(HEADER_LEN) {
            None => WriteJournalContents::New,
            Some(length) => WriteJournalContents::Whole(records[..length / RECORD_LEN].to_vec()),
        };
        assert_eq!(read, expected, "{length}");
    }
    // A crash may have lengthened the file and not filled it.
    let mut zeros = whole;
    zeros.extend([0; 2 * RECORD_LEN + 5]);
    assert_eq!(
        decode(&zeros),
        WriteJournalContents::Whole(records.to_vec())
    );
}

#[test]
fn damage_before_the_end_is_reported() {
    let records = [record(1), record(2), record(3)];
    let whole = file(&records);
    for at in 0..HEADER_LEN {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        assert_eq!(
            decode(&damaged),
            WriteJournalContents::Damaged(Vec::new()),
            "{at}"
        );
    }
    for at in HEADER_LEN..HEADER_LEN + RECORD_LEN {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        let left = records[1..].to_vec();
        assert_eq!(
            decode(&damaged),
            WriteJournalContents::Damaged(left),
            "{at}"
        );
    }
}

#[tokio::test]
async fn it_is_this_users_alone_and_does_not_grow_without_end() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal");
    let metrics = Metrics::new();
    let (journal, contents) = WriteJournal::open(&path, 10, &metrics).unwrap();
    assert_eq!(contents, WriteJournalContents::New);
    let kept = || vec![record(9)];
    for number in 0..=255 {
        for _ in 0..5 {
            journal.append(record(number), kept).await.unwrap();
        }
    }
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    let most = (HEADER_LEN + RECORD_LEN * (SLACK + COMPACTION_FACTOR + 1)) as u64;
    assert!(metadata.len() <= most, "{}", metadata.len());
    drop(journal);
    let (_journal, contents) = WriteJournal::open(&path, 10, &metrics).unwrap();
    let WriteJournalContents::Whole(records) = contents else {
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
    let error = WriteJournal::open(&path, 10, &Metrics::new()).unwrap_err();
    assert!(error.to_string().contains("0600"), "{error}");
}
