//! What a profile says about how to get a credential, once the file has been read.

use futures_util::future::BoxFuture;

use super::SourceError;
use super::client::HttpClient;
use super::cloud_sso::CloudSso;
use super::ecs::Ecs;
use super::external::External;
use super::oidc::Oidc;
use super::response::FetchedCredentials;
use super::sts::{Role, Sts};

/// How to get a credential.
pub(super) enum CredentialSpec {
    /// It stands in the file.
    Key(FetchedCredentials),
    /// A role, taken on with what another spec gives.
    Role {
        base: Box<Self>,
        role: Role,
        sts: Sts,
    },
    /// A role, taken on with an OIDC token.
    Oidc(Oidc),
    /// The role of the ECS instance.
    Ecs(Ecs),
    /// A person's sign-in.
    CloudSso(CloudSso),
    /// A program.
    External(External),
}

impl CredentialSpec {
    /// Carries it out, from the innermost part outwards.
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
