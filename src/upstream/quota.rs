//! The account's quota as the origin's headers state it, and the part of it that is reserved for urgent calls.
//!
//! The vendor's flow control answers `x-ratelimit-user-api` and `x-ratelimit-user` with
//! `Limit:100,Remain:7,TimeLeft:2000,Reset:1` (`TimeLeft` in milliseconds); the vendor's SDKs carry a
//! parser for it.

use std::time::Duration;

use tokio::time::Instant;

use super::priority::Priority;
use crate::observability::metrics::QuotaScope as Scope;
use crate::transport::Reply;

/// State of a quota at one response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QuotaReading {
    /// Calls allowed in the period.
    pub(super) limit: u64,
    /// Calls left in it.
    pub(super) remain: u64,
    /// End of the period; a later call has a new quota.
    pub(super) until: Instant,
}

/// The latest reading of each scope.
#[derive(Debug, Default)]
pub(super) struct Quota([Option<QuotaReading>; Scope::ALL.len()]);

impl Quota {
    /// Stores the readings of a response, and returns them for export.
    pub(super) fn update(&mut self, reply: &Reply, now: Instant) -> Vec<(Scope, QuotaReading)> {
        let read = |scope: Scope| {
            parse(reply.header(header_of(scope)), now).map(|reading| (scope, reading))
        };
        let readings: Vec<_> = Scope::ALL.into_iter().filter_map(read).collect();
        for (scope, reading) in &readings {
            self.0[*scope as usize] = Some(*reading);
        }
        readings
    }

    /// Returns the calls left in each scope that the origin has stated.
    pub(super) fn remaining(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let read = |scope: Scope| Some((scope.as_str(), self.0[scope as usize]?.remain));
        Scope::ALL.into_iter().filter_map(read)
    }

    /// Returns the time until a call of this priority may go, if it may not now: the last tenth of a quota is closed to
    /// calls that no client waits for, and the last twentieth to all but misses, until its period ends. The operation's own quota is not
    /// reserved where the pace divides it: its queue serves urgent calls first, and leaves less than a tenth.
    #[must_use]
    pub(super) fn reserved_for(
        &self,
        priority: Priority,
        paced: Option<Scope>,
        now: Instant,
    ) -> Option<Duration> {
        let reserved = match priority {
            Priority::Miss => return None,
            Priority::Forced => 0.05,
            Priority::Background | Priority::Prewarm => 0.10,
        };
        let is_used_up =
            |reading: &&QuotaReading| reading.remain as f64 <= reading.limit as f64 * reserved;
        let scopes = Scope::ALL.into_iter().filter(|scope| Some(*scope) != paced);
        let readings = scopes.filter_map(|scope| self.0[scope as usize].as_ref());
        let current = readings.filter(|reading| now < reading.until);
        let used_up = current.filter(is_used_up);
        used_up.map(|reading| reading.until - now).max()
    }
}

const fn header_of(scope: Scope) -> &'static str {
    match scope {
        Scope::UserApi => "x-ratelimit-user-api",
        Scope::User => "x-ratelimit-user",
    }
}

fn parse(header: &str, now: Instant) -> Option<QuotaReading> {
    let field = |name: &str| {
        let fields = header.split(',').filter_map(|field| field.split_once(':'));
        fields
            .filter(|(key, _)| key.trim() == name)
            .find_map(|(_, value)| value.trim().parse::<u64>().ok())
    };
    let until = now.checked_add(Duration::from_millis(field("TimeLeft")?))?;
    Some(QuotaReading {
        limit: field("Limit")?,
        remain: field("Remain")?,
        until,
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn learnt(header: &str, now: Instant) -> Quota {
        let headers: HeaderMap = [(
            "x-ratelimit-user-api".parse().unwrap(),
            header.parse().unwrap(),
        )]
        .into_iter()
        .collect();
        let mut quota = Quota::default();
        quota.update(
            &Reply {
                status: 200,
                headers,
                body: "".into(),
                connection: crate::transport::Connection::default(),
            },
            now,
        );
        quota
    }

    fn allowed(quota: &Quota, now: Instant) -> [bool; 4] {
        [
            Priority::Prewarm,
            Priority::Background,
            Priority::Forced,
            Priority::Miss,
        ]
        .map(|priority| quota.reserved_for(priority, None, now).is_none())
    }

    #[test]
    fn the_remaining_quota_is_kept_for_urgent_calls() {
        let now = Instant::now();
        for (header, expected) in [
            (
                "Limit:100,Remain:11,TimeLeft:2000,Reset:1",
                [true, true, true, true],
            ),
            (
                "Limit:100,Remain:10,TimeLeft:2000,Reset:1",
                [false, false, true, true],
            ),
            (
                "Limit:100, Remain:5, TimeLeft:2000",
                [false, false, false, true],
            ),
            (
                "Limit:1,Remain:0,TimeLeft:2000,Reset:1",
                [false, false, false, true],
            ),
            ("Limit:x,Remain:0,TimeLeft:2000", [true; 4]),
            ("nonsense", [true; 4]),
        ] {
            assert_eq!(allowed(&learnt(header, now), now), expected, "{header}");
        }
    }

    #[test]
    fn the_quota_that_the_pace_divides_is_not_reserved() {
        let now = Instant::now();
        let quota = learnt("Limit:50,Remain:3,TimeLeft:1000,Reset:1", now);
        let reserved = |paced| quota.reserved_for(Priority::Background, paced, now);
        assert_eq!(reserved(Some(Scope::UserApi)), None);
        assert_eq!(reserved(Some(Scope::User)), Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_reading_ends_with_its_period() {
        let now = Instant::now();
        let quota = learnt("Limit:1,Remain:0,TimeLeft:2000,Reset:1", now);
        assert_eq!(
            allowed(&quota, now + Duration::from_millis(2000)),
            [true; 4]
        );
    }
}
