//! Facts about the origin, as far as one run shows them. Pure: answers in, facts out.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::pages::PageTry;
use crate::cache::catalogue::{added_members, differences};
use crate::transport::Reply;

/// Facts of one run, each as the answers showed it; a fact that no answer showed is empty or `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Facts {
    /// Image that was asked for.
    pub(super) image: String,
    /// Calls that were made; a retried one counts once.
    pub(super) calls: u32,
    pub(super) missing_image: MissingImage,
    /// Headers about the account's quota, of an answer of GetImage.
    pub(super) quota: BTreeMap<&'static str, String>,
    /// `Cache-Control` of that answer.
    pub(super) cache_control: Option<String>,
    /// `ETag` of that answer.
    pub(super) etag: Option<Etag>,
    /// Members that an answer has with `Verbose=true` alone.
    pub(super) verbose_members: Vec<String>,
    /// Members in which a list's item differs from GetImage; `None` if no list shows the image.
    pub(super) item_differences: Option<ItemDifferences>,
    /// Pages that were asked for, in that order.
    pub(super) pages: Vec<PageTry>,
    /// `None` if no answer has a date.
    pub(super) clock: Option<ClockOffset>,
}

/// Answer of the origin for an id that does not exist.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct MissingImage {
    pub(super) status: u16,
    /// Empty where the answer has none.
    pub(super) code: String,
    pub(super) meaning: Meaning,
}

/// Meaning of that answer for the gateway with its present settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Meaning {
    /// The image does not exist.
    #[default]
    NotFound,
    /// The credential may not see the image.
    Forbidden,
    /// The request is invalid, for a reason that the settings do not name.
    Refused,
    /// The answer is not the API's, because it has no Code.
    Foreign,
}

/// `ETag` of two answers for one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Etag {
    /// Both have the same.
    Stable,
    /// Each has its own.
    Changes,
}

/// Members in which an item and an answer of GetImage differ, by Verbose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct ItemDifferences {
    #[serde(rename = "false")]
    pub(super) plain: Vec<String>,
    #[serde(rename = "true")]
    pub(super) verbose: Vec<String>,
}

/// Offset of the origin's clock from this machine's: positive where the origin's is ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClockOffset {
    pub(super) offset: SignedDuration,
    /// Half of the round trip, and half of the second that a date is exact to.
    pub(super) uncertainty: SignedDuration,
}

impl ClockOffset {
    /// Computes the offset from the date of an answer, the time at which it was complete and the time that it took.
    pub(super) fn new(date: Timestamp, received: Timestamp, took: Duration) -> Self {
        let took = SignedDuration::try_from(took).unwrap_or_default();
        let second = SignedDuration::from_secs(1);
        let uncertainty = (took + second) / 2;
        Self {
            offset: date.duration_since(received) + uncertainty,
            uncertainty,
        }
    }

    /// Returns the least difference of the clocks that the measurement proves; zero for none.
    pub(super) fn at_least(self) -> SignedDuration {
        (self.offset.abs() - self.uncertainty).max(SignedDuration::ZERO)
    }
}

impl Facts {
    /// Takes the headers of two answers for the same image.
    pub(super) fn read_headers(&mut self, first: &Reply, second: &Reply) {
        let value = |name: &str| Some(first.list(name)).filter(|value| !value.is_empty());
        for name in QUOTA_HEADERS {
            if let Some(value) = value(name) {
                self.quota.insert(name, value);
            }
        }
        self.cache_control = value("cache-control");
        self.etag = value("etag").map(|etag| {
            if etag == second.list("etag") {
                Etag::Stable
            } else {
                Etag::Changes
            }
        });
    }

    /// Takes the members that Verbose adds. `false` if one of the bodies is no object.
    pub(super) fn read_verbose(&mut self, plain: &[u8], verbose: &[u8]) -> bool {
        let added = added_members(plain, verbose);
        let is_readable = added.is_some();
        self.verbose_members = added.unwrap_or_default();
        is_readable
    }

    /// Compares the items of a list with answers of GetImage, each without and with labels.
    pub(super) fn read_items(&mut self, items: [Option<&str>; 2], answers: [&[u8]; 2]) {
        let compared = |at: usize| differences(items[at]?.as_bytes(), answers[at]);
        self.item_differences = compared(0)
            .zip(compared(1))
            .map(|(plain, verbose)| ItemDifferences { plain, verbose });
    }
}

/// Headers of the vendor's flow control.
const QUOTA_HEADERS: [&str; 2] = ["x-ratelimit-user-api", "x-ratelimit-user"];

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: i64) -> SignedDuration {
        SignedDuration::from_millis(millis)
    }

    /// A date is the beginning of the second in which it was written, at some time of the round trip.
    #[test]
    fn the_offset_is_known_to_half_the_round_trip_and_half_a_second() {
        let received: Timestamp = "2026-11-26T12:00:10.4Z".parse().unwrap();
        for (date, took, offset, uncertainty, at_least) in [
            // Written between 12:00:10.0 and 12:00:11.0, sent here between 12:00:10.2 and 12:00:10.4.
            ("2026-11-26T12:00:10Z", 200, 200, 600, 0),
            ("2026-11-26T12:01:10Z", 200, 60_200, 600, 59_600),
            ("2026-11-26T11:59:10Z", 200, -59_800, 600, 59_200),
            ("2026-11-26T12:00:08Z", 4_000, 100, 2_500, 0),
        ] {
            let date = date.parse().unwrap();
            let clock = ClockOffset::new(date, received, Duration::from_millis(took));
            assert_eq!(clock.offset, millis(offset), "{date}");
            assert_eq!(clock.uncertainty, millis(uncertainty), "{date}");
            assert_eq!(clock.at_least(), millis(at_least), "{date}");
        }
    }
}
