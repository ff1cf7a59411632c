//! Check of response heads, against response splitting and endless interim responses.
//!
//! Invalid header lines of a response are ignored, as the vendor's SDKs do, unless such a line seems to state the
//! body's length: then the sender and this gateway may disagree on where the next response begins (RFC 9112 §11.1).
//! The connection fails instead.
//!
//! Interim responses of one request are bounded here too. hyper drops each and reads on for as long as bytes are there,
//! so a server that sends nothing else keeps the connection's task from yielding, and blocks a worker of the runtime
//! together with its other tasks and timers.

use super::MAX_HEAD;

/// Number of interim responses (1xx) to one request; Go's client accepts 5, and RFC 9110 §15.2 sets no limit. Together
/// with the final head they may have [`MAX_HEAD`] bytes.
const MAX_INTERIM: usize = 16;

/// Head of a response that is being received.
#[derive(Debug, Default)]
pub(super) struct ResponseHead {
    bytes: Vec<u8>,
    /// Position behind the interim responses.
    start: usize,
    interim: usize,
    is_complete: bool,
}

/// Head for which the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidHead {
    /// A malformed header line seems to state the body's length.
    #[error("a header line about the response's length is malformed")]
    Ambiguous,
    /// Interim responses do not end.
    #[error("more than {MAX_INTERIM} interim responses (1xx), or {MAX_HEAD} bytes of them")]
    TooManyInterim,
}

impl ResponseHead {
    /// Returns whether the whole head was received: until another request is written, the bytes that follow are the body.
    pub(super) const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Appends the bytes that were read next, and ignores those behind the head.
    ///
    /// # Errors
    /// [`InvalidHead`] for an ambiguous line, once its head is complete, and for too many interim responses.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(), InvalidHead> {
        if self.is_complete {
            return Ok(());
        }
        let mut seen = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        while let Some(end) = self.next_end(seen) {
            let head = &self.bytes[self.start..end];
            check(head)?;
            // An interim response is followed by another head, not by a body.
            if !is_interim(head) {
                return self.complete();
            }
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Err(InvalidHead::TooManyInterim);
            }
            (self.start, seen) = (end, end);
        }
        match self.bytes.len() > MAX_HEAD {
            false => Ok(()),
            true if self.interim > 0 => Err(InvalidHead::TooManyInterim),
            // hyper rejects a head of this length itself.
            true => self.complete(),
        }
    }

    /// Returns the position behind the next head. Empty lines before a head are skipped, as hyper does.
    fn next_end(&mut self, seen: usize) -> Option<usize> {
        let rest = self.bytes[self.start..].iter();
        let empty = rest.take_while(|byte| matches!(byte, b'\r' | b'\n'));
        self.start += empty.count();
        let from = seen.saturating_sub(3).max(self.start);
        end_of_head(&self.bytes, from)
    }

    fn complete(&mut self) -> Result<(), InvalidHead> {
        *self = Self {
            is_complete: true,
            ..Self::default()
        };
        Ok(())
    }
}

/// Returns the position behind the first empty line at or after `from`.
fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    let ends = |at: usize| {
        let rest = &bytes[at..];
        rest.starts_with(b"\n\n") || rest.starts_with(b"\n\r\n")
    };
    let at = (from..bytes.len()).find(|at| ends(*at))?;
    Some(at + if bytes[at + 1] == b'\n' { 2 } else { 3 })
}

fn is_interim(head: &[u8]) -> bool {
    head.get(8..10) == Some(b" 1") && head.get(8..12) != Some(b" 101")
}

fn check(head: &[u8]) -> Result<(), InvalidHead> {
    let lines = head.split(|byte| *byte == b'\n').skip(1);
    for line in lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)) {
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or(line.len()));
        let is_clean = colon.is_some()
            && is_framing(name.trim_ascii_end())
            && !value
                .iter()
                .any(|byte| byte.is_ascii_control() && *byte != b'\t');
        if is_framing(&letters(name)) && !is_clean {
            return Err(InvalidHead::Ambiguous);
        }
    }
    Ok(())
}

fn is_framing(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"transfer-encoding")
}

/// Returns the letters and hyphens of a name, so that a garbled `Content-Length` is recognized.
fn letters(name: &[u8]) -> Vec<u8> {
    let kept = name.iter().copied();
    kept.filter(|byte| byte.is_ascii_alphabetic() || *byte == b'-')
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str) -> Result<(), InvalidHead> {
        ResponseHead::default().read(head.as_bytes())
    }

    fn with(line: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nDate: x\r\n{line}\r\n\r\n{{}}")
    }

    #[test]
    fn lines_about_the_length_must_be_well_formed() {
        for good in [
            "Content-Length: 2",
            "content-length \t: 2",
            "Transfer-Encoding:\tchunked",
            "X Y: z",
            "no header",
            "\u{e9}: x\x01",
            "X-Content-Length: \x01",
            "X-Folded: a\r\n b",
        ] {
            assert_eq!(read(&with(good)), Ok(()), "{good}");
            assert_eq!(read(&with(good).replace('\r', "")), Ok(()), "{good}");
        }
        for bad in [
            "Content-Length\x0b: 2",
            " Content-Length: 2",
            "Content-Length 2",
            "Content-Length: 2\x01",
            "\"Content-Length\": 2",
            "Transfer-Encoding\u{a0}: chunked",
            "Transfer-Encoding: chunked\x7f",
            "tRANSFER-eNCODING;: chunked",
        ] {
            assert_eq!(read(&with(bad)), Err(InvalidHead::Ambiguous), "{bad}");
            assert_eq!(
                read(&with(bad).replace('\r', "")),
                Err(InvalidHead::Ambiguous),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_head_is_read_in_any_pieces_and_a_body_is_not_looked_at() {
        let bad = with("Content-Length\x0b: 2");
        for size in 1..bad.len() {
            let mut head = ResponseHead::default();
            let pieces = bad.as_bytes().chunks(size);
            let read: Vec<_> = pieces.map(|piece| head.read(piece)).collect();
            assert!(read.contains(&Err(InvalidHead::Ambiguous)), "{size}");
        }
        let body = "HTTP/1.1 200 OK\r\n\r\nContent-Length 2\r\n\r\n";
        let mut head = ResponseHead::default();
        for piece in body.as_bytes().chunks(5) {
            assert_eq!(head.read(piece), Ok(()));
        }
    }

    #[test]
    fn an_interim_response_is_followed_by_another_head() {
        let early = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".repeat(2);
        assert_eq!(read(&(early.clone() + &with("Content-Length: 2"))), Ok(()));
        let bad = early + &with("Content-Length\x0b: 2");
        assert_eq!(read(&bad), Err(InvalidHead::Ambiguous));
    }

    #[test]
    fn interim_answers_end_at_a_number_and_at_a_size() {
        let early = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
        let last = with("Content-Length: 2");
        assert_eq!(read(&(early.repeat(MAX_INTERIM) + &last)), Ok(()));
        for many in [
            early.repeat(MAX_INTERIM + 1),
            early.replace('\r', "").repeat(MAX_INTERIM + 1),
            format!("\r\n\n{early}").repeat(MAX_INTERIM + 1),
            early
                .replace("103 Early Hints", "199")
                .repeat(MAX_INTERIM + 1),
        ] {
            assert_eq!(read(&many), Err(InvalidHead::TooManyInterim), "{many}");
        }
        let long = early.replace('x', &"x".repeat(MAX_HEAD / 2));
        assert_eq!(read(&long.repeat(2)), Err(InvalidHead::TooManyInterim));
        assert_eq!(read(&(long + &last)), Ok(()));
    }

    #[test]
    fn interim_answers_are_counted_however_they_are_cut() {
        let many = "\r\nHTTP/1.1 100 Continue\r\n\r\n".repeat(MAX_INTERIM + 1);
        for size in 1..64 {
            let mut head = ResponseHead::default();
            let pieces = many.as_bytes().chunks(size);
            let read: Vec<_> = pieces.map(|piece| head.read(piece)).collect();
            assert!(read.contains(&Err(InvalidHead::TooManyInterim)), "{size}");
        }
    }
}
