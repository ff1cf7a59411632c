//! State of the probes `/livez`, `/readyz` and `/startupz`.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::credentials::CredentialProvider;

/// Readiness of the gateway. It falls only with the gateway's own state, a stop or a missing credential, never with
/// the origin's: a load balancer that took every replica out would lose the stale copies too.
#[derive(Debug, Default)]
pub struct Health {
    started: AtomicBool,
    stopping: AtomicBool,
}

impl Health {
    /// Makes the gateway not ready, so that load balancers send no more requests while it drains.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Checks that the gateway can take traffic.
    ///
    /// # Errors
    /// The reason, as the probe's body.
    pub fn readiness(&self, credentials: &CredentialProvider) -> Result<(), &'static str> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err("stopping");
        }
        if let Some(lack) = credentials.unavailable_reason() {
            return Err(lack);
        }
        self.started.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Checks that the gateway has been ready at least once.
    ///
    /// # Errors
    /// The reason why it has not.
    pub fn startup(&self, credentials: &CredentialProvider) -> Result<(), &'static str> {
        if self.started.load(Ordering::Relaxed) {
            Ok(())
        } else {
            self.readiness(credentials)
        }
    }
}
