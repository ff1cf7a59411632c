//! A credential from an address: a sidecar or an agent that speaks the vendor's simple form.

use super::SourceError;
use super::client::{HttpCall, scope};
use super::context::Context;
use super::response::{self, FetchedCredentials};

const WHO: &str = "the credentials URI";

/// The address, from settings or environment.
pub(super) fn named(context: &Context) -> Option<String> {
    context.named(
        context.config.uri.as_deref(),
        "ALIBABA_CLOUD_CREDENTIALS_URI",
    )
}

/// Asks it.
pub(super) async fn load(context: &Context) -> Result<FetchedCredentials, SourceError> {
    let url = named(context).ok_or(SourceError::Missing {
        missing: "credentials.uri (ALIBABA_CLOUD_CREDENTIALS_URI) is not set",
        remedy: "set it to the address that answers with the credential",
    })?;
    let call = HttpCall::get(WHO, scope(&url), url);
    let reply = context.client.send(call).await?;
    FetchedCredentials::temporary(WHO, &response::successful(WHO, &reply)?)
}
