//! Bound on the length of a server's reply, counted as its bytes arrive.
//!
//! The library buffers a reply until it is complete, so a value of gigabytes or an endless list would let
//! the server decide how much memory the gateway uses. The meter reads only the framing (RESP 2 and 3):
//! lines, some of which announce bytes and some further elements.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bound on the bytes of one reply, framing included: more than a page of the log or a value can have.
pub(super) const LONGEST_REPLY: u64 = 8 << 20;
/// Bytes of a line that are kept: its kind and a number of up to 20 digits.
const LOOKED_AT: usize = 24;

/// Stream whose reads fail once a reply is longer than [`LONGEST_REPLY`].
pub(super) struct Metered<S> {
    stream: S,
    meter: Meter,
}

impl<S> Metered<S> {
    pub(super) fn new(stream: S) -> Self {
        let meter = Meter::default();
        Self { stream, meter }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let came = &buffer.filled()[before..];
        Poll::Ready(self.meter.count(came).map_err(io::Error::other))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Returns the length that a line announces: 0 where it is no number or a negative one, which stands for
/// null, and the greatest possible where it is out of range.
fn length_of(digits: &str) -> u64 {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let out_of_range = if is_number { u64::MAX } else { 0 };
    digits.parse().unwrap_or(out_of_range)
}

/// Error of a reply that is longer than [`LONGEST_REPLY`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a reply of more than {LONGEST_REPLY} bytes")]
struct TooLong;

/// Parser of the framing, which keeps its place within the current reply between reads.
#[derive(Debug, Default)]
struct Meter {
    /// Bytes of this reply so far, announced ones included.
    bytes: u64,
    /// Elements still to come; 0 between two replies.
    elements: u64,
    /// Bytes still to come of the current string, its line end included.
    string: u64,
    line: Vec<u8>,
}

impl Meter {
    fn count(&mut self, mut came: &[u8]) -> Result<(), TooLong> {
        while let Some(first) = came.first() {
            if self.string > 0 {
                let taken = came
                    .len()
                    .min(usize::try_from(self.string).unwrap_or(usize::MAX));
                self.string -= taken as u64;
                came = &came[taken..];
                continue;
            }
            if self.elements == 0 && self.line.is_empty() {
                (self.elements, self.bytes) = (1, 0);
            }
            self.add(1)?;
            if self.line.len() < LOOKED_AT {
                self.line.push(*first);
            }
            if *first == b'\n' {
                self.end_line()?;
            }
            came = &came[1..];
        }
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), TooLong> {
        let line = std::mem::take(&mut self.line);
        let kind = line.first().copied().unwrap_or_default();
        let number = line
            .get(1..)
            .and_then(|rest| std::str::from_utf8(rest).ok());
        let number = number.map_or(0, |text| length_of(text.trim_end()));
        self.elements = self.elements.saturating_sub(1);
        match kind {
            b'$' | b'=' | b'!' if line.get(1) != Some(&b'-') => {
                self.string = number.saturating_add(2);
                self.add(self.string)?;
            }
            b'*' | b'~' | b'>' => self.expect(number)?,
            b'%' => self.expect(number.saturating_mul(2))?,
            // Attributes precede the reply that they belong to, so one more element follows.
            b'|' => self.expect(number.saturating_mul(2).saturating_add(1))?,
            _ => {}
        }
        Ok(())
    }

    /// Adds announced elements. Each has a line of at least three bytes, which bounds their number.
    fn expect(&mut self, elements: u64) -> Result<(), TooLong> {
        self.elements = self.elements.saturating_add(elements);
        if self.elements > LONGEST_REPLY / 3 {
            return Err(TooLong);
        }
        Ok(())
    }

    fn add(&mut self, bytes: u64) -> Result<(), TooLong> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > LONGEST_REPLY {
            return Err(TooLong);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole at once, and byte by byte.
    fn count(parts: &[&[u8]]) -> Result<(), TooLong> {
        let whole = parts.concat();
        let (mut at_once, mut by_bytes) = (Meter::default(), Meter::default());
        let counted = at_once.count(&whole);
        let again = whole.chunks(1).try_for_each(|byte| by_bytes.count(byte));
        assert_eq!(counted, again);
        counted
    }

    #[test]
    fn expected_replies_pass_however_often_they_come() {
        let long = vec![b'x'; 1 << 20];
        let string = [&b"$1048576\r\n"[..], &long, b"\r\n"].concat();
        let list = [&b"*5\r\n:1\r\n:0\r\n"[..], &string, b"$0\r\n\r\n$-1\r\n"].concat();
        let mut meter = Meter::default();
        for _ in 0..32 {
            assert_eq!(meter.count(&list), Ok(()));
            assert_eq!((meter.elements, meter.string, meter.line.len()), (0, 0, 0));
        }
        for reply in [
            &b"+OK\r\n"[..],
            b"-ERR $9999999999\r\n",
            b"_\r\n#t\r\n,1.5\r\n",
            b"%1\r\n$5\r\nproto\r\n:3\r\n",
            b"|1\r\n+k\r\n+v\r\n*1\r\n*0\r\n",
            b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\n\r\n\r\n",
            b"*-1\r\n$4\r\n$9*9\r\n",
        ] {
            assert_eq!(count(&[reply]), Ok(()));
        }
        let mut meter = Meter::default();
        meter.count(b"|1\r\n+k\r\n+v\r\n").unwrap();
        assert_eq!(meter.elements, 1, "the reply itself is still to come");
    }

    #[test]
    fn a_reply_that_announces_too_much_is_refused_before_it_comes() {
        for reply in [
            &b"$8388607\r\n"[..],
            b"=99999999999999999999\r\n$9999999999\r\n",
            b"!18446744073709551615\r\n",
            b"*2147483647\r\n",
            b"%1500000\r\n",
            b"*2\r\n$5000000\r\n",
        ] {
            let halves: [&[u8]; 2] = [reply, &[b'x'; 5_000_002]];
            let doubled = [&halves.concat()[..], b"$5000000\r\n"];
            assert_eq!(count(&doubled), Err(TooLong), "{}", reply.escape_ascii());
        }
    }

    #[test]
    fn an_endless_reply_is_refused() {
        let line = vec![b'x'; 1 << 20];
        let mut meter = Meter::default();
        let counted: Vec<_> = (0..9).map(|_| meter.count(&line)).collect();
        assert_eq!(counted.last(), Some(&Err(TooLong)));
        let mut meter = Meter::default();
        meter.count(b"*1000000\r\n").unwrap();
        let elements = b":1234567\r\n".repeat(1000);
        assert!((0..1000).any(|_| meter.count(&elements).is_err()));
    }
}
