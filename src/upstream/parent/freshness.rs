//! Freshness of a parent gateway's answer, from its `Age` (RFC 9111 §5.1) and `Cache-Status` (RFC 9211). Behind this
//! file an answer has an age and a cap, wherever it came from.

use std::time::Duration;

use http::header::{AGE, CACHE_STATUS};
use sfv::{BareItem, Item, List, ListEntry, Parser};
use tokio::time::Instant;

use crate::observability::outcome::StaleReason;
use crate::transport::Reply;
use crate::upstream::UpstreamFreshness;

/// Name of this program in a member of `Cache-Status`.
const NAME: &str = "pai-image-gateway";
/// Unit of `Age`, by which the true age may be greater.
const AGE_UNIT: Duration = Duration::from_secs(1);

/// Reads the freshness of the reply to a request that was sent at `sent`, and a time after which the origin was
/// certainly asked for it; `None` if that lies before all times. Unreadable headers count as absent, and an absent
/// `Age` as zero.
pub(super) fn read(reply: &Reply, sent: Instant) -> (UpstreamFreshness, Option<Instant>) {
    let age = parse_age(reply.header(AGE.as_str()));
    let caches = Caches::parse(&reply.list(CACHE_STATUS.as_str()));
    let freshness = caches.freshness(age);
    let asked_after = if caches.is_forwarded() && age.is_zero() {
        Some(sent)
    } else {
        sent.checked_sub(freshness.initial_age() + AGE_UNIT)
    };
    (freshness, asked_after)
}

/// Parses the first age of a list, as RFC 9111 §5.1 asks.
fn parse_age(text: &str) -> Duration {
    let first = text.split(',').next().unwrap_or("").trim();
    let is_number = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit());
    // All digits and no number that fits: very old.
    let seconds = if is_number {
        first.parse().unwrap_or(u64::MAX)
    } else {
        0
    };
    Duration::from_secs(seconds)
}

/// Members of `Cache-Status`: the caches that handled a request, that nearest to the origin first.
struct Caches(Vec<Item>);

impl Caches {
    /// Parses a list of items (RFC 9651 §4.2); one that is malformed anywhere counts as absent.
    fn parse(text: &str) -> Self {
        let list: List = Parser::new(text).parse().unwrap_or_default();
        let items = list.into_iter().map(|entry| match entry {
            ListEntry::Item(item) => Some(item),
            ListEntry::InnerList(_) => None,
        });
        Self(items.collect::<Option<_>>().unwrap_or_default())
    }

    /// Returns the freshness of an answer of this age, by the ttl of the nearest gateway, and by the reason of the
    /// nearest that gives one if that gateway only passed the answer on.
    fn freshness(&self, age: Duration) -> UpstreamFreshness {
        let is_gateway = |item: &&Item| text_of(&item.bare_item) == Some(NAME);
        let mut gateways = self.0.iter().rev().filter(is_gateway).peekable();
        let left = gateways.peek().and_then(|nearest| ttl(nearest));
        let among = if left.is_some() { 1 } else { usize::MAX };
        UpstreamFreshness::new(age, left, gateways.take(among).find_map(stale_reason))
    }

    /// Returns whether every cache passed the request on, and none let it wait for another's.
    fn is_forwarded(&self) -> bool {
        let has = |key: &str| self.0.iter().any(|item| item.params.contains_key(key));
        has("fwd") && !has("hit") && !has("collapsed")
    }
}

fn ttl(member: &Item) -> Option<i64> {
    member.params.get("ttl")?.as_integer().map(i64::from)
}

fn stale_reason(member: &Item) -> Option<StaleReason> {
    text_of(member.params.get("detail")?)?.parse().ok()
}

/// Returns the text of a token or a string, which RFC 9211 lets stand for each other.
fn text_of(item: &BareItem) -> Option<&str> {
    let token = item.as_token().map(|token| token.as_str());
    token.or_else(|| item.as_string().map(|string| string.as_str()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;
    use crate::transport::Connection;
    use crate::upstream::freshness::MAX_AGE;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn reply(age: &str, statuses: &[&str]) -> Reply {
        let mut headers = HeaderMap::new();
        let mut add = |name: HeaderName, text: &str| {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.append(name, value);
            }
        };
        add(AGE, age);
        for status in statuses {
            add(CACHE_STATUS, status);
        }
        Reply {
            status: 200,
            headers,
            body: Bytes::new(),
            connection: Connection::default(),
        }
    }

    fn freshness(age: &str, status: &str) -> UpstreamFreshness {
        read(&reply(age, &[status]), Instant::now()).0
    }

    #[test]
    fn an_age_that_cannot_be_read_counts_as_none() {
        for (text, expected) in [
            ("", 0),
            ("0", 0),
            ("17", 17),
            (" 17 , 99", 17),
            ("-1", 0),
            ("+5", 0),
            ("1.5", 0),
            ("soon", 0),
            ("2678400", 2_678_400),
            ("2678401", 2_678_400),
            ("99999999999999999999999999", 2_678_400),
        ] {
            let read = freshness(text, "").initial_age();
            assert_eq!(read, secs(expected), "{text}");
        }
    }

    #[test]
    fn the_nearest_gateway_tells_the_ttl_and_the_reason() {
        use StaleReason::{OriginError, Revalidating};
        for (status, left, reason) in [
            ("", None, None),
            ("pai-image-gateway; hit; ttl=20", Some(20), None),
            ("pai-image-gateway;hit;ttl=0", Some(0), None),
            ("pai-image-gateway; hit; ttl=-30", Some(-30), None),
            (
                "pai-image-gateway; hit; ttl=-5; detail=revalidating",
                Some(-5),
                Some(Revalidating),
            ),
            (
                "\"pai-image-gateway\"; hit; ttl=-5; detail=\"revalidating\"",
                Some(-5),
                Some(Revalidating),
            ),
            (
                "pai-image-gateway; hit; ttl=50; detail=origin-error",
                Some(0),
                Some(OriginError),
            ),
            ("pai-image-gateway; fwd=uri-miss; stored", None, None),
            ("nginx; hit; ttl=9", None, None),
            (
                "pai-image-gateway; hit; ttl=1, nginx; hit; ttl=9",
                Some(1),
                None,
            ),
            (
                "pai-image-gateway; hit; ttl=1, pai-image-gateway; fwd=uri-miss; stored",
                None,
                None,
            ),
            // The parent passed on what its own parent could not renew.
            (
                "pai-image-gateway; hit; ttl=-9; detail=origin-error, pai-image-gateway; fwd=uri-miss; stored",
                None,
                Some(OriginError),
            ),
            ("pai-image-gateway; hit; ttl=x; detail=y", None, None),
            ("pai-image-gateway; hit; ttl=1.5", None, None),
            ("pai-image-gateway; hit; ttl=1; ttl=2", Some(2), None),
            // Malformed, so that nothing of it counts.
            ("pai-image-gateway; hit; ttl=1, nginx; HIT", None, None),
            ("pai-image-gateway; hit; ttl=9999999999999999", None, None),
            ("pai-image-gateway; hit; ttl=1, (nginx varnish)", None, None),
        ] {
            let read = freshness("100", status);
            let expected = UpstreamFreshness::new(secs(100), left, reason);
            assert_eq!(read, expected, "{status}");
        }
    }

    #[test]
    fn a_list_may_come_in_several_lines() {
        let lines = ["pai-image-gateway; hit; ttl=1", "nginx; fwd=miss"];
        let (read, _) = read(&reply("3", &lines), Instant::now());
        assert_eq!(read, UpstreamFreshness::new(secs(3), Some(1), None));
    }

    #[test]
    fn an_answer_from_memory_may_be_a_second_older_than_it_says() {
        let own = "pai-image-gateway; fwd=request; stored";
        let joined = "pai-image-gateway; fwd=uri-miss; collapsed";
        // The parent's own parent answered from memory.
        let above = "pai-image-gateway; hit; ttl=30, pai-image-gateway; fwd=request; stored";
        for (age, status, before) in [
            ("0", own, 0),
            ("0", "pai-image-gateway; fwd=uri-miss; stored", 0),
            (
                "0",
                "nginx; fwd=miss, pai-image-gateway; fwd=request; stored",
                0,
            ),
            ("1", own, 2),
            ("0", joined, 1),
            ("1", joined, 2),
            ("0", "pai-image-gateway; hit; ttl=30", 1),
            ("1", "pai-image-gateway; hit; ttl=30", 2),
            (
                "600",
                "pai-image-gateway; hit; ttl=-500; detail=origin-error",
                601,
            ),
            ("0", above, 1),
            ("7", above, 8),
            ("0", "nginx; hit, pai-image-gateway; fwd=request; stored", 1),
            ("0", "pai-image-gateway", 1),
            ("", "", 1),
        ] {
            let sent = Instant::now();
            let (_, asked_after) = read(&reply(age, &[status]), sent);
            assert_eq!(asked_after, Some(sent - secs(before)), "{age} {status}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_read_within_bounds(
            age in ".{0,30}", status in ".{0,60}", left in -999_999_999_999_999i64..=999_999_999_999_999,
        ) {
            let read = freshness(&age, &status);
            prop_assert!(read.initial_age() <= MAX_AGE && read.ttl_cap().is_none_or(|ttl| ttl <= 2 * MAX_AGE));
            let read = freshness("60", &format!("pai-image-gateway; hit; ttl={left}"));
            prop_assert!(read.ttl_cap().is_some_and(|ttl| ttl <= 2 * MAX_AGE));
            prop_assert_eq!(read.left(), Some(left.clamp(-60, 2 * 2_678_400 - 60)));
        }
    }
}
