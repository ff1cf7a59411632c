//! Finds the end of requests in a connection's bytes, as far as is needed to know that part of the next head has
//! arrived: a head that has begun must end within seconds, while a connection between requests may idle.
//!
//! A request without a body, and one with a chunked body, ends with an empty line, which the last four bytes
//! show. A request with a length ends that many bytes after its head. The end of the head is searched only if
//! the method may have a body: a GET costs one comparison.

/// Framing of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum BodyLength {
    /// A request without a body.
    None,
    /// A body of this many bytes.
    Known(u64),
    /// A chunked body.
    Chunked,
}

/// Position within the bytes of a connection.
#[derive(Debug)]
pub(super) struct HeadTracker {
    tail: [u8; 4],
    seen: HeadSearch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HeadSearch {
    /// The head is of a method without a body and is not searched.
    Unsearched,
    /// The end of the head has not come yet.
    Head,
    /// This many bytes arrived after the head.
    Behind(u64),
}

/// End of a head, and of a chunked body.
const END: [u8; 4] = *b"\r\n\r\n";

impl BodyLength {
    /// Encodes the position as one number, for an atomic.
    pub(super) const fn to_bits(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Known(length) => length,
            Self::Chunked => u64::MAX,
        }
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        match bits {
            0 => Self::None,
            u64::MAX => Self::Chunked,
            length => Self::Known(length),
        }
    }
}

impl Default for HeadTracker {
    fn default() -> Self {
        Self {
            tail: END,
            seen: HeadSearch::Unsearched,
        }
    }
}

impl HeadTracker {
    /// Records that a head begins with `first`, or continues after `excess` bytes that came before.
    pub(super) fn begin(&mut self, first: u8, excess: u64) {
        if excess == 0 && matches!(first, b'G' | b'H') {
            self.seen = HeadSearch::Unsearched;
            return;
        }
        self.seen = HeadSearch::Head;
        // Only bytes of this head may be taken for a part of its end.
        let foreign = END.len() - usize::try_from(excess).map_or(END.len(), |n| n.min(END.len()));
        self.tail[..foreign].fill(0);
    }

    /// Records the bytes of a read.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        match &mut self.seen {
            HeadSearch::Unsearched => {}
            HeadSearch::Head => {
                if let Some(behind) = bytes_after_end(self.tail, bytes) {
                    self.seen = HeadSearch::Behind(behind as u64);
                }
            }
            HeadSearch::Behind(behind) => *behind += bytes.len() as u64,
        }
        let fresh = &bytes[bytes.len().saturating_sub(END.len())..];
        self.tail.rotate_left(fresh.len());
        self.tail[END.len() - fresh.len()..].copy_from_slice(fresh);
    }

    /// Returns the number of bytes after the last request, which has ended; exact only up to four. With
    /// `pipelined`, the request's head came together with an earlier request, so that the start of its body is
    /// unknown and bytes are assumed.
    pub(super) fn excess(&self, body: BodyLength, pipelined: bool) -> u64 {
        match (body, self.seen) {
            (BodyLength::None | BodyLength::Chunked, _) if self.tail == END => 0,
            (BodyLength::Known(length), HeadSearch::Behind(behind)) if !pipelined => {
                behind.saturating_sub(length)
            }
            (BodyLength::None | BodyLength::Chunked | BodyLength::Known(_), _) => END.len() as u64,
        }
    }
}

/// Returns the number of bytes after the first end of a head; `None` without one.
fn bytes_after_end(tail: [u8; 4], bytes: &[u8]) -> Option<usize> {
    let mut seam = [0; 7];
    let fresh = bytes.len().min(3);
    seam[..4].copy_from_slice(&tail);
    seam[4..4 + fresh].copy_from_slice(&bytes[..fresh]);
    // An end within the tail alone was found before.
    let across = (1..=fresh).find(|at| seam[*at..*at + 4] == END);
    let end = match across {
        Some(at) => at,
        None => memchr::memmem::find(bytes, &END)? + END.len(),
    };
    Some(bytes.len() - end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POST: &str = "POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\n\r\n";

    fn after(pieces: &[&[u8]]) -> HeadTracker {
        let mut heads = HeadTracker::default();
        heads.begin(pieces[0][0], 0);
        for piece in pieces {
            heads.read(piece);
        }
        heads
    }

    #[test]
    fn a_request_that_came_whole_leaves_nothing() {
        let get = after(&[b"GET / HTTP/1.1\r\nHost: g\r\n\r\n"]);
        assert_eq!(get.excess(BodyLength::None, false), 0);
        let post = after(&[POST.as_bytes(), b"12345"]);
        assert_eq!(post.excess(BodyLength::Known(5), false), 0);
        let chunked = after(&[b"POST / HTTP/1.1\r\n\r\n1\r\na\r\n0\r\n\r\n"]);
        assert_eq!(chunked.excess(BodyLength::Chunked, false), 0);
    }

    #[test]
    fn a_next_head_is_seen_behind_each_kind_of_body() {
        let get = after(&[b"GET / HTTP/1.1\r\n\r\nG"]);
        assert!(get.excess(BodyLength::None, false) > 0);
        let chunked = after(&[b"POST / HTTP/1.1\r\n\r\n1\r\na\r\n0\r\n\r\nGET"]);
        assert!(chunked.excess(BodyLength::Chunked, false) > 0);
        let post = after(&[POST.as_bytes(), b"12345G"]);
        assert_eq!(post.excess(BodyLength::Known(5), false), 1);
    }

    #[test]
    fn a_body_whose_begin_is_unknown_might_have_something_behind_it() {
        let pipelined = after(&[b"GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\n\r\n12345"]);
        assert!(pipelined.excess(BodyLength::Known(5), true) > 0);
        let unexpected = after(&[b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n12345"]);
        assert!(unexpected.excess(BodyLength::Known(5), false) > 0);
    }

    #[test]
    fn the_end_of_a_body_is_no_part_of_a_heads_end() {
        let mut heads = after(&[POST.as_bytes(), b"12\r\n\r"]);
        assert_eq!(heads.excess(BodyLength::Known(5), false), 0);
        heads.begin(b'\n', 0);
        heads.read(b"\nPOST /");
        assert_eq!(heads.seen, HeadSearch::Head);
    }

    proptest! {
        /// However a request with a body, and a part of the next, is cut into pieces: the part is counted.
        #[test]
        fn bytes_after_a_body_are_counted_however_they_are_cut(
            body in prop::collection::vec(any::<u8>(), 1..40),
            next in "[A-Z]{0,20}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let head = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
            let bytes = [head.as_bytes(), &body, next.as_bytes()].concat();
            let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            at.sort_unstable();
            at.push(bytes.len());
            let (mut heads, mut from) = (HeadTracker::default(), 0);
            heads.begin(b'P', 0);
            for to in at {
                heads.read(&bytes[from..to]);
                from = to;
            }
            let length = BodyLength::Known(body.len() as u64);
            prop_assert_eq!(heads.excess(length, false), next.len() as u64);
        }
    }
}
