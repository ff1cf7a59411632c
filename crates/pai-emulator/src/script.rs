//! Active faults, with the number of matches of each.

use parking_lot::Mutex;
use serde::Deserialize;

use super::fault::{Fault, FaultKind};
use pai_api::Action;

/// List of faults; the first rule that matches applies. A rule that has applied `times` times is skipped.
#[derive(Debug)]
pub struct Script {
    steps: Mutex<Vec<ScriptStep>>,
}

/// Invalid script; the text names the problem and its place.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// Not TOML, or not `[[fault]]` tables of the known form.
    #[error(transparent)]
    Toml(#[from] toml::de::Error),
    /// Not JSON, or not a list of faults.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

#[derive(Debug)]
struct ScriptStep {
    fault: Fault,
    passed: u64,
    applied: u64,
}

impl Script {
    /// Parses `[[fault]]` tables.
    ///
    /// # Errors
    /// [`ScriptError::Toml`].
    pub fn parse_toml(text: &str) -> Result<Vec<Fault>, ScriptError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            #[serde(default)]
            fault: Vec<Fault>,
        }
        let File { fault } = toml::from_str(text)?;
        Ok(fault)
    }

    /// Parses a JSON list of the same tables.
    ///
    /// # Errors
    /// [`ScriptError::Json`].
    pub fn parse_json(text: &[u8]) -> Result<Vec<Fault>, ScriptError> {
        Ok(serde_json::from_slice(text)?)
    }

    pub(super) fn new(faults: Vec<Fault>) -> Self {
        let script = Self {
            steps: Mutex::default(),
        };
        script.replace(faults);
        script
    }

    pub(super) fn replace(&self, faults: Vec<Fault>) {
        let steps = faults.into_iter().map(|fault| ScriptStep {
            fault,
            passed: 0,
            applied: 0,
        });
        *self.steps.lock() = steps.collect();
    }

    /// Returns the fault to inject into the next request, if any.
    pub(super) fn next(&self, action: Action, image: Option<&str>) -> Option<FaultKind> {
        let mut steps = self.steps.lock();
        let mut matching = steps
            .iter_mut()
            .filter(|step| step.fault.matches(action, image));
        matching.find_map(ScriptStep::take)
    }
}

impl ScriptStep {
    /// Counts a match and returns the fault if it applies to this match.
    fn take(&mut self) -> Option<FaultKind> {
        if self.passed < self.fault.after {
            self.passed += 1;
            return None;
        }
        if self.fault.times.is_some_and(|times| self.applied >= times) {
            return None;
        }
        self.applied += 1;
        Some(self.fault.kind.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const EVERY_KIND: &str = r#"
        [[fault]]
        operation = "GetImage"
        image = "image-1"
        after = 2
        times = 3
        kind = "latency"
        ms = 200
        [[fault]]
        kind = "status"
        status = 403
        code = "NoPermission"
        message = "no"
        headers = { x-a = "b" }
        access_denied_detail = true
        [[fault]]
        kind = "throttle"
        retry_after_ms = 300
        [[fault]]
        kind = "stall"
        [[fault]]
        kind = "close_before"
        [[fault]]
        kind = "close_mid_body"
        [[fault]]
        kind = "garbage"
        [[fault]]
        kind = "gzip"
        [[fault]]
        kind = "truncated"
        [[fault]]
        kind = "empty"
        [[fault]]
        kind = "not_object"
        [[fault]]
        kind = "wrong_type"
    "#;

    #[test]
    fn every_kind_is_read_and_written_the_same() {
        let faults = Script::parse_toml(EVERY_KIND).unwrap();
        assert_eq!(faults.len(), 12);
        assert_eq!(
            faults[0],
            Fault {
                operation: Some(Action::GetImage),
                image: Some("image-1".to_owned()),
                after: 2,
                times: Some(3),
                kind: FaultKind::Latency(Duration::from_millis(200)),
            }
        );
        assert_eq!(faults[3].kind, FaultKind::Stall(Duration::from_secs(60)));
        let json = serde_json::to_vec(&faults).unwrap();
        assert_eq!(Script::parse_json(&json).unwrap(), faults);
    }

    #[test]
    fn errors_name_the_problem() {
        for (bad, hint) in [
            ("kind = 'latency'", "needs ms"),
            ("kind = 'status'", "needs status"),
            ("kind = 'status'\nstatus = 100", "200 to 599"),
            ("kind = 'tsunami'", "no kind tsunami; the kinds are status"),
            ("kind = 'gzip'\nms = 1", "gzip has no ms"),
            ("kind = 'gzip'\nmillis = 1", "millis"),
            ("kind = 'gzip'\ntimes = 0", "never apply"),
            ("kind = 'stall'\nms = 9999999", "an hour"),
            ("kind = 'gzip'\noperation = 'Get'", "no operation Get"),
            (
                "kind = 'status'\nstatus = 500\nheaders = { 'a b' = 'c' }",
                "a b",
            ),
            ("times = 1", "kind"),
        ] {
            let error = Script::parse_toml(&format!("[[fault]]\n{bad}")).unwrap_err();
            assert!(error.to_string().contains(hint), "{bad}: {error}");
        }
        assert!(Script::parse_toml("[[faults]]\nkind = 'gzip'").is_err());
        assert!(Script::parse_json(b"{}").is_err());
        assert_eq!(Script::parse_toml("").unwrap(), []);
    }

    #[test]
    fn the_first_rule_with_times_left_applies() {
        let first = Fault {
            image: Some("a".to_owned()),
            after: 1,
            times: Some(1),
            ..Fault::always(FaultKind::Gzip)
        };
        let second = Fault {
            operation: Some(Action::GetImage),
            times: Some(2),
            ..Fault::always(FaultKind::Empty)
        };
        let script = Script::new(vec![first, second]);
        let next = |image| script.next(Action::GetImage, Some(image));
        assert_eq!(script.next(Action::ListImages, None), None);
        assert_eq!(next("a"), Some(FaultKind::Empty), "the first lets one pass");
        assert_eq!(next("a"), Some(FaultKind::Gzip));
        assert_eq!(next("a"), Some(FaultKind::Empty));
        assert_eq!(next("b"), None, "both are used up");
    }
}
