//! State of the probes `/livez`, `/readyz` and `/startupz`.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::auth::Authenticator;
use crate::credentials::CredentialProvider;

/// Readiness of the gateway. It falls only with the gateway's own state, a stop, a missing credential or keys of
/// clients that never came, never with the origin's: a load balancer that took every replica out would lose the stale copies too.
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
    pub fn readiness(
        &self,
        credentials: &CredentialProvider,
        auth: &Authenticator,
    ) -> Result<(), &'static str> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err("stopping");
        }
        let lack = credentials.unavailable_reason();
        if let Some(lack) = lack.or_else(|| auth.unavailable_reason()) {
            return Err(lack);
        }
        self.started.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Checks that the gateway has been ready at least once.
    ///
    /// # Errors
    /// The reason why it has not.
    pub fn startup(
        &self,
        credentials: &CredentialProvider,
        auth: &Authenticator,
    ) -> Result<(), &'static str> {
        if self.started.load(Ordering::Relaxed) {
            Ok(())
        } else {
            self.readiness(credentials, auth)
        }
    }
}
