//! Episodes of every condition: a bounded number of log lines a minute, whatever a stranger or the origin does.
//!
//! The part that meets a failure calls [`Conditions::occurred`], and [`Conditions::recovered`] where it sees that the
//! failure is over; both may be called for every request. [`Conditions::tick`], called each second, writes the lines
//! that are due by time alone.

mod ongoing;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

pub use ongoing::OngoingCondition;

use super::condition::{Condition, Row, Severity};
use super::episode::{DueLine, Episode};

/// Episodes kept at once. Occurrences beyond that write no line; the metrics still count them.
const MAX_EPISODES: usize = 256;
/// Longest detail in a line, in bytes.
const MAX_DETAIL: usize = 1024;

/// The episodes of one gateway; clones share them. Each part of the gateway holds one, by way of the metrics.
#[derive(Debug, Clone, Default)]
pub struct Conditions(Arc<Episodes>);

#[derive(Debug, Default)]
struct Episodes {
    episodes: Mutex<HashMap<EpisodeKey, ReportedEpisode>>,
    /// Number of `episodes`, kept beside the lock so that a recovery costs one load while nothing is wrong.
    kept: AtomicUsize,
}

type EpisodeKey = (Condition, Cow<'static, str>);

/// An episode with the detail of its latest line, which later lines repeat.
#[derive(Debug)]
struct ReportedEpisode {
    episode: Episode,
    detail: String,
}

impl Conditions {
    /// Counts an occurrence, and writes the line that is due. `subject` separates the episodes of one condition: an
    /// operation, a listener, a host, a part; never a client's own text, which could fill the map. `detail` is built
    /// only when a line is written.
    pub fn occurred(
        &self,
        condition: Condition,
        subject: impl Into<Cow<'static, str>>,
        detail: impl FnOnce() -> String,
    ) {
        let (key, now) = ((condition, subject.into()), Instant::now());
        let mut episodes = self.0.episodes.lock();
        if episodes.len() >= MAX_EPISODES && !episodes.contains_key(&key) {
            return;
        }
        // Mostly a static text, so that the clone is a copy of a pointer.
        let subject = key.1.clone();
        let reported = episodes.entry(key).or_insert_with(|| ReportedEpisode {
            episode: Episode::new(condition.row().rules),
            detail: String::new(),
        });
        if let Some(line) = reported.episode.occurred(now) {
            reported.detail = bounded(detail());
            write(condition, &subject, line, &reported.detail);
        }
        self.0.kept.store(episodes.len(), Ordering::Relaxed);
    }

    /// Ends the episode of this condition and subject, if there is one, and writes the line that is due. Costs one
    /// atomic load while there is no episode at all, so that every successful call may report it.
    pub fn recovered(&self, condition: Condition, subject: impl Into<Cow<'static, str>>) {
        // A recovery that overtakes its own occurrence on another thread is missed; the next one ends the episode.
        if self.0.kept.load(Ordering::Relaxed) == 0 {
            return;
        }
        let key = (condition, subject.into());
        if let Some(reported) = self.0.episodes.lock().get_mut(&key)
            && let Some(line) = reported.episode.recovered(Instant::now())
        {
            write(condition, &key.1, line, &reported.detail);
        }
    }

    /// Returns the names of the conditions with an episode that began and was not over at the last tick.
    #[must_use]
    pub fn begun(&self) -> BTreeSet<&'static str> {
        let episodes = self.0.episodes.lock();
        let conditions = episodes.keys().map(|(condition, _)| condition);
        conditions.map(|condition| condition.row().name).collect()
    }

    /// Writes the lines that are due by time alone and drops the episodes that are over. To be called each second.
    pub fn tick(&self, now: Instant) {
        if self.0.kept.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut episodes = self.0.episodes.lock();
        episodes.retain(|(condition, subject), reported| {
            if let Some(line) = reported.episode.due(now) {
                write(*condition, subject, line, &reported.detail);
            }
            !reported.episode.is_over(now)
        });
        self.0.kept.store(episodes.len(), Ordering::Relaxed);
    }
}

/// Cuts a detail to [`MAX_DETAIL`] bytes, at a character: a detail may hold an answer of the origin of any length.
fn bounded(mut detail: String) -> String {
    let mut end = detail.len().min(MAX_DETAIL);
    while !detail.is_char_boundary(end) {
        end -= 1;
    }
    detail.truncate(end);
    detail
}

/// Writes a line at the condition's level; the line of its end is always `info`.
fn write(condition: Condition, subject: &str, line: DueLine, detail: &str) {
    let Row {
        name,
        severity,
        began,
        remedy,
        ended,
        ..
    } = condition.row();
    let detail = (!detail.is_empty()).then_some(detail);
    // The level of an event must be a constant, hence a macro.
    macro_rules! line {
        ($level:ident) => {
            match line {
                DueLine::Began => {
                    tracing::$level!(condition = name, subject, detail, remedy, "{began}");
                }
                DueLine::Continues { lasting, count } => tracing::$level!(
                    condition = name,
                    subject,
                    detail,
                    remedy,
                    count,
                    lasting_seconds = lasting.as_secs(),
                    "still: {began}"
                ),
                DueLine::Ended { lasted, count } => tracing::info!(
                    condition = name,
                    subject,
                    count,
                    lasted_seconds = lasted.as_secs(),
                    "{ended}"
                ),
            }
        };
    }
    match severity {
        Severity::Info => line!(info),
        Severity::Warn => line!(warn),
        Severity::Error => line!(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::condition::QUIET;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_episode_is_kept_until_nothing_is_left_to_report() {
        let conditions = Conditions::default();
        for _ in 0..1000 {
            conditions.occurred(Condition::TlsOnPlainPort, "data", String::new);
        }
        assert_eq!(conditions.0.episodes.lock().len(), 1);
        tokio::time::advance(QUIET).await;
        conditions.tick(Instant::now());
        assert_eq!(conditions.0.episodes.lock().len(), 1, "its end is new");
        tokio::time::advance(QUIET).await;
        conditions.tick(Instant::now());
        assert_eq!(conditions.0.episodes.lock().len(), 0);
        assert_eq!(conditions.0.kept.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn no_more_subjects_are_kept_than_there_is_room_for() {
        let conditions = Conditions::default();
        for subject in 0..2 * MAX_EPISODES {
            conditions.occurred(Condition::ReloadFails, subject.to_string(), String::new);
        }
        assert_eq!(conditions.0.episodes.lock().len(), MAX_EPISODES);
    }

    #[test]
    fn a_detail_is_cut_at_a_character() {
        assert_eq!(bounded("short".to_owned()), "short");
        let cut = bounded("x".repeat(MAX_DETAIL - 1) + "\u{e9}");
        assert_eq!(cut.len(), MAX_DETAIL - 1);
    }
}
