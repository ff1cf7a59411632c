use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::api::{ImageFields, ImageId};
use crate::cache::FetchedImage;
use crate::upstream::UpstreamFreshness;

const BODY: &str = r#"{"WorkspaceId":"15945","GmtModifiedTime":"2020-01-01T00:00:00Z"}"#;
const NAMES: [&str; 2] = ["pai:1:x:{a}:image", "pai:1:x:{a}:no"];
const AT: StreamId = StreamId {
    milliseconds: 7,
    sequence: 3,
};

fn key() -> ImageKey {
    ImageKey {
        image: ImageId::parse("a").unwrap(),
        verbose: false,
    }
}

fn clock_reading() -> ClockReading {
    let now = Instant::now() + Duration::from_secs(100_000);
    ClockReading {
        server: 1_800_000_000_000,
        asked: now,
        replied: now,
    }
}

fn image(age: u64) -> CachedAnswer {
    let arrival = FetchedImage {
        body: BODY.into(),
        fields: ImageFields::parse(BODY.as_bytes()).unwrap(),
        request_id: None,
        sent: clock_reading().replied - Duration::from_secs(age),
        took: Duration::from_millis(40),
        received: Timestamp::now(),
        date: None,
        cache_control: String::new(),
        upstream: UpstreamFreshness::default(),
    };
    CachedAnswer::Image(Arc::new(Entry::new(
        arrival,
        false,
        &Policy::default(),
        0.0,
    )))
}

fn no(kind: NegativeKind) -> CachedAnswer {
    CachedAnswer::Negative(Arc::new(Negative {
        error: OriginError {
            status: 404,
            code: "ImageNotFound".to_owned(),
            message: "none".to_owned(),
            request_id: "R-1".to_owned(),
        },
        kind,
        sent: clock_reading().replied,
        took: Duration::from_millis(40),
        received: Timestamp::from_second(1_700_000_000).unwrap(),
    }))
}

fn encoded(landed: &CachedAnswer) -> Vec<u8> {
    let name = match landed {
        CachedAnswer::Image(_) => NAMES[0],
        CachedAnswer::Negative(_) => NAMES[1],
    };
    encode(
        name,
        &key(),
        landed,
        &Policy::default(),
        &clock_reading(),
        AT,
    )
    .unwrap()
}

#[test]
fn an_image_comes_out_as_it_went_in_and_no_younger() {
    let clock = clock_reading();
    let stored = decode(NAMES, &encoded(&image(100)), &clock).unwrap();
    assert_eq!(stored.watermark, AT);
    let (landed, freshness) = stored
        .into_cached(&Policy::default(), &clock, clock.replied)
        .unwrap();
    assert_eq!(freshness, Freshness::Fresh);
    assert_eq!(workspace(&landed), Some("15945"));
    let CachedAnswer::Image(entry) = landed else {
        panic!("no image")
    };
    assert_eq!(entry.body(), BODY);
    assert_eq!(entry.ttl(), Duration::from_secs(3600));
    let age = entry.age(clock.replied);
    assert!((Duration::from_secs(100)..Duration::from_millis(100_010)).contains(&age));
    assert!(!entry.restored);
}

#[test]
fn the_start_can_be_read_by_a_script() {
    let text = String::from_utf8_lossy(&encoded(&image(100))).into_owned();
    let [sent, till] = [&text[..16], &text[16..32]].map(|digits| digits.parse::<u64>().unwrap());
    assert_eq!(till - sent, 3_600_000);
    assert!((1_799_999_899_990..=1_799_999_900_000).contains(&sent));
}

#[test]
fn a_negative_answer_comes_out_as_it_went_in() {
    let clock = clock_reading();
    for kind in [NegativeKind::NotFound, NegativeKind::Forbidden] {
        let stored = decode(NAMES, &encoded(&no(kind)), &clock).unwrap();
        let landed = stored.into_cached(&Policy::default(), &clock, clock.replied);
        let Some((CachedAnswer::Negative(read), _)) = landed else {
            panic!("no negative")
        };
        assert_eq!(read.kind, kind);
        assert_eq!(read.error.code, "ImageNotFound");
        assert_eq!(read.error.status, 404);
        assert_eq!(read.error.request_id, "R-1");
        assert_eq!(read.took, Duration::from_millis(40));
    }
}

#[test]
fn a_value_that_has_expired_here_is_not_used() {
    let clock = clock_reading();
    let stored = decode(NAMES, &encoded(&image(100)), &clock).unwrap();
    let strict = Policy {
        max: crate::units::HumanDuration::secs(60),
        ..Policy::default()
    };
    let (_, freshness) = stored.into_cached(&strict, &clock, clock.replied).unwrap();
    assert_ne!(freshness, Freshness::Fresh);
    let late = clock.replied + Duration::from_secs(11);
    let stored = decode(NAMES, &encoded(&no(NegativeKind::NotFound)), &clock).unwrap();
    assert!(
        stored
            .into_cached(&Policy::default(), &clock, late)
            .is_none()
    );
}

#[test]
fn each_kind_of_unusable_value_has_its_error() {
    let clock = clock_reading();
    let unfit = |bytes: &[u8]| decode(NAMES, bytes, &clock).unwrap_err();
    let good = encoded(&image(1));
    assert_eq!(unfit(b""), DecodeError::Foreign);
    assert_eq!(
        unfit(b"a session of some other program, long enough to be one"),
        DecodeError::Foreign
    );
    assert_eq!(unfit(&good[..20]), DecodeError::Foreign);
    let mut newer = good.clone();
    newer[36] = 2;
    assert_eq!(unfit(&newer), DecodeError::Version);
    assert_eq!(unfit(&good[..good.len() - 1]), DecodeError::Corrupt);
    // Another image's value under this name.
    let elsewhere = ["pai:1:x:{b}:image", "pai:1:x:{b}:no"];
    assert_eq!(
        decode(elsewhere, &good, &clock).unwrap_err(),
        DecodeError::Corrupt
    );
}

proptest! {
    #[test]
    fn one_changed_byte_is_found_wherever_it_is(at in any::<prop::sample::Index>(), to in any::<u8>(), is_image in any::<bool>()) {
        let mut bytes = encoded(&if is_image { image(5) } else { no(NegativeKind::NotFound) });
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != to);
        bytes[at] = to;
        prop_assert!(decode(NAMES, &bytes, &clock_reading()).is_err());
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let sealed = [&b"00000000000000000000000000000000PAIV\x01"[..], &bytes].concat();
        prop_assert!(decode(NAMES, &bytes, &clock_reading()).is_err());
        prop_assert!(decode(NAMES, &sealed, &clock_reading()).is_err());
        for name in NAMES {
            let sum = sum(name, &sealed);
            let whole = [&sealed[..], &sum].concat();
            if let Ok(stored) = decode(NAMES, &whole, &clock_reading()) {
                let _landed = stored.into_cached(&Policy::default(), &clock_reading(), clock_reading().replied);
            }
        }
    }
}
