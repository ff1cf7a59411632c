//! A credential from an address: a sidecar or an agent that speaks the vendor's simple form.

use super::SourceError;
use super::answer::{self, Grant};
use super::client::{Question, distance};
use super::context::Context;

const WHO: &str = "the credentials URI";

/// The address, from settings or environment.
pub(super) fn named(context: &Context) -> Option<String> {
    context.named(
        context.config.uri.as_deref(),
        "ALIBABA_CLOUD_CREDENTIALS_URI",
    )
}

/// Asks it.
pub(super) async fn load(context: &Context) -> Result<Grant, SourceError> {
    let url = named(context).ok_or(SourceError::Missing {
        missing: "credentials.uri (ALIBABA_CLOUD_CREDENTIALS_URI) is not set",
        remedy: "set it to the address that answers with the credential",
    })?;
    let question = Question::get(WHO, distance(&url), url);
    let reply = context.client.ask(question).await?;
    Grant::temporary(WHO, &answer::successful(WHO, &reply)?)
}
