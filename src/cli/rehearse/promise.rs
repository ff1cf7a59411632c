//! Outcomes that the documentation promises, and the ways in which a rehearsal or the settings fall short of them.

use std::time::Duration;

use super::play::{CACHED, Played};
use crate::cache::Policy;
use crate::config::Settings;
use crate::units::HumanDuration;

/// Failures in which the origin answers nevertheless.
const HARMLESS: [&str; 3] = ["none", "gzip nobody asked for", "clock 20 min off"];
/// Failures that are about single images until the third one is refused: docs/outage.md.
const ABOUT_IMAGES: [&str; 2] = ["Forbidden.RAM", "NoPermission"];
/// Cached images that those lose.
const LOST: u64 = 2;

impl Played {
    /// Tells whether the origin answers in spite of the failure.
    pub(super) fn is_harmless(&self) -> bool {
        HARMLESS.contains(&self.name)
    }

    /// Returns the way in which the outcome is worse than docs/outage.md; `None` if it is not.
    pub(super) fn shortfall(&self) -> Option<String> {
        let failed = self.cached.failures();
        let permitted = if ABOUT_IMAGES.contains(&self.name) {
            LOST * self.rounds
        } else {
            0
        };
        let asked = self.rounds * CACHED as u64;
        if failed > permitted {
            Some(format!(
                "{failed} of {asked} requests for cached images failed"
            ))
        } else if self.is_harmless() && self.new.failures() > 0 {
            let failed = self.new.failures();
            Some(format!(
                "{failed} of {} requests for new images failed",
                self.rounds
            ))
        } else {
            None
        }
    }
}

/// Returns the settings that make every failure worse than documented, with the remedy.
pub(super) fn weak_settings(settings: &Settings) -> Vec<String> {
    let documented = Policy::default().stale_if_error;
    let own = settings.freshness.stale_if_error;
    let mut weak = Vec::new();
    if own < documented {
        weak.push(format!(
            "freshness.stale_if_error = {own}: while the origin fails, a cached image is served for {own} past its ttl, \
             documented is {documented}: set it to {documented} or more"
        ));
    }
    weak
}

/// Describes how long the outcome lasts.
pub(super) fn until(played: &Played, settings: &Settings) -> String {
    if played.is_harmless() {
        return "-".to_owned();
    }
    let has = |condition: &str| played.conditions.contains(condition);
    let pause = HumanDuration(
        settings
            .upstream
            .breaker_max_pause
            .0
            .max(Duration::from_millis(1)),
    );
    let recovery = if has("origin_throttles") {
        "calls go on when the origin's window ends".to_owned()
    } else if has("credential_refused") {
        format!("calls go on with another credential, or a probe within {pause}")
    } else {
        format!("calls go on with a probe within {pause}")
    };
    let own = settings.freshness.stale_if_error;
    format!("cached: {own} past the ttl; {recovery}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::rehearse::clients::Answers;

    fn played(name: &'static str, failed: u64) -> Played {
        let mut cached = Answers::default();
        cached.failed.insert("503".to_owned(), failed);
        Played {
            name,
            cached,
            new: Answers::default(),
            rounds: 10,
            upstream_calls: 0,
            conditions: std::collections::BTreeSet::new(),
        }
    }

    #[test]
    fn a_failed_cached_image_is_a_shortfall_where_none_may_fail() {
        assert_eq!(played("503", 0).shortfall(), None);
        let shortfall = played("503", 1).shortfall().unwrap();
        assert!(shortfall.starts_with("1 of 40"), "{shortfall}");
        assert_eq!(played("NoPermission", 20).shortfall(), None);
        assert!(played("NoPermission", 21).shortfall().is_some());
    }

    #[test]
    fn a_shorter_window_than_documented_is_named_with_its_remedy() {
        let mut settings = Settings::default();
        assert!(weak_settings(&settings).is_empty());
        settings.freshness.stale_if_error = HumanDuration::secs(0);
        let weak = weak_settings(&settings);
        assert!(
            weak[0].contains("stale_if_error = 0s") && weak[0].contains("set it to 24h"),
            "{weak:?}"
        );
    }

    #[test]
    fn the_names_are_rows_of_the_document() {
        let document = include_str!("../../../docs/outage.md");
        for scene in crate::cli::rehearse::play::Scene::all(&Settings::default()) {
            let is_row = document.lines().any(|line| line.starts_with(scene.name));
            assert!(
                is_row || scene.name == crate::cli::rehearse::play::STOPPED,
                "{}",
                scene.name
            );
        }
        for name in HARMLESS.iter().chain(&ABOUT_IMAGES) {
            assert!(
                document.lines().any(|line| line.starts_with(name)),
                "{name}"
            );
        }
    }
}
