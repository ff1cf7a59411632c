//! What a profile says about how to get a credential, once the file has been read.

use futures_util::future::BoxFuture;

use super::SourceError;
use super::answer::Grant;
use super::client::Client;
use super::cloud_sso::CloudSso;
use super::ecs::Ecs;
use super::external::External;
use super::oidc::Oidc;
use super::sts::{Role, Sts};

/// How to get a credential.
pub(super) enum Recipe {
    /// It stands in the file.
    Key(Grant),
    /// A role, taken on with what another recipe gives.
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

impl Recipe {
    /// Carries it out, from the innermost part outwards.
    pub(super) fn follow<'a>(
        &'a self,
        client: &'a Client,
    ) -> BoxFuture<'a, Result<Grant, SourceError>> {
        Box::pin(async move {
            match self {
                Self::Key(grant) => Ok(grant.clone()),
                Self::Role { base, role, sts } => {
                    let base = base.follow(client).await?;
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
