use aws_lc_rs::digest::{SHA256, digest};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::cache::record::InvalidRecord;
use crate::cache::snapshot::format::{SnapshotError, decode};

fn encoded(images: Vec<ImageRecord>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&head(), images.into_iter(), &mut bytes).unwrap();
    bytes
}

prop_compose! {
    fn image()(
        (id, verbose, purged) in ("[a-z0-9][a-zA-Z0-9_-]{0,127}", any::<bool>(), any::<bool>()),
        body in r#"\{("[a-z]{0,9}":[1-9][0-9]{0,9})?\}"#,
        request_id in proptest::option::of("[!-~]{0,300}"),
        (sent, date) in (-9_000_000_000_i64..9_000_000_000, 0..9_000_000_000_i64),
        (nanoseconds, took, ttl) in (0..1_000_000_000_i32, any::<u64>(), any::<u64>()),
        (no_store, no_cache, max_age) in any::<(bool, bool, Option<u64>)>(),
        draw in 0.0..1.0,
    ) -> ImageRecord {
        ImageRecord {
            key: ImageKey { image: ImageId::parse(&id).unwrap(), verbose },
            body: body.into(),
            request_id: request_id.map(|text| HeaderValue::from_str(&text).unwrap()),
            sent: Timestamp::new(sent, if sent < 0 { -nanoseconds } else { nanoseconds }).unwrap(),
            took: Duration::from_nanos(took),
            ttl: Duration::from_nanos(ttl),
            purged,
            date: Timestamp::from_second(date).unwrap(),
            directives: Directives { max_age: max_age.map(Duration::from_secs), no_store, no_cache },
            draw,
        }
    }
}

proptest! {
    #[test]
    fn a_written_snapshot_is_read_back(images in vec(image(), 0..8)) {
        prop_assert_eq!(decode(&encoded(images.clone())), Ok((head(), images)));
    }

    #[test]
    fn a_record_can_be_restored_or_dropped(image in image()) {
        let (now, policy) = (Instant::now(), Policy::default());
        if let Some((_, entry)) = restore::restore_entry(image, &policy, now, Timestamp::now()) {
            prop_assert!(entry.ttl() <= policy.max.0);
            prop_assert_ne!(entry.freshness(&policy, now), Freshness::Fresh);
        }
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in vec(any::<u8>(), 0..300), version in 0..3_u32) {
        prop_assert!(decode(&bytes).is_err());
        prop_assert!(journal_format::decode(&bytes).is_err());
        // With a start and a checksum that are right, the inside is looked at.
        let mut sealed = [b"PAISNAP\n", &version.to_le_bytes()[..], &bytes].concat();
        let sum = digest(&SHA256, &sealed);
        sealed.extend(sum.as_ref());
        drop(decode(&sealed));
    }

    #[test]
    fn a_changed_or_missing_byte_is_noticed(images in vec(image(), 0..3), at: prop::sample::Index, flip in 1..=255_u8) {
        let whole = encoded(images);
        let at = at.index(whole.len());
        let mut changed = whole.clone();
        changed[at] ^= flip;
        prop_assert!(decode(&changed).is_err());
        prop_assert!(decode(&whole[..at]).is_err());
    }

    #[test]
    fn a_journal_ends_at_its_last_whole_order(names in vec("[a-z]{1,9}", 0..5), at: prop::sample::Index, flip in 1..=255_u8) {
        let mut bytes = journal_format::encode_head(7, 3);
        let mut ends = vec![bytes.len()];
        for (index, name) in names.iter().enumerate() {
            let target = PurgeTarget::Workspace(name.clone());
            let number = 3 + index as u64;
            bytes.extend(journal_format::encode_invalidation(7, number, &target, PurgeMode::Soft).unwrap());
            ends.push(bytes.len());
        }
        let at = at.index(bytes.len());
        match journal_format::decode(&bytes[..at]) {
            Ok(read) => {
                let whole = ends.iter().filter(|end| **end <= at).count();
                prop_assert_eq!((read.invalidations.len(), read.length), (whole - 1, ends[whole - 1]));
            }
            Err(_) => prop_assert!(at < ends[0]),
        }
        prop_assert_eq!(journal_format::decode(&bytes).unwrap().invalidations.len(), names.len());
        bytes[at] ^= flip;
        prop_assert!(journal_format::decode(&bytes).is_err());
    }
}

#[test]
fn each_damage_has_its_name() {
    let sound = encoded(vec![saved("a", Duration::ZERO)]);
    let changed = |at: usize, to: u8| {
        let mut bytes = sound.clone();
        bytes[at] = to;
        decode(&bytes).unwrap_err()
    };
    assert_eq!(changed(0, b'X'), SnapshotError::Magic);
    assert_eq!(changed(8, 0), SnapshotError::Version(0));
    assert_eq!(changed(60, 0xff), SnapshotError::Checksum);
    let mut no_object = saved("a", Duration::ZERO);
    no_object.body = "[]".into();
    assert_eq!(
        decode(&encoded(vec![no_object])),
        Err(SnapshotError::Image(InvalidRecord::Body))
    );
}
