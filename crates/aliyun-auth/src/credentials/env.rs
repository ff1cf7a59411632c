//! Credential in the vendor's environment variables.

use super::SourceError;
use super::context::Context;
use super::response::FetchedCredentials;

/// Reads id, secret and, if set, the token. An empty variable counts as unset, as in the vendor's SDKs.
pub(super) fn load(context: &Context) -> Result<FetchedCredentials, SourceError> {
    let need = |name, missing| {
        let remedy = "set it, or use another source";
        context
            .named(None, name)
            .ok_or(SourceError::Missing { missing, remedy })
    };
    let id = need(
        "ALIBABA_CLOUD_ACCESS_KEY_ID",
        "ALIBABA_CLOUD_ACCESS_KEY_ID is not set",
    )?;
    let secret = need(
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET is not set",
    )?;
    let token = context.named(None, "ALIBABA_CLOUD_SECURITY_TOKEN");
    Ok(FetchedCredentials::without_expiry(
        &id,
        &secret,
        token.as_deref(),
    ))
}
