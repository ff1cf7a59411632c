//! Description of how to get a credential, as a profile gives it. Parsing a file and acting on it are apart, so
//! that the parsers are tested without a network.

use futures_util::future::BoxFuture;

use super::SourceError;
use super::client::HttpClient;
use super::cloud_sso::CloudSso;
use super::ecs::Ecs;
use super::external::External;
use super::oidc::Oidc;
use super::response::FetchedCredentials;
use super::sts::{Role, Sts};

/// Way to get a credential that a profile describes.
pub(super) enum CredentialSpec {
    /// Key in the profile itself, with or without a token.
    Key(FetchedCredentials),
    /// Role assumed with the credential of another spec; roles chain by nesting.
    Role {
        base: Box<Self>,
        role: Role,
        sts: Sts,
    },
    /// Role assumed with an OIDC token from a file.
    Oidc(Oidc),
    /// RAM role of the ECS instance.
    Ecs(Ecs),
    /// Access token of a person, exchanged at CloudSSO.
    CloudSso(CloudSso),
    /// Program that prints the credential.
    External(External),
}

impl CredentialSpec {
    /// Fetches the credential. A chain of roles is assumed from the innermost outwards.
    ///
    /// # Errors
    /// [`SourceError`] of the first step that fails.
    pub(super) fn resolve<'a>(
        &'a self,
        client: &'a HttpClient,
    ) -> BoxFuture<'a, Result<FetchedCredentials, SourceError>> {
        Box::pin(async move {
            match self {
                Self::Key(fetched) => Ok(fetched.clone()),
                Self::Role { base, role, sts } => {
                    let base = base.resolve(client).await?;
                    role.assume(&base.credentials, sts, client).await
                }
                Self::Oidc(oidc) => oidc.load(client).await,
                Self::Ecs(ecs) => ecs.load(client).await,
                Self::CloudSso(sign_in) => sign_in.load(client).await,
                Self::External(external) => external.load().await,
            }
        })
    }
}
