//! A guard against heads that two readers could end at different places.
//!
//! Invalid header lines of an answer are ignored, as the vendor's SDKs ignore them, but not where such a line seems to
//! mean the answer's length: then the one who wrote it and this gateway may disagree on where the next answer begins
//! (RFC 9112 §11.1). The connection fails instead.

use super::MAX_HEAD;

/// The head of an answer while it comes.
#[derive(Debug, Default)]
pub(super) struct Head {
    bytes: Vec<u8>,
    is_complete: bool,
}

/// A header line that means the answer's length but is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a header line about the answer's length is malformed")]
pub(super) struct Ambiguous;

impl Head {
    /// Takes what was read next. Bytes behind the head are not looked at.
    ///
    /// # Errors
    /// [`Ambiguous`], once the head is complete.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(), Ambiguous> {
        if self.is_complete {
            return Ok(());
        }
        let mut seen = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        while let Some(end) = end_of_head(&self.bytes, seen) {
            check(&self.bytes[..end])?;
            // What follows an interim answer is a head too.
            self.is_complete = !is_interim(&self.bytes);
            if self.is_complete {
                break;
            }
            self.bytes.drain(..end);
            seen = 0;
        }
        if self.is_complete || self.bytes.len() > MAX_HEAD {
            *self = Self {
                bytes: Vec::new(),
                is_complete: true,
            };
        }
        Ok(())
    }
}

/// Where the first empty line ends. What was `seen` before holds none.
fn end_of_head(bytes: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(3).min(bytes.len());
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

fn check(head: &[u8]) -> Result<(), Ambiguous> {
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
            return Err(Ambiguous);
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

    fn read(head: &str) -> Result<(), Ambiguous> {
        Head::default().read(head.as_bytes())
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
            assert_eq!(read(&with(bad)), Err(Ambiguous), "{bad}");
            assert_eq!(read(&with(bad).replace('\r', "")), Err(Ambiguous), "{bad}");
        }
    }

    #[test]
    fn a_head_is_read_in_any_pieces_and_a_body_is_not_looked_at() {
        let bad = with("Content-Length\x0b: 2");
        for size in 1..bad.len() {
            let mut head = Head::default();
            let pieces = bad.as_bytes().chunks(size);
            let read: Vec<_> = pieces.map(|piece| head.read(piece)).collect();
            assert!(read.contains(&Err(Ambiguous)), "{size}");
        }
        let body = "HTTP/1.1 200 OK\r\n\r\nContent-Length 2\r\n\r\n";
        let mut head = Head::default();
        for piece in body.as_bytes().chunks(5) {
            assert_eq!(head.read(piece), Ok(()));
        }
    }

    #[test]
    fn what_follows_an_interim_answer_is_a_head_too() {
        let early = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".repeat(2);
        assert_eq!(read(&(early.clone() + &with("Content-Length: 2"))), Ok(()));
        let bad = early + &with("Content-Length\x0b: 2");
        assert_eq!(read(&bad), Err(Ambiguous));
    }
}
