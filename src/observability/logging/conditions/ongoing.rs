//! The conditions that hold now, for `/status`.

use std::cmp::Reverse;

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use super::Conditions;

/// Number of conditions that are listed; of more, the gravest and oldest.
const MOST_LISTED: usize = 20;

/// A failure that lasts, as the log reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OngoingCondition {
    /// Name, as in the log's field `condition`.
    pub condition: &'static str,
    /// Level of its lines, by which it is ranked: `error`, `warn` or `info`.
    pub severity: &'static str,
    /// Operation, host, listener, part or reason; empty for a condition that has one episode only.
    pub subject: String,
    /// Wall-clock time of the first occurrence, in RFC 3339; it moves when the machine's clock is set.
    pub since: String,
    /// Number of occurrences since then, as the log's field `count`.
    pub count: u64,
    /// Detail of the latest line; empty without one.
    pub detail: String,
    /// Advice to the operator.
    pub remedy: &'static str,
}

impl Conditions {
    /// Lists the conditions that hold, the gravest first and among equals the oldest, at most twenty. `time` is
    /// the wall-clock time of `now`.
    #[must_use]
    pub fn ongoing(&self, now: Instant, time: Timestamp) -> Vec<OngoingCondition> {
        let episodes = self.0.episodes.lock();
        let lasting = |reported: &super::ReportedEpisode| reported.episode.lasting(now);
        let mut held: Vec<_> = episodes
            .iter()
            .filter_map(|(key, reported)| Some((key, lasting(reported)?, &reported.detail)))
            .collect();
        held.sort_by_key(|((condition, subject), (since, _), _)| {
            let row = condition.row();
            (Reverse(row.severity), *since, row.name, subject.clone())
        });
        let listed = held.into_iter().take(MOST_LISTED);
        let ongoing = listed.map(|((condition, subject), (since, count), detail)| {
            let row = condition.row();
            let lasted = now.saturating_duration_since(since);
            OngoingCondition {
                condition: row.name,
                severity: row.severity.into(),
                subject: subject.to_string(),
                since: time.checked_sub(lasted).unwrap_or(time).to_string(),
                count,
                detail: detail.clone(),
                remedy: row.remedy,
            }
        });
        ongoing.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::observability::logging::Condition;

    #[tokio::test(start_paused = true)]
    async fn what_holds_is_listed_the_gravest_first_until_it_recovers() {
        let conditions = Conditions::default();
        let detail = || "status 503".to_owned();
        conditions.occurred(Condition::OriginFails, "GetImage", detail);
        tokio::time::advance(Duration::from_secs(90)).await;
        conditions.occurred(Condition::CredentialRefused, "", String::new);
        let time: Timestamp = "2026-11-26T12:01:30Z".parse().unwrap();
        let ongoing = conditions.ongoing(Instant::now(), time);
        let names: Vec<_> = ongoing
            .iter()
            .map(|held| (held.condition, held.severity))
            .collect();
        assert_eq!(
            names,
            [("credential_refused", "error"), ("origin_fails", "warn")]
        );
        let [_, fails] = ongoing.as_slice() else {
            panic!("{ongoing:?}")
        };
        assert_eq!(fails.since, "2026-11-26T12:00:00Z");
        assert_eq!(
            (fails.subject.as_str(), fails.detail.as_str()),
            ("GetImage", "status 503")
        );
        conditions.recovered(Condition::CredentialRefused, "");
        assert_eq!(conditions.ongoing(Instant::now(), time).len(), 1);
    }

    #[test]
    fn the_list_is_bounded_and_keeps_the_gravest() {
        let conditions = Conditions::default();
        for subject in 0..2 * MOST_LISTED {
            conditions.occurred(Condition::ReloadFails, subject.to_string(), String::new);
        }
        conditions.occurred(Condition::Panics, "request", String::new);
        let ongoing = conditions.ongoing(Instant::now(), Timestamp::UNIX_EPOCH);
        assert_eq!(ongoing.len(), MOST_LISTED);
        assert_eq!(ongoing[0].condition, "panics");
    }
}
