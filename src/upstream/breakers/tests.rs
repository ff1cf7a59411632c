use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::api::ImageFields;
use crate::transport::TransportError;
use crate::upstream::Throttle;
use crate::upstream::{AnswerKind, ParentFault, testing};

const LIMITS: Limits = Limits {
    failures: 3,
    pause: Duration::from_secs(1),
    max_pause: Duration::from_secs(8),
};

fn subject(action: Action, id: &str) -> Subject {
    Subject {
        action,
        id: id.into(),
    }
}

fn image(id: &str) -> Subject {
    subject(Action::GetImage, id)
}

fn error(code: &str) -> OriginError {
    OriginError {
        status: 403,
        code: code.to_owned(),
        ..OriginError::default()
    }
}

fn denied(code: &str) -> AttemptOutcome {
    AttemptOutcome::Refused {
        error: error(code),
        is_denied: true,
    }
}

fn complaint() -> AttemptOutcome {
    AttemptOutcome::Refused {
        error: error("InvalidParameter"),
        is_denied: false,
    }
}

const FOUND: AttemptOutcome = AttemptOutcome::Answered { is_success: true };

/// Makes a call that ends so, if it may go.
fn call(
    breakers: &mut Breakers,
    subject: &Subject,
    outcome: &AttemptOutcome,
    now: Instant,
) -> bool {
    match breakers.admit(subject, now) {
        Ok(passes) => {
            breakers.record(subject, passes, outcome, now);
            true
        }
        Err(_) => false,
    }
}

fn calls(
    breakers: &mut Breakers,
    subject: &Subject,
    outcome: &AttemptOutcome,
    now: Instant,
) -> usize {
    (0..20)
        .filter(|_| call(breakers, subject, outcome, now))
        .count()
}

#[test]
fn an_operation_that_fails_holds_back_no_other() {
    let now = Instant::now();
    for (outcome, gets, lists) in [
        (AttemptOutcome::Failed, 3, 3),
        (AttemptOutcome::Silent, 3, 3),
        // A page of a proxy about one search is that search's; of GetImage there is one form alone.
        (AttemptOutcome::Foreign, 3, 20),
        (AttemptOutcome::Undecided, 20, 20),
        (denied("Forbidden"), 20, 1),
        (complaint(), 3, 20),
        // The pace waits for a throttle's end.
        (AttemptOutcome::Throttled(Throttle::default()), 20, 20),
    ] {
        let mut breakers = Breakers::new(LIMITS);
        let list = subject(Action::ListImages, "7");
        assert_eq!(
            calls(&mut breakers, &list, &outcome, now),
            lists,
            "{outcome:?}"
        );
        assert_eq!(
            calls(&mut breakers, &image("a"), &outcome, now),
            gets,
            "{outcome:?}"
        );
        let labels = subject(Action::ListImageLabels, "7");
        assert!(call(&mut breakers, &labels, &FOUND, now), "{outcome:?}");
        assert_eq!(breakers.state(now), BreakerState::Closed);
    }
}

#[test]
fn failures_of_the_connection_or_the_key_open_the_shared_breaker() {
    let now = Instant::now();
    for outcome in [
        AttemptOutcome::Unreachable,
        AttemptOutcome::KeyRefused(error("SignatureDoesNotMatch")),
    ] {
        let mut breakers = Breakers::new(LIMITS);
        assert_eq!(
            calls(&mut breakers, &image("a"), &outcome, now),
            3,
            "{outcome:?}"
        );
        assert!(!call(
            &mut breakers,
            &subject(Action::ListImages, ""),
            &FOUND,
            now
        ));
        assert_eq!(breakers.state(now), BreakerState::Open);
    }
}

#[test]
fn a_refused_key_costs_one_call_a_pause_that_doubles_and_one_when_it_changes() {
    let (start, mut breakers) = (Instant::now(), Breakers::new(LIMITS));
    let refused = AttemptOutcome::KeyRefused(error("InvalidAccessKeyId.NotFound"));
    let sent = (0..10_000_u64)
        .filter(|ms| {
            call(
                &mut breakers,
                &image("a"),
                &refused,
                start + Duration::from_millis(*ms),
            )
        })
        .count();
    // Three at first, and then after 1, 2 and 4 seconds.
    assert_eq!(sent, 3 + 3);
    let now = start + Duration::from_secs(10);
    let held = breakers.rejection(&image("a"), now);
    assert!(
        matches!(held, Some(UpstreamError::Credential(error)) if error.code == "InvalidAccessKeyId.NotFound")
    );
    breakers.credential_changed(false, now);
    assert!(call(&mut breakers, &image("a"), &refused, now));
    assert!(!call(&mut breakers, &image("a"), &refused, now));
    breakers.credential_changed(true, now);
    assert!(call(&mut breakers, &image("a"), &FOUND, now));
    assert_eq!(calls(&mut breakers, &image("b"), &FOUND, now), 20);
}

/// An origin in trouble that is reached again must not hide that the key is refused, nor the other way about.
#[test]
fn only_an_accepted_call_clears_a_failure_of_the_key() {
    let (start, mut breakers) = (Instant::now(), Breakers::new(LIMITS));
    let refused = AttemptOutcome::KeyRefused(OriginError::default());
    assert_eq!(calls(&mut breakers, &image("a"), &refused, start), 3);
    let later = start + Duration::from_secs(1);
    assert!(call(
        &mut breakers,
        &image("a"),
        &AttemptOutcome::Failed,
        later
    ));
    assert_eq!(breakers.state(later), BreakerState::Open);
    let last = start + Duration::from_secs(2);
    let missing = AttemptOutcome::Answered { is_success: false };
    assert!(call(&mut breakers, &image("a"), &missing, last));
    assert_eq!(breakers.state(last), BreakerState::Closed);
}

#[test]
fn an_operation_without_permission_is_probed_at_a_steady_pace_until_it_succeeds() {
    let (start, mut breakers) = (Instant::now(), Breakers::new(LIMITS));
    let not_permitted = AttemptOutcome::NotPermitted(error("NoPermission"));
    let sent = (0..5_000_u64)
        .filter(|ms| {
            let now = start + Duration::from_millis(*ms);
            call(&mut breakers, &image("a"), &not_permitted, now)
        })
        .count();
    assert_eq!(sent, 5, "once a second");
    let now = start + Duration::from_secs(5);
    assert!(call(
        &mut breakers,
        &subject(Action::ListImages, "1"),
        &FOUND,
        now
    ));
    assert_eq!(
        breakers.state(now),
        BreakerState::Closed,
        "it is no other operation's"
    );
    assert!(
        breakers
            .operation(Action::GetImage)
            .is_rejecting(HoldReason::Permission, start)
    );
    assert!(call(&mut breakers, &image("a"), &FOUND, now));
    assert_eq!(calls(&mut breakers, &image("b"), &FOUND, now), 20);
}

#[test]
fn requests_for_forbidden_ids_open_no_shared_breaker() {
    let (now, mut breakers) = (Instant::now(), Breakers::new(LIMITS));
    for id in ["a", "b", "c"] {
        assert!(call(&mut breakers, &image(id), &FOUND, now));
    }
    for round in 0..100 {
        let foreign = image(&format!("foreign-{round}"));
        assert!(!breakers.is_operation_denied(&foreign, now));
        assert!(call(&mut breakers, &foreign, &denied("Forbidden"), now));
    }
    // Images that were taken away, one after another.
    assert!(!breakers.is_operation_denied(&image("a"), now));
    assert!(!breakers.is_operation_denied(&image("b"), now));
    assert!(breakers.is_operation_denied(&image("c"), now));
}

#[test]
fn a_workspace_that_may_not_be_searched_has_its_own_breaker() {
    let (start, mut breakers) = (Instant::now(), Breakers::new(LIMITS));
    let [seven, eight] = ["7", "8"].map(|id| subject(Action::ListImages, id));
    assert!(call(&mut breakers, &seven, &denied("NoPermission"), start));
    let held = breakers.rejection(&seven, start);
    assert!(matches!(held, Some(UpstreamError::Refused(error)) if error.code == "NoPermission"));
    assert_eq!(calls(&mut breakers, &eight, &FOUND, start), 20);
    let later = start + Duration::from_secs(1);
    assert!(call(&mut breakers, &seven, &denied("NoPermission"), later));
    let doubled = later + Duration::from_millis(1999);
    assert!(!call(
        &mut breakers,
        &seven,
        &denied("NoPermission"),
        doubled
    ));
    let last = later + Duration::from_secs(2);
    assert!(call(&mut breakers, &seven, &FOUND, last));
    assert_eq!(calls(&mut breakers, &seven, &FOUND, last), 20);
}

#[test]
fn the_number_of_subjects_with_breakers_is_bounded() {
    let (start, mut breakers) = (Instant::now(), Breakers::new(LIMITS));
    for id in 0..3 * MAX_SUBJECTS {
        let workspace = subject(Action::ListImages, &id.to_string());
        assert!(call(&mut breakers, &workspace, &denied("Forbidden"), start));
    }
    assert_eq!(breakers.subjects.len(), MAX_SUBJECTS);
    let later = start + Duration::from_secs(1);
    let another = subject(Action::ListImages, "another");
    assert!(call(&mut breakers, &another, &denied("Forbidden"), later));
    assert_eq!(
        breakers.subjects.len(),
        1,
        "those whose pause is over make room"
    );
}

#[test]
fn a_refusal_that_a_new_signature_may_mend_counts_only_when_it_has_not() {
    let refused = Err(UpstreamError::Credential(error("SignatureNonceUsed")));
    assert!(matches!(
        AttemptOutcome::of(&refused, false),
        AttemptOutcome::Undecided
    ));
    assert!(matches!(
        AttemptOutcome::of(&refused, true),
        AttemptOutcome::KeyRefused(_)
    ));
}

#[test]
fn an_answer_that_is_too_long_opens_no_breaker() {
    let too_long = UpstreamError::Transport(Arc::new(TransportError::TooLong));
    assert!(matches!(
        AttemptOutcome::of(&Err(too_long), true),
        AttemptOutcome::Undecided
    ));
    let found = Ok(testing::answer(AnswerKind::Success(ImageFields::default())));
    assert!(matches!(
        AttemptOutcome::of(&found, true),
        AttemptOutcome::Answered { is_success: true }
    ));
}

#[test]
fn only_a_throttle_without_a_time_gets_a_window_which_an_accepted_call_resets() {
    let start = Instant::now();
    let throttled = |breakers: &mut Breakers, second, wait: Option<u64>| {
        let wait = wait.map(Duration::from_secs);
        let error = OriginError::default();
        let throttle = AttemptOutcome::Throttled(Throttle { error, wait });
        let operation = breakers.operation_mut(Action::GetImage);
        operation.slot_end(&throttle, start + Duration::from_secs(second))
    };
    let window = |before: &AttemptOutcome, wait| {
        let mut breakers = Breakers::new(LIMITS);
        throttled(&mut breakers, 0, None);
        throttled(&mut breakers, 1, None);
        assert!(call(&mut breakers, &image("a"), before, start));
        throttled(&mut breakers, 5, wait)
    };
    let missing = AttemptOutcome::Answered { is_success: false };
    for (before, wait, seconds) in [
        (FOUND, None, 1),
        (missing, None, 1),
        (complaint(), None, 1),
        (AttemptOutcome::Failed, None, 16),
        (AttemptOutcome::Foreign, None, 16),
        (AttemptOutcome::Undecided, None, 16),
        (AttemptOutcome::Failed, Some(3), 3),
    ] {
        let expected = SlotEnd::Throttled(Duration::from_secs(seconds));
        assert_eq!(window(&before, wait), expected, "{before:?} {wait:?}");
    }
}

/// A call that tells nothing of a breaker's trouble must not end it.
#[test]
fn silence_does_not_clear_a_failure_of_the_connection() {
    let (start, mut breakers) = (Instant::now(), Breakers::new(LIMITS));
    assert_eq!(
        calls(
            &mut breakers,
            &image("a"),
            &AttemptOutcome::Unreachable,
            start
        ),
        3
    );
    let later = start + Duration::from_secs(1);
    assert!(call(
        &mut breakers,
        &image("a"),
        &AttemptOutcome::Silent,
        later
    ));
    let other = subject(Action::ListImages, "1");
    assert!(!call(&mut breakers, &other, &FOUND, later));
    let last = later + Duration::from_secs(1);
    assert!(call(
        &mut breakers,
        &other,
        &AttemptOutcome::Undecided,
        last
    ));
    assert_eq!(calls(&mut breakers, &other, &FOUND, last), 20);
}

/// Whatever holds a call back: where the probe is abandoned, the next call probes at once and is the only one.
#[test]
fn an_abandoned_probe_is_repeated_at_once_and_clears_no_failure() {
    for (outcome, count) in [
        (AttemptOutcome::Unreachable, 3),
        (AttemptOutcome::KeyRefused(OriginError::default()), 3),
        (AttemptOutcome::Failed, 3),
        (AttemptOutcome::NotPermitted(OriginError::default()), 1),
        (complaint(), 3),
    ] {
        let (start, mut breakers) = (Instant::now(), Breakers::new(LIMITS));
        assert_eq!(
            calls(&mut breakers, &image("a"), &outcome, start),
            count,
            "{outcome:?}"
        );
        let later = start + Duration::from_secs(1);
        for _ in 0..3 {
            assert!(
                call(
                    &mut breakers,
                    &image("a"),
                    &AttemptOutcome::Abandoned,
                    later
                ),
                "{outcome:?}"
            );
        }
        let probe = breakers.admit(&image("a"), later);
        assert!(
            probe.is_ok() && breakers.admit(&image("a"), later).is_err(),
            "{outcome:?}"
        );
    }
}

#[test]
fn an_operation_is_rejected_for_its_own_reason_alone() {
    use HoldReason::{Failing, Permission, Throttled};
    let now = Instant::now();
    for (outcome, held) in [
        (FOUND, None),
        (AttemptOutcome::Failed, Some(Failing)),
        (AttemptOutcome::Throttled(Throttle::default()), None),
        (
            AttemptOutcome::NotPermitted(OriginError::default()),
            Some(Permission),
        ),
    ] {
        let mut breakers = Breakers::new(LIMITS);
        calls(&mut breakers, &image("a"), &outcome, now);
        for reason in [Failing, Throttled, Permission] {
            let is_held = breakers
                .operation(Action::GetImage)
                .is_rejecting(reason, now);
            assert_eq!(is_held, held == Some(reason), "{outcome:?} {reason:?}");
        }
    }
}

#[test]
fn a_refused_operation_is_answered_with_the_origins_own_code() {
    let (now, mut breakers) = (Instant::now(), Breakers::new(LIMITS));
    let refused = AttemptOutcome::NotPermitted(error("NoPermission"));
    assert!(call(&mut breakers, &image("a"), &refused, now));
    let held = breakers.rejection(&image("b"), now);
    assert!(matches!(held, Some(UpstreamError::Permission(error)) if error.code == "NoPermission"));
}

#[test]
fn a_renewed_credential_keeps_its_refusals_and_another_has_none() {
    let now = Instant::now();
    for (is_renewal, concerns) in [(true, true), (false, false)] {
        let mut breakers = Breakers::new(LIMITS);
        for id in ["a", "b"] {
            assert!(!breakers.is_operation_denied(&image(id), now));
        }
        breakers.credential_changed(is_renewal, now);
        assert_eq!(breakers.is_operation_denied(&image("c"), now), concerns);
    }
}

#[test]
fn a_parent_that_is_overloaded_fails_and_one_that_says_why_has_answered() {
    let parent = |fault| Err(UpstreamError::Parent(fault, OriginError::default()));
    let overloaded = parent(ParentFault::Overloaded);
    assert!(matches!(
        AttemptOutcome::of(&overloaded, true),
        AttemptOutcome::Failed
    ));
    for fault in [
        ParentFault::Timeout,
        ParentFault::Unavailable,
        ParentFault::NotCached,
    ] {
        let answered = AttemptOutcome::of(&parent(fault), true);
        assert!(
            matches!(answered, AttemptOutcome::Answered { is_success: false }),
            "{fault:?}"
        );
    }
}
