//! Header values that end in a number of seconds.
//!
//! Ages and ttls are small numbers that come again with every hit, so each text is made once and kept.

use std::sync::OnceLock;

use http::HeaderValue;

/// Numbers below this are kept: those of the longest default ttl and its stale window.
const KEPT: usize = 4_300;

/// Texts of one form, by their number.
pub(super) struct Seconds {
    start: &'static str,
    kept: [OnceLock<HeaderValue>; KEPT],
}

impl Seconds {
    pub(super) const fn new(start: &'static str) -> Self {
        Self {
            start,
            kept: [const { OnceLock::new() }; KEPT],
        }
    }

    /// The value that ends in this number.
    pub(super) fn header(&self, seconds: u64) -> HeaderValue {
        let kept = usize::try_from(seconds)
            .ok()
            .and_then(|at| self.kept.get(at));
        match kept {
            Some(kept) => kept.get_or_init(|| self.make_for_good(seconds)).clone(),
            None => self.make(seconds),
        }
    }

    fn make(&self, seconds: u64) -> HeaderValue {
        HeaderValue::try_from(self.text(seconds)).expect(SOUND)
    }

    /// It is never given back, so that a copy of it counts no references.
    fn make_for_good(&self, seconds: u64) -> HeaderValue {
        HeaderValue::from_static(self.text(seconds).leak())
    }

    fn text(&self, seconds: u64) -> String {
        format!("{}{seconds}", self.start)
    }
}

const SOUND: &str = "a start in ASCII and digits make a header";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_its_own_text() {
        static TTLS: Seconds = Seconds::new("ttl=");
        for seconds in [0, 9, 10, 4_299, 4_300, u64::MAX, 0, 9] {
            assert_eq!(TTLS.header(seconds), format!("ttl={seconds}"));
        }
    }
}
