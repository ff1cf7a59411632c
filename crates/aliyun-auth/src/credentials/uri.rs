//! Credentials URI: a sidecar or an agent that answers a GET with a temporary credential, in the form of the
//! vendor's metadata service.

use super::SourceError;
use super::client::{HttpCall, scope};
use super::context::Context;
use super::response::{self, FetchedCredentials};

const WHO: &str = "the credentials URI";

/// Returns the address that the settings or `ALIBABA_CLOUD_CREDENTIALS_URI` name.
pub(super) fn address(context: &Context) -> Option<String> {
    context.named(
        context.config.uri.as_deref(),
        "ALIBABA_CLOUD_CREDENTIALS_URI",
    )
}

/// Fetches the credential from the address. A loopback address is never reached through the proxy.
pub(super) async fn load(context: &Context) -> Result<FetchedCredentials, SourceError> {
    let url = address(context).ok_or(SourceError::Missing {
        missing: "credentials.uri (ALIBABA_CLOUD_CREDENTIALS_URI) is not set",
        remedy: "set it to the address that answers with the credential",
    })?;
    let call = HttpCall::get(WHO, scope(&url), url);
    let reply = context.client.send(call).await?;
    FetchedCredentials::temporary(WHO, &response::successful(WHO, &reply)?)
}
