//! Whether and when to try again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tower::retry::budget::{Budget, TpsBudget};

use super::{Attempt, UpstreamError, Verdict};
use crate::api::Operation;
use crate::transport::TransportError;

/// Most attempts of one call.
const MAX_ATTEMPTS: u32 = 3;
/// The first pause is drawn from up to this, the next from up to twice as much.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Retries a second that are allowed however few calls there are.
const MIN_PER_SECOND: u32 = 10;
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

/// What all calls may spend on retries together, so that an origin in trouble gets little more to do.
#[derive(Debug)]
pub(super) struct RetryPolicy {
    budget: Arc<TpsBudget>,
}

/// The attempts of one call.
#[derive(Debug)]
pub(super) struct Attempts {
    budget: Arc<TpsBudget>,
    is_read: bool,
    made: u32,
    signed_again: bool,
}

/// What to do after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryDecision {
    /// It was the last.
    Stop,
    /// Try again after a pause.
    After(Duration),
}

impl RetryPolicy {
    pub(super) fn new(percent: u8) -> Self {
        let budget = TpsBudget::new(BUDGET_WINDOW, MIN_PER_SECOND, f32::from(percent) / 100.0);
        Self {
            budget: Arc::new(budget),
        }
    }

    pub(super) fn attempts(&self, operation: &Operation) -> Attempts {
        let budget = Arc::clone(&self.budget);
        Attempts {
            budget,
            is_read: !operation.is_write(),
            made: 0,
            signed_again: false,
        }
    }
}

impl Attempts {
    /// Whether a refusal that a new signature may mend has been met already.
    pub(super) const fn has_signed_again(&self) -> bool {
        self.signed_again || !self.is_read
    }

    /// Attempts that were judged.
    pub(super) const fn made(&self) -> u32 {
        self.made
    }

    /// Judges an attempt. Writes are never tried again: the first may have been carried out.
    pub(super) fn decide(
        &mut self,
        outcome: &Result<Attempt, UpstreamError>,
        deadline: Instant,
        now: Instant,
    ) -> RetryDecision {
        self.made += 1;
        if !self.is_read {
            return RetryDecision::Stop;
        }
        match outcome {
            Ok(Attempt {
                verdict: Verdict::Credential(error),
                ..
            }) if is_mended_by_signing_again(&error.code) => {
                if std::mem::replace(&mut self.signed_again, true) {
                    RetryDecision::Stop
                } else {
                    RetryDecision::After(Duration::ZERO)
                }
            }
            Ok(Attempt {
                verdict: Verdict::ServerError(_) | Verdict::Unreadable,
                ..
            })
            | Err(UpstreamError::Timeout) => self.retry_within(deadline, now),
            Err(UpstreamError::Transport(error)) if !matches!(**error, TransportError::TooLong) => {
                self.retry_within(deadline, now)
            }
            Ok(attempt) => {
                if matches!(attempt.verdict, Verdict::Ok(_)) {
                    self.budget.deposit();
                }
                RetryDecision::Stop
            }
            Err(_) => RetryDecision::Stop,
        }
    }

    fn retry_within(&self, deadline: Instant, now: Instant) -> RetryDecision {
        let pause = (FIRST_PAUSE * 2u32.saturating_pow(self.made - 1)).mul_f64(fastrand::f64());
        let in_time = now + pause < deadline;
        if self.made < MAX_ATTEMPTS && in_time && self.budget.withdraw() {
            RetryDecision::After(pause)
        } else {
            RetryDecision::Stop
        }
    }
}

/// A used nonce and an expired date are cured by a new signature: with another nonce, by the origin's clock.
pub(super) fn is_mended_by_signing_again(code: &str) -> bool {
    code == "SignatureNonceUsed" || code.starts_with("InvalidTimeStamp.")
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use jiff::Timestamp;

    use super::*;
    use crate::api::{ImageFields, ImageId, ImageKey, OriginError};
    use crate::transport::Reply;
    use crate::upstream::{ParentFault, Throttle};

    fn get() -> Operation {
        Operation::GetImage(ImageKey {
            image: ImageId::parse("i").unwrap(),
            verbose: false,
        })
    }

    fn answered(verdict: Verdict) -> Result<Attempt, UpstreamError> {
        let reply = Reply {
            status: 400,
            headers: HeaderMap::new(),
            body: "".into(),
            connection: crate::transport::Connection::default(),
        };
        Ok(Attempt {
            verdict,
            reply,
            sent: Instant::now(),
            took: Duration::ZERO,
            received: Timestamp::now(),
        })
    }

    fn retries(
        operation: &Operation,
        outcome: &Result<Attempt, UpstreamError>,
        left: Duration,
    ) -> u32 {
        let (now, mut attempts) = (Instant::now(), RetryPolicy::new(20).attempts(operation));
        (0..10)
            .take_while(|_| attempts.decide(outcome, now + left, now) != RetryDecision::Stop)
            .count() as u32
    }

    #[test]
    fn reads_are_tried_again_on_faults_within_the_deadline() {
        let minute = Duration::from_secs(60);
        assert_eq!(retries(&get(), &Err(UpstreamError::Timeout), minute), 2);
        assert_eq!(
            retries(
                &get(),
                &answered(Verdict::ServerError(OriginError::default())),
                minute
            ),
            2
        );
        assert_eq!(
            retries(&get(), &Err(UpstreamError::Timeout), Duration::ZERO),
            0
        );
        assert_eq!(
            retries(
                &get(),
                &answered(Verdict::Throttled(Throttle::default())),
                minute
            ),
            0
        );
        let foreign = answered(Verdict::Foreign(OriginError::default()));
        assert_eq!(retries(&get(), &foreign, minute), 0);
        let too_long = Err(UpstreamError::Transport(Arc::new(TransportError::TooLong)));
        assert_eq!(retries(&get(), &too_long, minute), 0);
        assert_eq!(
            retries(
                &get(),
                &answered(Verdict::Ok(ImageFields::default())),
                minute
            ),
            0
        );
        assert_eq!(
            retries(&Operation::AddImage, &Err(UpstreamError::Timeout), minute),
            0
        );
    }

    #[test]
    fn a_refused_nonce_or_date_is_signed_again_once() {
        for (code, expected) in [
            ("SignatureNonceUsed", 1),
            ("InvalidTimeStamp.Expired", 1),
            ("SignatureDoesNotMatch", 0),
        ] {
            let error = OriginError {
                code: code.to_owned(),
                ..OriginError::default()
            };
            assert_eq!(
                retries(
                    &get(),
                    &answered(Verdict::Credential(error)),
                    Duration::from_secs(60)
                ),
                expected,
                "{code}"
            );
        }
    }

    #[test]
    fn what_a_parent_says_in_its_own_words_is_final() {
        for fault in [
            ParentFault::Timeout,
            ParentFault::Unavailable,
            ParentFault::Overloaded,
            ParentFault::NotCached,
            ParentFault::Unreadable,
            ParentFault::Credential,
            ParentFault::Loop,
        ] {
            let answer = answered(Verdict::Parent(fault));
            assert_eq!(retries(&get(), &answer, Duration::from_secs(60)), 0);
        }
    }

    #[test]
    fn all_calls_together_stay_within_the_budget() {
        let retries = RetryPolicy::new(0);
        let now = Instant::now();
        let granted = (0..1000)
            .filter(|_| {
                let next = retries.attempts(&get()).decide(
                    &Err(UpstreamError::Timeout),
                    now + Duration::from_secs(60),
                    now,
                );
                next != RetryDecision::Stop
            })
            .count();
        assert!(granted <= 10 * 10, "{granted}");
    }

    #[test]
    fn a_broken_connection_is_tried_again() {
        for error in [
            TransportError::Stale("closed".to_owned()),
            TransportError::Connection("reset".to_owned()),
            TransportError::Encoding,
        ] {
            let failed = Err(UpstreamError::Transport(Arc::new(error)));
            assert_eq!(retries(&get(), &failed, Duration::from_secs(60)), 2);
        }
    }

    /// The first pause is drawn from up to 50 ms, the second from up to 100 ms.
    #[test]
    fn pauses_are_drawn_from_a_range_that_doubles() {
        let now = Instant::now();
        let longest = (0..300).fold([Duration::ZERO; 2], |longest, _| {
            let mut attempts = RetryPolicy::new(20).attempts(&get());
            longest.map(|longest| {
                let deadline = now + Duration::from_secs(60);
                match attempts.decide(&Err(UpstreamError::Timeout), deadline, now) {
                    RetryDecision::After(pause) => pause.max(longest),
                    RetryDecision::Stop => panic!("the budget of two retries is spent"),
                }
            })
        });
        let ms = Duration::from_millis;
        assert!(longest[0] > ms(40) && longest[0] <= ms(50), "{longest:?}");
        assert!(longest[1] > ms(80) && longest[1] <= ms(100), "{longest:?}");
    }

    #[test]
    fn only_a_read_is_signed_again_and_once() {
        let now = Instant::now();
        let error = OriginError {
            code: "SignatureNonceUsed".to_owned(),
            ..OriginError::default()
        };
        let refused = answered(Verdict::Credential(error));
        let retries = RetryPolicy::new(20);
        for (operation, before) in [(get(), false), (Operation::AddImage, true)] {
            let mut attempts = retries.attempts(&operation);
            assert_eq!((attempts.has_signed_again(), attempts.made()), (before, 0));
            for made in 1..=2 {
                attempts.decide(&refused, now + Duration::from_secs(60), now);
                assert_eq!((attempts.has_signed_again(), attempts.made()), (true, made));
            }
        }
    }
}
