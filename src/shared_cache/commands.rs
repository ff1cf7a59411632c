//! One command: a turn, a deadline, a breaker, and a count of what came of it.

use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use redis::{ErrorKind, RedisError, RedisResult};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout};

use super::Config;
use super::connection::RedisConnection;
use crate::breaker::{Breaker, BreakerPermit, BreakerState, CallOutcome, Limits};
use crate::observability::metrics::SharedResult;

/// Commands under way at once: enough to keep a connection busy, few enough that one that is sent has
/// not to wait for thousands of our own.
const TURNS: usize = 128;

/// A turn is waited for no longer than so many commands may take.
const PATIENCE: u32 = 10;

/// Why a command brought nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommandError {
    /// It was not sent.
    Skipped,
    /// No reply in time.
    Timeout,
    /// The connection broke, or the server refused.
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

/// Sends commands while there is a connection that is up to date.
pub(super) struct Commands {
    connection: ArcSwapOption<RedisConnection>,
    turns: Semaphore,
    breaker: Mutex<Breaker>,
    timeout: Duration,
    /// The connection is to a server that takes no commands of this user, or no writes, any more.
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
            turns: Semaphore::new(TURNS),
            breaker: Mutex::new(Breaker::new(limits)),
            timeout: config.timeout.0,
            refused: Notify::new(),
        }
    }

    /// Sends over this connection from now on, or over none.
    pub(super) fn connect(&self, connection: Option<RedisConnection>) {
        if connection.is_some() {
            // It has just answered.
            let mut breaker = self.breaker.lock();
            breaker.record(BreakerPermit::Probe, CallOutcome::Answered, Instant::now());
        }
        self.connection.store(connection.map(Into::into));
    }

    /// Whether there is a connection.
    pub(super) fn is_connected(&self) -> bool {
        self.connection.load().is_some()
    }

    /// Where the breaker stands.
    pub(super) fn state(&self) -> BreakerState {
        self.breaker.lock().state(Instant::now())
    }

    /// Sends what `command` sends, within the time for one.
    pub(super) async fn run<T>(
        &self,
        command: impl AsyncFnOnce(RedisConnection) -> RedisResult<T>,
    ) -> Result<T, CommandError> {
        let Some(connection) = self.connection.load_full() else {
            return Err(CommandError::Skipped);
        };
        let turn = timeout(self.timeout * PATIENCE, self.turns.acquire());
        let Ok(Ok(_turn)) = turn.await else {
            return Err(CommandError::Skipped);
        };
        let mut guard = self.admit()?;
        let ran = timeout(self.timeout, command(RedisConnection::clone(&connection))).await;
        match ran {
            Ok(Ok(reply)) => {
                guard.outcome = CallOutcome::Answered;
                Ok(reply)
            }
            Ok(Err(error)) => {
                guard.outcome = CallOutcome::Failed;
                tracing::debug!(%error, "the shared tier refused a command");
                if is_of_the_connection(&error) {
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

/// Another connection may do better: a demoted primary takes no writes, a new password asks for another
/// sign-in.
fn is_of_the_connection(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed
        || error.code().is_some_and(|code| GIVEN_UP.contains(&code))
        || error.detail().is_some_and(wraps_one)
}

/// Codes that this server goes on answering with, while another may be the primary by now.
const GIVEN_UP: [&str; 4] = ["READONLY", "NOREPLICAS", "MASTERDOWN", "NOAUTH"];

/// Redis before 7 tells a script's error inside one of its own:
/// `ERR Error running script (call to f_…): @user_script:13: -READONLY You can't write against …`.
fn wraps_one(detail: &str) -> bool {
    let mut codes = detail
        .split_ascii_whitespace()
        .filter_map(|part| part.strip_prefix('-'));
    codes.any(|code| GIVEN_UP.contains(&code))
}

/// Tells the breaker how a command ended, however it ended.
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
    fn a_connection_that_takes_no_writes_is_given_up_however_that_is_told() {
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
            assert!(is_of_the_connection(&replied(line)), "{line}");
        }
        for line in [
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "ERR Error running script (call to f_3f1e): @user_script:19: -OOM command not allowed",
            "NOPERM this user has no permissions to run the 'set' command",
            "ERR no such thing as READONLY here",
        ] {
            assert!(!is_of_the_connection(&replied(line)), "{line}");
        }
    }
}
