//! Sending of commands: a bound on those under way, a deadline for each, and a circuit breaker.

use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use redis::{ErrorKind, RedisError, RedisResult};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout};

use super::Config;
use super::connection::RedisConnection;
use crate::observability::metrics::SharedResult;
use crate::upstream::breaker::{Breaker, BreakerPermit, BreakerState, CallOutcome, Limits};

/// Bound on commands under way: enough to keep the connection busy, few enough that a command does not
/// spend its deadline behind thousands of others.
const MAX_IN_FLIGHT: usize = 128;

/// Bound on the wait for a permit, as a multiple of the time for one command.
const MAX_WAIT: u32 = 10;

/// Failure of a command; every one of them counts as a miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommandError {
    /// Not sent: no connection, an open breaker, or too many commands under way.
    Skipped,
    /// No reply within [`Config::timeout`]. The server may have carried out the command all the same.
    Timeout,
    /// The connection broke, or the server replied with an error.
    Error,
}

impl CommandError {
    pub(super) const fn result(self) -> SharedResult {
        match self {
            Self::Skipped => SharedResult::Skipped,
            Self::Timeout => SharedResult::Timeout,
            Self::Error => SharedResult::Error,
        }
    }
}

/// Sender of commands over the current connection, if there is one.
pub(super) struct Commands {
    connection: ArcSwapOption<RedisConnection>,
    permits: Semaphore,
    breaker: Mutex<Breaker>,
    timeout: Duration,
    /// Notified when the server stops accepting writes or this user's commands, so that the log reader
    /// gives the connection up.
    pub(super) refused: Notify,
}

impl Commands {
    pub(super) fn new(config: &Config) -> Self {
        let limits = Limits {
            failures: config.breaker_failures,
            pause: config.breaker_pause.0,
            max_pause: config.breaker_max_pause.0,
        };
        Self {
            connection: ArcSwapOption::empty(),
            permits: Semaphore::new(MAX_IN_FLIGHT),
            breaker: Mutex::new(Breaker::new(limits)),
            timeout: config.timeout.0,
            refused: Notify::new(),
        }
    }

    /// Replaces the connection; `None` stops all sending. A new connection closes the breaker.
    pub(super) fn connect(&self, connection: Option<RedisConnection>) {
        if connection.is_some() {
            // The server has just answered over it, so a pause from before would only cost hits.
            let mut breaker = self.breaker.lock();
            breaker.record(BreakerPermit::Probe, CallOutcome::Answered, Instant::now());
        }
        self.connection.store(connection.map(Into::into));
    }

    /// Returns whether commands can be sent, whatever the state of the breaker.
    pub(super) fn is_connected(&self) -> bool {
        self.connection.load().is_some()
    }

    /// Returns the state of the breaker, for `/status`.
    pub(super) fn state(&self) -> BreakerState {
        self.breaker.lock().state(Instant::now())
    }

    /// Runs one command, or a script, within [`Config::timeout`], and records its outcome in the breaker.
    ///
    /// # Errors
    /// [`CommandError`], without a retry.
    pub(super) async fn run<T>(
        &self,
        command: impl AsyncFnOnce(RedisConnection) -> RedisResult<T>,
    ) -> Result<T, CommandError> {
        let Some(connection) = self.connection.load_full() else {
            return Err(CommandError::Skipped);
        };
        let permit = timeout(self.timeout * MAX_WAIT, self.permits.acquire());
        let Ok(Ok(_permit)) = permit.await else {
            return Err(CommandError::Skipped);
        };
        // Its outcome stays `Abandoned` if this future is dropped: a caller that went away says nothing about
        // the server.
        let mut guard = self.admit()?;
        let ran = timeout(self.timeout, command(RedisConnection::clone(&connection))).await;
        match ran {
            Ok(Ok(reply)) => {
                guard.outcome = CallOutcome::Answered;
                Ok(reply)
            }
            Ok(Err(error)) => {
                guard.outcome = CallOutcome::Failed;
                tracing::debug!(%error, "the shared cache refused a command");
                if condemns_connection(&error) {
                    self.refused.notify_one();
                }
                Err(CommandError::Error)
            }
            Err(_) => {
                guard.outcome = CallOutcome::Failed;
                Err(CommandError::Timeout)
            }
        }
    }

    fn admit(&self) -> Result<BreakerGuard<'_>, CommandError> {
        let permit = self.breaker.lock().admit(Instant::now());
        Ok(BreakerGuard {
            breaker: &self.breaker,
            permit: permit.map_err(|_| CommandError::Skipped)?,
            outcome: CallOutcome::Abandoned,
        })
    }
}

/// Returns whether a new connection could succeed where this one fails: a demoted primary accepts no
/// writes, and a changed password asks for another sign-in.
fn condemns_connection(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed
        || error.code().is_some_and(|code| CONDEMNING.contains(&code))
        || error.detail().is_some_and(wraps_one)
}

/// Codes that a demoted primary, or one cut off from its replicas, replies with from then on.
const CONDEMNING: [&str; 4] = ["READONLY", "NOREPLICAS", "MASTERDOWN", "NOAUTH"];

/// Returns whether a script's error is one of these. Redis before 7 wraps it in an error of its own:
/// `ERR Error running script (call to f_…): @user_script:13: -READONLY You can't write against …`.
fn wraps_one(detail: &str) -> bool {
    let mut codes = detail
        .split_ascii_whitespace()
        .filter_map(|part| part.strip_prefix('-'));
    codes.any(|code| CONDEMNING.contains(&code))
}

/// Records a command's outcome in the breaker when it is dropped, so that an abandoned probe counts too.
struct BreakerGuard<'a> {
    breaker: &'a Mutex<Breaker>,
    permit: BreakerPermit,
    outcome: CallOutcome,
}

impl Drop for BreakerGuard<'_> {
    fn drop(&mut self) {
        let mut breaker = self.breaker.lock();
        breaker.record(self.permit, self.outcome, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error as the client's library reads it off the wire.
    fn replied(line: &str) -> RedisError {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        value.extract_error().unwrap_err()
    }

    #[test]
    fn a_connection_that_accepts_no_writes_is_given_up_whatever_the_form_of_the_error() {
        for line in [
            "READONLY You can't write against a read only replica.",
            // 7.0 and later, inside a script.
            "READONLY You can't write against a read only replica. script: 3f1e, on @user_script:1.",
            // 6.2, inside a script.
            "ERR Error running script (call to f_3f1e): @user_script:19: @user_script: 19: -READONLY You can't write against a read only replica.",
            "NOREPLICAS Not enough good replicas to write.",
            "ERR Error running script (call to f_3f1e): @user_script:2: -NOREPLICAS Not enough good replicas to write.",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "NOAUTH Authentication required.",
        ] {
            assert!(condemns_connection(&replied(line)), "{line}");
        }
        for line in [
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "ERR Error running script (call to f_3f1e): @user_script:19: -OOM command not allowed",
            "NOPERM this user has no permissions to run the 'set' command",
            "ERR no such thing as READONLY here",
        ] {
            assert!(!condemns_connection(&replied(line)), "{line}");
        }
    }
}
