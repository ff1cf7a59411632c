//! Distinction between a denial of one image or workspace and a denial of the credential as a whole.
//!
//! A 403 concerns its subject, unless
//!
//! - the operation has never succeeded with this credential and three different subjects were denied, or
//! - three subjects that the gateway had answered with 200 are denied within ten seconds, with no 200 of the
//!   operation between.
//!
//! A client that requests ids it was never shown can bring about neither while others are answered.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use compact_str::CompactString;
use tokio::time::Instant;

use crate::api::{Action, Call};

/// Number of different denied subjects that make a denial the credential's.
const SUBJECTS: usize = 3;
/// Time within which that many subjects, once answered, must be denied.
const WINDOW: Duration = Duration::from_secs(10);

/// Subject of a call: its operation with the image, or the workspace that it searches. The id is empty where the call
/// names neither.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Subject {
    pub(super) action: Action,
    pub(super) id: CompactString,
}

impl Subject {
    /// Returns the subject of a call.
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

    /// Returns whether a rejection of this subject gets a breaker of its own: of a search a denial, of an image any
    /// other rejection.
    pub(super) const fn has_breaker(&self, is_denied: bool) -> bool {
        match self.action {
            Action::ListImages | Action::ListImageLabels => is_denied,
            Action::GetImage => !is_denied,
            _ => false,
        }
    }
}

/// Denials of one operation since its last success, at most [`SUBJECTS`] of each kind.
#[derive(Debug, Default)]
pub(super) struct ForbiddenBurst {
    has_succeeded: bool,
    denied: VecDeque<CompactString>,
    /// Subjects that had been answered with 200 before, with the time of their denial.
    revoked: VecDeque<(CompactString, Instant)>,
}

impl ForbiddenBurst {
    /// Forgets all denials: the credential works for the operation.
    pub(super) fn succeeded(&mut self) {
        self.has_succeeded = true;
        self.denied.clear();
        self.revoked.clear();
    }

    /// Forgets the former credential's successes and denials.
    pub(super) fn credential_changed(&mut self) {
        *self = Self::default();
    }

    /// Records a denial and returns whether it concerns the credential. `was_answered` says that the gateway had
    /// answered this subject with 200.
    pub(super) fn record(&mut self, id: &CompactString, was_answered: bool, now: Instant) -> bool {
        if !self.denied.contains(id) {
            self.denied.push_back(id.clone());
            self.denied.truncate(SUBJECTS);
        }
        if was_answered {
            self.revoked
                .retain(|(other, at)| other != id && now.saturating_duration_since(*at) < WINDOW);
            self.revoked.push_back((id.clone(), now));
            if self.revoked.len() > SUBJECTS {
                self.revoked.pop_front();
            }
        }
        let never = !self.has_succeeded && self.denied.len() == SUBJECTS;
        never || (was_answered && self.revoked.len() == SUBJECTS)
    }
}

/// Subjects that were answered with 200, as keyed fingerprints in a table of fixed size.
///
/// A newer subject may overwrite an older one, and a forgotten subject counts as never answered. The key is random,
/// so that a client cannot choose ids that overwrite each other.
#[derive(Debug)]
pub(super) struct AnsweredSubjects {
    keys: RandomState,
    table: Box<[u64]>,
}

/// Number of slots, 512 KiB in all: more than the images of the documented account.
const SLOTS: usize = 1 << 16;

impl Default for AnsweredSubjects {
    fn default() -> Self {
        Self {
            keys: RandomState::new(),
            table: vec![0; SLOTS].into(),
        }
    }
}

impl AnsweredSubjects {
    pub(super) fn insert(&mut self, subject: &Subject) {
        let fingerprint = self.fingerprint(subject);
        if let Some(slot) = self.table.get_mut(slot_of(fingerprint)) {
            *slot = fingerprint;
        }
    }

    pub(super) fn contains(&self, subject: &Subject) -> bool {
        let fingerprint = self.fingerprint(subject);
        self.table.get(slot_of(fingerprint)) == Some(&fingerprint)
    }

    fn fingerprint(&self, subject: &Subject) -> u64 {
        self.keys.hash_one((subject.action as u8, &subject.id))
    }
}

const fn slot_of(fingerprint: u64) -> usize {
    (fingerprint % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ImageId, ImageKey, Operation, Query};

    fn record(burst: &mut ForbiddenBurst, id: &str, was_answered: bool, now: Instant) -> bool {
        burst.record(&id.into(), was_answered, now)
    }

    #[test]
    fn three_rejections_before_any_success_count_against_the_credential() {
        let (now, mut burst) = (Instant::now(), ForbiddenBurst::default());
        assert!(!record(&mut burst, "a", false, now));
        assert!(!record(&mut burst, "a", false, now));
        assert!(!record(&mut burst, "b", false, now));
        let later = now + Duration::from_secs(3600);
        assert!(record(&mut burst, "c", false, later));
        assert!(record(&mut burst, "a", false, later));
        burst.succeeded();
        for id in ["a", "b", "c", "d", "e"] {
            assert!(!record(&mut burst, id, false, later), "{id}");
        }
        burst.credential_changed();
        assert!(!record(&mut burst, "a", false, later));
    }

    #[test]
    fn three_cached_images_forbidden_within_ten_seconds_count_against_the_credential() {
        let (start, mut burst) = (Instant::now(), ForbiddenBurst::default());
        burst.succeeded();
        let at = |second| start + Duration::from_secs(second);
        assert!(!record(&mut burst, "a", true, at(0)));
        assert!(!record(&mut burst, "b", true, at(2)));
        assert!(!record(&mut burst, "b", true, at(3)));
        assert!(!record(&mut burst, "c", true, at(11)), "a is 11 s ago");
        assert!(record(&mut burst, "d", true, at(12)));
        assert!(!record(&mut burst, "unknown", false, at(12)));
        burst.succeeded();
        assert!(!record(&mut burst, "a", true, at(12)));
        assert!(!record(&mut burst, "b", true, at(12)));
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
    fn successes_are_recorded_by_operation() {
        let mut answered = AnsweredSubjects::default();
        let subject = |action, id: &str| Subject {
            action,
            id: id.into(),
        };
        answered.insert(&subject(Action::GetImage, "7"));
        assert!(answered.contains(&subject(Action::GetImage, "7")));
        assert!(!answered.contains(&subject(Action::GetImage, "8")));
        assert!(!answered.contains(&subject(Action::ListImages, "7")));
    }

    #[test]
    fn another_credential_starts_without_rejections() {
        let (now, mut burst) = (Instant::now(), ForbiddenBurst::default());
        burst.succeeded();
        burst.credential_changed();
        assert!(!record(&mut burst, "a", false, now));
        assert!(!record(&mut burst, "b", false, now));
        assert!(record(&mut burst, "c", false, now), "it never succeeded");
    }

    #[test]
    fn the_ten_seconds_end_with_the_tenth() {
        for (last, is_credentials) in [(9_999, true), (10_000, false)] {
            let (start, mut burst) = (Instant::now(), ForbiddenBurst::default());
            burst.succeeded();
            assert!(!record(&mut burst, "a", true, start));
            assert!(!record(&mut burst, "b", true, start));
            let end = start + Duration::from_millis(last);
            assert_eq!(record(&mut burst, "c", true, end), is_credentials, "{last}");
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
            assert_eq!(subject.has_breaker(true), denied, "{action:?}");
            assert_eq!(subject.has_breaker(false), complaint, "{action:?}");
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
            answered.insert(subject);
        }
        let known = subjects.iter().filter(|subject| answered.contains(subject));
        assert!(known.count() > 90);
    }
}
