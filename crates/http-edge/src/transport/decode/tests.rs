use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

const BODY: &[u8] = br#"{"ImageId":"image-1","Name":"n"}"#;

#[tokio::test]
async fn members_are_joined_and_padding_is_ignored() {
    let halves = [gzip(&BODY[..9]), gzip(&BODY[9..])].concat();
    let whole = gzip(BODY);
    for (body, tail) in [
        (&halves, &b""[..]),
        (&whole, b"\0\0\0\0\0\0\0\0"),
        (&whole, b"\r\n"),
        (&whole, b"<!-- served by a proxy -->"),
        (&whole, b"\x1f"),
        (&halves, b"\0"),
    ] {
        let padded = [body, tail].concat();
        assert_eq!(gunzip(&padded, 1 << 20).await.unwrap(), BODY, "{tail:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_cut_short_or_changed_is_refused() {
    let whole = gzip(BODY);
    for end in 0..whole.len() {
        assert!(gunzip(&whole[..end], 1 << 20).await.is_err(), "{end}");
    }
    let two = [&whole[..], &whole[..]].concat();
    assert!(gunzip(&two[..two.len() - 1], 1 << 20).await.is_err());
    // The checksum and the length stand in the last eight bytes.
    for at in whole.len() - 8..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        assert!(gunzip(&changed, 1 << 20).await.is_err(), "{at}");
    }
}

#[tokio::test]
async fn output_and_members_are_bounded() {
    let zeros = gzip(&vec![0; 1 << 20]);
    assert!(matches!(
        gunzip(&zeros, (1 << 20) - 1).await,
        Err(TransportError::TooLong)
    ));
    assert_eq!(gunzip(&zeros, 1 << 20).await.unwrap().len(), 1 << 20);
    let empty = gzip(b"");
    let few = empty.repeat(MAX_MEMBERS);
    assert_eq!(gunzip(&few, 1).await.unwrap(), b"");
    let many = empty.repeat(MAX_MEMBERS + 1);
    assert!(matches!(
        gunzip(&many, 1).await,
        Err(TransportError::TooLong)
    ));
}

#[tokio::test]
async fn a_deadline_ends_the_decoding() {
    let zeros = gzip(&vec![0; 4 << 20]);
    let mut decoding = Box::pin(gunzip(&zeros, 8 << 20));
    // A chunk at a time: 64 pauses at which a deadline that has passed is noticed.
    let mut pauses = 0;
    while futures_util::FutureExt::now_or_never(&mut decoding).is_none() {
        pauses += 1;
    }
    assert!(pauses >= 64, "{pauses}");
}
