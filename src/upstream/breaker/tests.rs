use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    failures: 3,
    pause: Duration::from_secs(1),
    max_pause: Duration::from_secs(4),
};

/// A call that is let go and ends so.
fn call(breaker: &mut Breaker, outcome: CallOutcome, now: Instant) {
    let permit = breaker.admit(now).unwrap();
    breaker.record(permit, outcome, now);
}

fn open_at(start: Instant) -> Breaker {
    let mut breaker = Breaker::new(LIMITS);
    for _ in 0..3 {
        call(&mut breaker, CallOutcome::Failed, start);
    }
    breaker
}

#[test]
fn failures_in_a_row_open_it_and_an_answer_between_them_does_not() {
    let now = Instant::now();
    let mut breaker = Breaker::new(LIMITS);
    for outcome in [
        CallOutcome::Failed,
        CallOutcome::Failed,
        CallOutcome::Answered,
        CallOutcome::Failed,
        CallOutcome::Failed,
    ] {
        call(&mut breaker, outcome, now);
    }
    assert_eq!(breaker.state(now), BreakerState::Closed);
    call(&mut breaker, CallOutcome::Failed, now);
    assert_eq!(
        (breaker.state(now), breaker.admit(now)),
        (BreakerState::Open, Err(Rejected))
    );
}

#[test]
fn after_the_pause_one_probe_decides() {
    let start = Instant::now();
    let later = start + Duration::from_secs(1);
    let mut breaker = open_at(start);
    assert_eq!(
        breaker.admit(later - Duration::from_millis(1)),
        Err(Rejected)
    );
    assert_eq!(breaker.admit(later), Ok(BreakerPermit::Probe));
    assert_eq!(
        (breaker.state(later), breaker.admit(later)),
        (BreakerState::Probing, Err(Rejected))
    );
    breaker.record(BreakerPermit::Probe, CallOutcome::Answered, later);
    assert_eq!(
        (breaker.state(later), breaker.admit(later)),
        (BreakerState::Closed, Ok(BreakerPermit::Call))
    );
}

#[test]
fn each_failed_probe_doubles_the_pause_up_to_a_limit() {
    let mut now = Instant::now();
    let mut breaker = open_at(now);
    for pause in [1, 2, 4, 4] {
        assert_eq!(
            breaker.admit(now + Duration::from_millis(pause * 1000 - 1)),
            Err(Rejected)
        );
        now += Duration::from_secs(pause);
        call(&mut breaker, CallOutcome::Failed, now);
    }
}

#[test]
fn an_abandoned_probe_lets_another_call_probe() {
    let start = Instant::now();
    let mut breaker = open_at(start);
    let later = start + Duration::from_secs(1);
    call(&mut breaker, CallOutcome::Abandoned, later);
    assert_eq!(breaker.admit(later), Ok(BreakerPermit::Probe));
}

#[test]
fn calls_on_their_way_when_it_opened_do_not_lengthen_the_pause() {
    let start = Instant::now();
    let mut breaker = open_at(start);
    breaker.record(
        BreakerPermit::Call,
        CallOutcome::Failed,
        start + Duration::from_millis(900),
    );
    let later = start + Duration::from_secs(1);
    assert_eq!(breaker.admit(later), Ok(BreakerPermit::Probe));
    breaker.record(BreakerPermit::Call, CallOutcome::Failed, later);
    assert_eq!(breaker.admit(later), Err(Rejected));
}

#[test]
fn an_inconclusive_probe_is_repeated_after_the_same_pause() {
    let mut now = Instant::now();
    let mut breaker = open_at(now);
    for _ in 0..3 {
        now += Duration::from_secs(1);
        call(&mut breaker, CallOutcome::Inconclusive, now);
        let soon = now + Duration::from_millis(999);
        assert_eq!(breaker.admit(soon), Err(Rejected));
    }
    // While it is closed such a call neither counts nor ends a row of failures.
    let mut closed = Breaker::new(LIMITS);
    for outcome in [
        CallOutcome::Failed,
        CallOutcome::Inconclusive,
        CallOutcome::Failed,
        CallOutcome::Inconclusive,
        CallOutcome::Failed,
    ] {
        call(&mut closed, outcome, now);
    }
    assert_eq!(closed.state(now), BreakerState::Open);
}

#[test]
fn one_call_probes_at_once_when_the_cause_has_changed() {
    let now = Instant::now();
    let mut breaker = open_at(now);
    breaker.probe_now(now);
    assert_eq!(breaker.admit(now), Ok(BreakerPermit::Probe));
    assert_eq!(breaker.admit(now), Err(Rejected));
    breaker.record(BreakerPermit::Probe, CallOutcome::Failed, now);
    assert_eq!(breaker.admit(now), Err(Rejected));
    let mut closed = Breaker::new(LIMITS);
    closed.probe_now(now);
    assert_eq!(closed.admit(now), Ok(BreakerPermit::Call));
}

/// One call at a time, in ten lines: what the breaker must agree with.
#[derive(Default)]
struct Model {
    failures: u32,
    pause: u64,
    closed_until_ms: Option<u64>,
}

impl Model {
    fn step(&mut self, now: u64, fails: bool) -> bool {
        if self.closed_until_ms.is_some_and(|until| now < until) {
            return false;
        }
        if !fails {
            *self = Self {
                pause: 1000,
                ..Self::default()
            };
            return true;
        }
        self.failures += 1;
        self.pause = if self.closed_until_ms.is_some() {
            (self.pause * 2).min(4000)
        } else {
            1000
        };
        self.closed_until_ms =
            (self.failures >= 3 || self.closed_until_ms.is_some()).then_some(now + self.pause);
        true
    }
}

proptest! {
    #[test]
    fn it_agrees_with_the_model(steps in prop::collection::vec((0u64..2500, any::<bool>()), 0..200)) {
        let start = Instant::now();
        let (mut breaker, mut model, mut ms) = (Breaker::new(LIMITS), Model::default(), 0);
        for (pause, fails) in steps {
            ms += pause;
            let now = start + Duration::from_millis(ms);
            let admitted = breaker.admit(now);
            prop_assert_eq!(admitted.is_ok(), model.step(ms, fails));
            if let Ok(permit) = admitted {
                breaker.record(permit, if fails { CallOutcome::Failed } else { CallOutcome::Answered }, now);
            }
        }
    }
}

#[test]
fn each_state_has_its_label() {
    let labels = BreakerState::ALL.map(BreakerState::as_str);
    assert_eq!(labels, ["closed", "open", "probing"]);
}
