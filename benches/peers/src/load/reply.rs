//! The parts of a response that are counted.

use std::hash::{DefaultHasher, Hasher};
use std::io::{Error, ErrorKind};

pub(super) struct Reply {
    pub(super) status: u16,
    /// A hash of its body.
    pub(super) body: u64,
    /// The server is about to close.
    pub(super) closes: bool,
}

impl Reply {
    /// `None` until it is there whole; an error for what no server here sends.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, Error> {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| ErrorKind::InvalidData)?;
        let status = head.get(9..12).and_then(|text| text.parse().ok());
        let length = value(head, "content-length").and_then(|text| text.parse::<usize>().ok());
        let (Some(status), Some(length)) = (status, length) else {
            return Err(ErrorKind::InvalidData.into());
        };
        let body = &bytes[end + 4..];
        if body.len() < length {
            return Ok(None);
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(body);
        let closes =
            value(head, "connection").is_some_and(|text| text.eq_ignore_ascii_case("close"));
        Ok(Some(Self {
            status,
            body: hasher.finish(),
            closes,
        }))
    }
}

fn value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head
        .split("\r\n")
        .skip(1)
        .filter_map(|line| line.split_once(':'));
    lines
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}
