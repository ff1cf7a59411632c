//! What the probes say.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::credentials::CredentialProvider;

/// Whether the gateway should get traffic. Readiness falls only by our own doing, never by the origin's.
#[derive(Debug, Default)]
pub struct Health {
    started: AtomicBool,
    stopping: AtomicBool,
}

impl Health {
    /// From now on it is not ready.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether it should get traffic, or why not.
    ///
    /// # Errors
    /// The reason.
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

    /// Whether it has been ready once.
    ///
    /// # Errors
    /// Why it has not.
    pub fn startup(&self, credentials: &CredentialProvider) -> Result<(), &'static str> {
        if self.started.load(Ordering::Relaxed) {
            Ok(())
        } else {
            self.readiness(credentials)
        }
    }
}
