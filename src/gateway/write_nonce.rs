//! Replay protection of signed writes: each goes to the origin at most once.

use jiff::Timestamp;

use super::Gateway;
use super::context::RequestContext;
use crate::auth::AuthError;
use crate::response::Error;
use crate::shared_cache::WriteNonce;

impl Gateway {
    /// Records the nonce of a signed write, on disk and for all replicas, right before the write is sent. An
    /// unsigned write has none: its connection authenticates it.
    ///
    /// With a shared cache its record decides, and without a reply from there no write is sent. This is the one
    /// case in which the loss of the shared cache is not treated as a miss.
    pub(super) async fn claim_write(&self, context: &RequestContext<'_>) -> Result<(), Error> {
        let Some(proof) = context.write else {
            return Ok(());
        };
        let shared = self.parts.shared.as_ref();
        let auth = &self.parts.auth;
        let now = Timestamp::now();
        auth.claim_write(proof, now, shared.is_some()).await?;
        let Some(shared) = shared else {
            return Ok(());
        };
        for fingerprint in &proof.fingerprints {
            let age = now.duration_since(proof.date);
            let refused = match shared.record_write_nonce(fingerprint, age).await {
                Ok(WriteNonce::First) => continue,
                Ok(WriteNonce::Seen) => AuthError::NonceUsed,
                Ok(WriteNonce::Unknown) => AuthError::Expired,
                Err(_) => AuthError::NotRecorded,
            };
            auth.count_write_error(refused);
            return Err(refused.into());
        }
        Ok(())
    }
}
