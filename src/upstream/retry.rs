//! Retries: which attempts are repeated, after which pause, and within which budget of all calls together.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tower::retry::budget::{Budget, TpsBudget};

use super::{AnswerKind, OriginAnswer, UpstreamError};
use crate::api::Operation;

/// Number of attempts of one call, the first included.
const MAX_ATTEMPTS: u32 = 3;
/// Upper bound of the first pause, which is drawn at random; the bound of the next is twice as high.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Retries a second that are allowed however few calls there are.
const MIN_PER_SECOND: u32 = 10;
/// Time over which the budget adds calls and retries up.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

/// Retry budget that all calls share, so that a failing origin gets little more load than a healthy one.
#[derive(Debug)]
pub(super) struct RetryPolicy {
    budget: Arc<TpsBudget>,
}

/// Attempts of one call.
#[derive(Debug)]
pub(super) struct CallAttempts {
    budget: Arc<TpsBudget>,
    is_read: bool,
    made: u32,
    signed_again: bool,
}

/// Decision after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryDecision {
    /// The attempt was the last; its result is the call's.
    Stop,
    /// Another attempt follows after a pause.
    After(Duration),
}

impl RetryPolicy {
    /// Allows `percent` retries per hundred successful calls.
    pub(super) fn new(percent: u8) -> Self {
        let budget = TpsBudget::new(BUDGET_WINDOW, MIN_PER_SECOND, f32::from(percent) / 100.0);
        Self {
            budget: Arc::new(budget),
        }
    }

    /// Begins a call's attempts.
    pub(super) fn attempts(&self, operation: &Operation) -> CallAttempts {
        let budget = Arc::clone(&self.budget);
        CallAttempts {
            budget,
            is_read: !operation.is_write(),
            made: 0,
            signed_again: false,
        }
    }
}

impl CallAttempts {
    /// Returns whether a rejection that a new signature cures is final: one has been met already, or the call is a
    /// write.
    pub(super) const fn has_signed_again(&self) -> bool {
        self.signed_again || !self.is_read
    }

    /// Returns the number of attempts that were decided on.
    pub(super) const fn made(&self) -> u32 {
        self.made
    }

    /// Decides whether another attempt follows. A write is never repeated: the first may have been carried out.
    pub(super) fn decide(
        &mut self,
        result: &Result<OriginAnswer, UpstreamError>,
        deadline: Instant,
        now: Instant,
    ) -> RetryDecision {
        self.made += 1;
        if !self.is_read {
            return RetryDecision::Stop;
        }
        match result {
            Ok(answer) => {
                if matches!(answer.kind, AnswerKind::Success(_)) {
                    self.budget.deposit();
                }
                RetryDecision::Stop
            }
            Err(error) if error.is_cured_by_new_signature() => {
                if std::mem::replace(&mut self.signed_again, true) {
                    RetryDecision::Stop
                } else {
                    // Costs no budget: the origin did no work, and the second rejection is final.
                    RetryDecision::After(Duration::ZERO)
                }
            }
            Err(error) if error.is_retryable() => self.retry_within(deadline, now),
            Err(_) => RetryDecision::Stop,
        }
    }

    /// Returns whether a throttled call goes back to the queue, where the pace makes it wait. It costs no budget: the
    /// pace bounds all calls alike.
    pub(super) const fn waits_out_throttle(&self) -> bool {
        self.is_read && self.made < MAX_ATTEMPTS
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

#[cfg(test)]
mod tests {
    use strum::VariantArray as _;

    use super::*;
    use crate::api::{ImageFields, ImageId, ImageKey, OriginError};
    use crate::transport::TransportError;
    use crate::upstream::{ParentFault, Throttle, testing};

    fn get() -> Operation {
        Operation::GetImage(ImageKey {
            image: ImageId::parse("i").unwrap(),
            verbose: false,
        })
    }

    fn retries(
        operation: &Operation,
        result: &Result<OriginAnswer, UpstreamError>,
        left: Duration,
    ) -> u32 {
        let (now, mut attempts) = (Instant::now(), RetryPolicy::new(20).attempts(operation));
        (0..10)
            .take_while(|_| attempts.decide(result, now + left, now) != RetryDecision::Stop)
            .count() as u32
    }

    #[test]
    fn reads_are_tried_again_on_faults_within_the_deadline() {
        let minute = Duration::from_secs(60);
        assert_eq!(retries(&get(), &Err(UpstreamError::Timeout), minute), 2);
        assert_eq!(
            retries(
                &get(),
                &Err(UpstreamError::Server(OriginError::default())),
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
                &Err(UpstreamError::Throttled(Throttle::default())),
                minute
            ),
            0
        );
        let foreign = Err(UpstreamError::Foreign(OriginError::default()));
        assert_eq!(retries(&get(), &foreign, minute), 0);
        let too_long = Err(UpstreamError::Transport(Arc::new(TransportError::TooLong)));
        assert_eq!(retries(&get(), &too_long, minute), 0);
        assert_eq!(
            retries(
                &get(),
                &Ok(testing::answer(AnswerKind::Success(ImageFields::default()))),
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
                    &Err(UpstreamError::Credential(error)),
                    Duration::from_secs(60)
                ),
                expected,
                "{code}"
            );
        }
    }

    #[test]
    fn a_parents_own_errors_are_final() {
        for &fault in ParentFault::VARIANTS {
            let answer = Err(UpstreamError::Parent(fault, OriginError::default()));
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
        let refused = Err(UpstreamError::Credential(error));
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

    #[test]
    fn no_retry_begins_at_the_deadline() {
        let now = Instant::now();
        let decide = |left| {
            fastrand::seed(1);
            let mut attempts = RetryPolicy::new(20).attempts(&get());
            attempts.decide(&Err(UpstreamError::Timeout), now + left, now)
        };
        let RetryDecision::After(pause) = decide(Duration::from_secs(60)) else {
            panic!("a read is tried again");
        };
        assert_eq!(decide(pause), RetryDecision::Stop);
        let later = pause + Duration::from_nanos(1);
        assert_eq!(decide(later), RetryDecision::After(pause));
    }
}
