//! A guard against heads that two readers could end at different places.
//!
//! Invalid header lines of an answer are ignored, as the vendor's SDKs ignore them, but not where such a line seems to
//! mean the answer's length: then the one who wrote it and this gateway may disagree on where the next answer begins
//! (RFC 9112 §11.1). The connection fails instead.
//!
//! Interim answers of one call are bounded here too. hyper drops each and reads on for as long as bytes are there:
//! a server that sends nothing else keeps the task of its connection from yielding, and with it a worker of the
//! runtime, whose other tasks and timers then wait.

use super::MAX_HEAD;

/// Most interim answers (1xx) of one call; Go's client takes 5, RFC 9110 §15.2 names no number. Together with the
/// answer's own head they may have [`MAX_HEAD`] bytes.
const MAX_INTERIM: usize = 16;

/// The head of an answer while it comes.
#[derive(Debug, Default)]
pub(super) struct ResponseHead {
    bytes: Vec<u8>,
    /// Where the interim answers end.
    start: usize,
    interim: usize,
    is_complete: bool,
}

/// A head that ends its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidHead {
    /// A header line means the answer's length but is none.
    #[error("a header line about the answer's length is malformed")]
    Ambiguous,
    /// Interim answers go on and on.
    #[error("more than {MAX_INTERIM} interim answers (1xx), or {MAX_HEAD} bytes of them")]
    TooManyInterim,
}

impl ResponseHead {
    /// Whether all of it has come. What is read next is its body, until another request is written.
    pub(super) const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Takes what was read next. Bytes behind the head are not looked at.
    ///
    /// # Errors
    /// [`InvalidHead`]: an ambiguous line once its head is complete, or too many interim answers.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(), InvalidHead> {
        if self.is_complete {
            return Ok(());
        }
        let mut seen = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        while let Some(end) = self.next_end(seen) {
            let head = &self.bytes[self.start..end];
            check(head)?;
            // What follows an interim answer is a head too.
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
            // hyper refuses a head so long.
            true => self.complete(),
        }
    }

    /// Position behind the next head. Empty lines before it belong to none, as hyper reads them.
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

/// Position behind the first empty line at or behind `from`.
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

/// What is left of a name without what cannot be in one of these.
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
    fn what_follows_an_interim_answer_is_a_head_too() {
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
