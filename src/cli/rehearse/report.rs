//! Report of a rehearsal: a table, or JSON.

use std::time::Duration;

use serde_json::{Value, json};

use super::clients::Answers;
use super::play::Played;
use super::promise::{until, weak_settings};
use crate::cli::columns::columns;
use crate::config::Settings;

/// Conditions of the log, and the alert of deploy/alerts.yaml that fires when one lasts.
const ALERTS: [(&str, &str); 8] = [
    ("origin_fails", "PaiGatewayServingStale"),
    ("origin_unreachable", "PaiGatewayServingStale"),
    ("breaker_open", "PaiGatewayBreakerOpen"),
    ("origin_throttles", "PaiGatewayThrottled"),
    ("pace_lowered", "PaiGatewayPaceLowered"),
    ("credential_refused", "PaiGatewayCredentialRejected"),
    ("account_refused", "PaiGatewayErrorShareHigh"),
    ("clock_wrong", "PaiGatewayClockOff"),
];

/// Results of all failures, and the settings that fall short.
pub(super) struct Report {
    rows: Vec<ReportRow>,
    weak: Vec<String>,
    took: Duration,
}

struct ReportRow {
    played: Played,
    until: String,
    shortfall: Option<String>,
}

const HEADING: [&str; 5] = [
    "FAILURE",
    "CACHED IMAGES",
    "NEW IMAGES",
    "OPERATORS: LOG → ALERTS",
    "UNTIL",
];

impl ReportRow {
    fn cells(&self) -> [String; 5] {
        let conditions: Vec<_> = self.played.conditions.iter().copied().collect();
        let mut seen = conditions.join(", ");
        let alerts = self.alerts().join(", ");
        if !alerts.is_empty() {
            seen.extend([" → ", &alerts.replace("PaiGateway", "")]);
        }
        [
            self.played.name.to_owned(),
            describe(&self.played.cached),
            describe(&self.played.new),
            seen,
            self.until.clone(),
        ]
    }

    /// Returns the alerts of the conditions that were met, each once.
    fn alerts(&self) -> Vec<&'static str> {
        let met = ALERTS
            .iter()
            .filter(|(condition, _)| self.played.conditions.contains(condition));
        let mut alerts: Vec<_> = met.map(|(_, alert)| *alert).collect();
        alerts.dedup();
        alerts
    }
}

impl Report {
    pub(super) fn new(settings: &Settings, played: Vec<Played>, took: Duration) -> Self {
        let rows = played.into_iter().map(|played| ReportRow {
            until: until(&played, settings),
            shortfall: played.shortfall(),
            played,
        });
        Self {
            rows: rows.collect(),
            weak: weak_settings(settings),
            took,
        }
    }

    /// Returns true if no outcome and no setting is worse than documented.
    pub(super) fn is_as_documented(&self) -> bool {
        self.weak.is_empty() && self.rows.iter().all(|row| row.shortfall.is_none())
    }

    pub(super) fn table(&self) -> String {
        let heading = HEADING.map(str::to_owned);
        let rows = std::iter::once(heading).chain(self.rows.iter().map(ReportRow::cells));
        format!(
            "{}\nThe names of alerts begin with PaiGateway; they fire when the condition lasts. {} s.\n\n{}",
            columns(&rows.collect::<Vec<_>>()),
            self.took.as_secs(),
            self.verdict()
        )
    }

    fn verdict(&self) -> String {
        let worse = self.worse();
        if worse.is_empty() {
            return "Every outcome is as docs/outage.md promises.\n".to_owned();
        }
        let lines = worse.iter().map(|line| format!("  {line}\n"));
        format!(
            "WORSE than docs/outage.md promises:\n{}",
            lines.collect::<String>()
        )
    }

    fn worse(&self) -> Vec<String> {
        let rows = self.rows.iter().filter_map(|row| {
            let shortfall = row.shortfall.as_ref()?;
            Some(format!("{}: {shortfall}", row.played.name))
        });
        self.weak.iter().cloned().chain(rows).collect()
    }

    pub(super) fn as_json(&self) -> Value {
        let failures = self.rows.iter().map(|row| {
            json!({
                "name": row.played.name,
                "cached": row.played.cached,
                "new": row.played.new,
                "upstream_calls": row.played.upstream_calls,
                "conditions": row.played.conditions,
                "alerts": row.alerts(),
                "until": row.until,
                "worse": row.shortfall,
            })
        });
        json!({
            "ok": self.is_as_documented(),
            "worse": self.worse(),
            "failures": failures.collect::<Vec<_>>(),
            "seconds": self.took.as_secs(),
        })
    }
}

/// Describes answers: fresh and stale ones, and failures by status.
fn describe(answers: &Answers) -> String {
    let mut parts = Vec::new();
    if answers.fresh > 0 {
        parts.push(format!("{} fresh", answers.fresh));
    }
    if answers.stale > 0 {
        parts.push(format!(
            "{} stale (to {} s)",
            answers.stale, answers.oldest_age_seconds
        ));
    }
    let failed = answers.failed.iter();
    parts.extend(failed.map(|(status, count)| format!("{count} × {status}")));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conditions_and_alerts_exist() {
        let alerts = include_str!("../../../deploy/alerts.yaml");
        let operations = include_str!("../../../docs/operations.md");
        for (condition, alert) in ALERTS {
            assert!(alerts.contains(&format!("alert: {alert}\n")), "{alert}");
            assert!(
                operations.contains(&format!("| `{condition}` |")),
                "{condition}"
            );
        }
    }
}
