//! Each signed write goes to the origin at most once.

use jiff::Timestamp;

use super::Gateway;
use super::context::RequestContext;
use crate::auth::AuthError;
use crate::response::Error;
use crate::shared_cache::WriteNonce;

impl Gateway {
    /// Records the nonce of a signed write, on disk and for the fleet, right before it is sent. A write
    /// without a signature is vouched for by its connection, and has none.
    ///
    /// With a shared tier its record decides, and without an answer from there no write is sent: the one
    /// exception to its loss being a miss.
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
