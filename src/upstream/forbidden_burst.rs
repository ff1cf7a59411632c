//! Tells a refusal of permission about one image or workspace from one about the credential.
//!
//! A 403 is about its subject, unless
//!
//! - the operation has never succeeded with this credential and three different subjects were refused, or
//! - three subjects that the gateway had answered with 200 are refused within ten seconds, with no 200 of the
//!   operation between.
//!
//! A client that asks for ids it was never shown can bring about neither while others are answered.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use compact_str::CompactString;
use tokio::time::Instant;

use crate::api::{Action, Call};

/// Different subjects refused that speak of the credential …
const SUBJECTS: usize = 3;
/// … if those that were known are refused within this time.
const WINDOW: Duration = Duration::from_secs(10);

/// Subject of a call: its image, or the workspace that it searches. Empty where it names neither.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Subject {
    pub(super) action: Action,
    pub(super) id: CompactString,
}

impl Subject {
    /// Reads the subject off a call.
    pub(super) fn of(call: &Call) -> Self {
        let parameter = |wanted: &str| {
            let mut pairs = call.query.pairs();
            let (_, value) = pairs.find(|(name, value)| *name == wanted && !value.is_empty())?;
            Some(CompactString::from(value))
        };
        let image = call.operation.image().map(|image| image.as_str().into());
        let id = image
            .or_else(|| parameter("WorkspaceId"))
            .or_else(|| parameter("ImageId"));
        Self {
            action: call.operation.action(),
            id: id.unwrap_or_default(),
        }
    }

    /// Whether a refusal of this subject is kept, so that more calls for it are held back: of a search a refusal of
    /// permission, of an image another complaint.
    pub(super) const fn keeps(&self, is_denied: bool) -> bool {
        match self.action {
            Action::ListImages | Action::ListImageLabels => is_denied,
            Action::GetImage => !is_denied,
            _ => false,
        }
    }
}

/// ForbiddenBurst of one operation since its last success; at most [`SUBJECTS`] of each kind.
#[derive(Debug, Default)]
pub(super) struct ForbiddenBurst {
    has_succeeded: bool,
    refused: VecDeque<CompactString>,
    withdrawn: VecDeque<(CompactString, Instant)>,
}

impl ForbiddenBurst {
    /// Notes that the operation succeeded.
    pub(super) fn succeeded(&mut self) {
        self.has_succeeded = true;
        self.refused.clear();
        self.withdrawn.clear();
    }

    /// Notes that another credential signs.
    pub(super) fn credential_changed(&mut self) {
        *self = Self::default();
    }

    /// Notes a refusal and returns whether it concerns the credential. `was_answered`: the gateway had answered this
    /// subject with 200.
    pub(super) fn note(&mut self, id: &CompactString, was_answered: bool, now: Instant) -> bool {
        if !self.refused.contains(id) {
            self.refused.push_back(id.clone());
            self.refused.truncate(SUBJECTS);
        }
        if was_answered {
            self.withdrawn
                .retain(|(other, at)| other != id && now.saturating_duration_since(*at) < WINDOW);
            self.withdrawn.push_back((id.clone(), now));
            if self.withdrawn.len() > SUBJECTS {
                self.withdrawn.pop_front();
            }
        }
        let never = !self.has_succeeded && self.refused.len() == SUBJECTS;
        never || (was_answered && self.withdrawn.len() == SUBJECTS)
    }
}

/// Subjects that were answered with 200, as keyed fingerprints in a table of fixed size: a newer subject takes the
/// place of an older one, and a forgotten subject counts as never answered.
#[derive(Debug)]
pub(super) struct AnsweredSubjects {
    keys: RandomState,
    table: Box<[u64]>,
}

/// 512 KiB; more images than the documented account has.
const PLACES: usize = 1 << 16;

impl Default for AnsweredSubjects {
    fn default() -> Self {
        Self {
            keys: RandomState::new(),
            table: vec![0; PLACES].into(),
        }
    }
}

impl AnsweredSubjects {
    pub(super) fn note(&mut self, subject: &Subject) {
        let print = self.print(subject);
        if let Some(place) = self.table.get_mut(place_of(print)) {
            *place = print;
        }
    }

    pub(super) fn has(&self, subject: &Subject) -> bool {
        let print = self.print(subject);
        self.table.get(place_of(print)) == Some(&print)
    }

    fn print(&self, subject: &Subject) -> u64 {
        self.keys.hash_one((subject.action as u8, &subject.id))
    }
}

const fn place_of(print: u64) -> usize {
    (print % PLACES as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ImageId, ImageKey, Operation, Query};

    fn note(refusals: &mut ForbiddenBurst, id: &str, was_answered: bool, now: Instant) -> bool {
        refusals.note(&id.into(), was_answered, now)
    }

    #[test]
    fn three_refused_before_any_success_are_the_credentials_trouble() {
        let (now, mut refusals) = (Instant::now(), ForbiddenBurst::default());
        assert!(!note(&mut refusals, "a", false, now));
        assert!(!note(&mut refusals, "a", false, now));
        assert!(!note(&mut refusals, "b", false, now));
        let later = now + Duration::from_secs(3600);
        assert!(note(&mut refusals, "c", false, later));
        assert!(note(&mut refusals, "a", false, later));
        refusals.succeeded();
        for id in ["a", "b", "c", "d", "e"] {
            assert!(!note(&mut refusals, id, false, later), "{id}");
        }
        refusals.credential_changed();
        assert!(!note(&mut refusals, "a", false, later));
    }

    #[test]
    fn three_known_ones_withdrawn_within_ten_seconds_are_the_credentials_trouble() {
        let (start, mut refusals) = (Instant::now(), ForbiddenBurst::default());
        refusals.succeeded();
        let at = |second| start + Duration::from_secs(second);
        assert!(!note(&mut refusals, "a", true, at(0)));
        assert!(!note(&mut refusals, "b", true, at(2)));
        assert!(!note(&mut refusals, "b", true, at(3)));
        assert!(!note(&mut refusals, "c", true, at(11)), "a is 11 s ago");
        assert!(note(&mut refusals, "d", true, at(12)));
        assert!(!note(&mut refusals, "unknown", false, at(12)));
        refusals.succeeded();
        assert!(!note(&mut refusals, "a", true, at(12)));
        assert!(!note(&mut refusals, "b", true, at(12)));
    }

    #[test]
    fn a_subject_is_an_image_or_a_workspace() {
        let call = |operation: Operation, query: &str| Call {
            operation,
            query: Query::parse(query).unwrap(),
        };
        let id = |call: &Call| Subject::of(call).id.to_string();
        let image = ImageId::parse("i").unwrap();
        let get = Operation::GetImage(ImageKey {
            image: image.clone(),
            verbose: true,
        });
        assert_eq!(id(&call(get, "Verbose=true")), "i");
        assert_eq!(id(&call(Operation::PublishImage(image), "")), "i");
        assert_eq!(
            id(&call(Operation::ListImages, "WorkspaceId=7&Name=x")),
            "7"
        );
        assert_eq!(id(&call(Operation::ListImages, "WorkspaceId=")), "");
        assert_eq!(id(&call(Operation::ListImageLabels, "ImageId=j")), "j");
    }

    #[test]
    fn what_was_answered_is_known_by_operation() {
        let mut answered = AnsweredSubjects::default();
        let subject = |action, id: &str| Subject {
            action,
            id: id.into(),
        };
        answered.note(&subject(Action::GetImage, "7"));
        assert!(answered.has(&subject(Action::GetImage, "7")));
        assert!(!answered.has(&subject(Action::GetImage, "8")));
        assert!(!answered.has(&subject(Action::ListImages, "7")));
    }

    #[test]
    fn another_credential_is_judged_anew() {
        let (now, mut refusals) = (Instant::now(), ForbiddenBurst::default());
        refusals.succeeded();
        refusals.credential_changed();
        assert!(!note(&mut refusals, "a", false, now));
        assert!(!note(&mut refusals, "b", false, now));
        assert!(note(&mut refusals, "c", false, now), "it never succeeded");
    }

    #[test]
    fn the_ten_seconds_end_with_the_tenth() {
        for (last, is_credentials) in [(9_999, true), (10_000, false)] {
            let (start, mut refusals) = (Instant::now(), ForbiddenBurst::default());
            refusals.succeeded();
            assert!(!note(&mut refusals, "a", true, start));
            assert!(!note(&mut refusals, "b", true, start));
            let end = start + Duration::from_millis(last);
            assert_eq!(
                note(&mut refusals, "c", true, end),
                is_credentials,
                "{last}"
            );
        }
    }

    #[test]
    fn the_workspace_is_the_subject_wherever_it_stands_in_the_query() {
        let call = Call {
            operation: Operation::ListImages,
            query: Query::parse("Name=x&PageSize=1&WorkspaceId=7").unwrap(),
        };
        assert_eq!(Subject::of(&call).id, "7");
    }

    #[test]
    fn refused_searches_and_complaints_about_images_are_kept() {
        for (action, denied, complaint) in [
            (Action::ListImages, true, false),
            (Action::ListImageLabels, true, false),
            (Action::GetImage, false, true),
            (Action::RemoveImage, false, false),
        ] {
            let subject = Subject {
                action,
                id: "7".into(),
            };
            assert_eq!(subject.keeps(true), denied, "{action:?}");
            assert_eq!(subject.keeps(false), complaint, "{action:?}");
        }
    }

    /// Two of a hundred subjects rarely share a place of the table.
    #[test]
    fn many_answered_subjects_are_known_at_once() {
        let mut answered = AnsweredSubjects::default();
        let subjects = [(); 100].map(|()| Subject {
            action: Action::GetImage,
            id: CompactString::from(fastrand::u64(..).to_string()),
        });
        for subject in &subjects {
            answered.note(subject);
        }
        let known = subjects.iter().filter(|subject| answered.has(subject));
        assert!(known.count() > 90);
    }
}
