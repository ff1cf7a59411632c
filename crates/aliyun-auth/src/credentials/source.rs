//! Sources of a credential: their order, and the role that is assumed on top of any of them.

use std::sync::Arc;

use super::context::Context;
use super::ecs::{self, Ecs};
use super::oidc::{self, Oidc};
use super::response::FetchedCredentials;
use super::sts::{Role, Sts};
use super::token_file::{self, FileToken};
use super::{LoadedCredentials, SourceError, SourceName, cli_profile, env, files, profile, uri};
use crate::Identity;

/// One place that a credential can come from; the name in metrics, logs and `/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Files that the settings name: a mounted Kubernetes Secret, systemd's LoadCredential.
    Static,
    /// The vendor's environment variables.
    Env,
    /// Role assumed with an OIDC token, which a cluster projects into the pod (RRSA).
    Oidc,
    /// Profile of the vendor's command line, in `~/.aliyun/config.json`.
    CliProfile,
    /// Profile of the SDKs' credentials file, in INI form.
    Profile,
    /// RAM role of the ECS instance, from its metadata service.
    Ecs,
    /// HTTP address that returns a credential.
    Uri,
    /// File with a bearer token for a parent gateway.
    TokenFile,
}

impl Source {
    /// Returns the sources that the settings select, in the order they are tried. The chain leaves out those
    /// that are not set up or are switched off. A source that the settings name alone is always tried, so that
    /// its error says what is missing.
    #[must_use]
    pub fn of_context(context: &Context) -> Vec<Self> {
        let alone = match context.config.source {
            SourceName::Chain => return Self::chain(context),
            SourceName::Static => Self::Static,
            SourceName::Env => Self::Env,
            SourceName::Oidc => Self::Oidc,
            SourceName::CliProfile => Self::CliProfile,
            SourceName::Profile => Self::Profile,
            SourceName::Ecs => Self::Ecs,
            SourceName::Uri => Self::Uri,
            SourceName::TokenFile => Self::TokenFile,
        };
        vec![alone]
    }

    fn chain(context: &Context) -> Vec<Self> {
        let links = [
            (Self::Static, context.config.names_files()),
            (Self::Env, true),
            (Self::Oidc, oidc::is_set_up(context)),
            (Self::CliProfile, !cli_profile::is_disabled(context)),
            (Self::Profile, true),
            (Self::Ecs, !ecs::is_disabled(context)),
            (Self::Uri, uri::address(context).is_some()),
        ];
        let usable = links.into_iter().filter(|(_, is_usable)| *is_usable);
        usable.map(|(source, _)| source).collect()
    }

    /// Returns the name in metrics, logs and `/status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Env => "env",
            Self::Oidc => "oidc",
            Self::CliProfile => "cli_profile",
            Self::Profile => "profile",
            Self::Ecs => "ecs",
            Self::Uri => "uri",
            Self::TokenFile => "token_file",
        }
    }

    /// Fetches the source's credential and assumes the role that the settings put on top of it.
    ///
    /// # Errors
    /// [`SourceError`] when there is no credential, or one that has expired.
    pub async fn load(self, context: &Context) -> Result<LoadedCredentials, SourceError> {
        let (identity, expires) = match self.fetch(context).await? {
            Fetched::Token(FileToken { token, expires }) => (Identity::Bearer(token), expires),
            Fetched::Key(base) => {
                let key = assume(base.validated(self.as_str())?, context).await?;
                (Identity::Key(key.credentials), key.expires)
            }
        };
        if expires.is_some_and(|expires| expires <= context.client.clock().now()) {
            return Err(SourceError::Expired);
        }
        Ok(LoadedCredentials {
            identity: Arc::new(identity),
            source: self,
            expires,
        })
    }

    async fn fetch(self, context: &Context) -> Result<Fetched, SourceError> {
        let key = match self {
            Self::Static => files::load(&context.config).await,
            Self::Env => env::load(context),
            Self::Oidc => Oidc::of(context)?.load(&context.client).await,
            Self::CliProfile => cli_profile::load(context).await,
            Self::Profile => profile::load(context).await,
            Self::Ecs => Ecs::of(context, None)?.load(&context.client).await,
            Self::Uri => uri::load(context).await,
            Self::TokenFile => return token_file::load(&context.config).await.map(Fetched::Token),
        };
        key.map(Fetched::Key)
    }
}

/// Result of a source.
enum Fetched {
    Key(FetchedCredentials),
    Token(FileToken),
}

/// Assumes the role that the settings name with a key, which is returned itself where they name none.
async fn assume(
    base: FetchedCredentials,
    context: &Context,
) -> Result<FetchedCredentials, SourceError> {
    let Some(role) = Role::from_settings(context) else {
        return Ok(base);
    };
    let sts = Sts::of(context);
    let fetched = role.assume(&base.credentials, &sts, &context.client);
    fetched.await?.validated("STS (AssumeRole)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Config;

    fn chain(config: Config, variables: &[&str]) -> String {
        let variables = variables.iter();
        let variables = variables.map(|name| ((*name).to_owned(), "true".to_owned()));
        let context = Context::new(config, variables.collect());
        let names = Source::of_context(&context).into_iter().map(Source::as_str);
        names.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_chain_leaves_out_sources_that_are_not_set_up() {
        assert_eq!(chain(Config::default(), &[]), "env cli_profile profile ecs");
        let oidc = [
            "ALIBABA_CLOUD_ROLE_ARN",
            "ALIBABA_CLOUD_OIDC_PROVIDER_ARN",
            "ALIBABA_CLOUD_OIDC_TOKEN_FILE",
            "ALIBABA_CLOUD_CREDENTIALS_URI",
        ];
        let files = Config {
            access_key_secret_file: Some("/x".to_owned()),
            ..Config::default()
        };
        assert_eq!(
            chain(files, &oidc),
            "static env oidc cli_profile profile ecs uri"
        );
        assert_eq!(
            chain(Config::default(), &oidc[..2]),
            "env cli_profile profile ecs"
        );
        let off = [
            "ALIBABA_CLOUD_CLI_PROFILE_DISABLED",
            "ALIBABA_CLOUD_ECS_METADATA_DISABLED",
        ];
        assert_eq!(chain(Config::default(), &off), "env profile");
    }
}
