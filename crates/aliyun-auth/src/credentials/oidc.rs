//! Role assumed with an OIDC token (`AssumeRoleWithOIDC`): RRSA in a Kubernetes cluster. The request is not
//! signed; the token that the cluster issued authenticates it.

use jiff::Timestamp;

use super::SourceError;
use super::client::HttpClient;
use super::context::{Context, read, trimmed};
use super::response::{self, FetchedCredentials};
use super::sts::{Role, Sts, timestamp};
use crate::rpc::Parameters;

/// Role to assume, and the file with the token that proves the workload's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Oidc {
    pub(super) role: Role,
    pub(super) provider_arn: String,
    pub(super) token_file: String,
    pub(super) sts: Sts,
}

const WHO: &str = "STS (AssumeRoleWithOIDC)";

const ROLE: &str = "ALIBABA_CLOUD_ROLE_ARN";
const PROVIDER: &str = "ALIBABA_CLOUD_OIDC_PROVIDER_ARN";
const TOKEN_FILE: &str = "ALIBABA_CLOUD_OIDC_TOKEN_FILE";

/// Tells whether role, provider and token file are all named; only then does the chain try this source.
pub(super) fn is_set_up(context: &Context) -> bool {
    Oidc::of(context).is_ok()
}

impl Oidc {
    /// Builds the source from the settings and the environment.
    ///
    /// # Errors
    /// [`SourceError::Missing`] that names the first part that is missing.
    pub(super) fn of(context: &Context) -> Result<Self, SourceError> {
        let config = &context.config;
        let need = |setting: &Option<String>, variable, missing| {
            let remedy = "set it, or the variable that stands beside it, or use another source";
            context
                .named(setting.as_deref(), variable)
                .ok_or(SourceError::Missing { missing, remedy })
        };
        let arn = need(
            &config.oidc_role_arn,
            ROLE,
            "credentials.oidc_role_arn (ALIBABA_CLOUD_ROLE_ARN) is not set",
        )?;
        let role = Role::of(context, arn);
        let provider_arn = need(
            &config.oidc_provider_arn,
            PROVIDER,
            "credentials.oidc_provider_arn (ALIBABA_CLOUD_OIDC_PROVIDER_ARN) is not set",
        )?;
        let token_file = need(
            &config.oidc_token_file,
            TOKEN_FILE,
            "credentials.oidc_token_file (ALIBABA_CLOUD_OIDC_TOKEN_FILE) is not set",
        )?;
        // The policy narrows the last role only: here it could forbid assuming the next one.
        let last = config.assume_role_arn.is_none();
        Ok(Self {
            role: Role {
                policy: config.policy.clone().filter(|_| last),
                ..role
            },
            provider_arn,
            token_file,
            sts: Sts::of(context),
        })
    }

    /// Assumes the role. The token file is read each time, since the cluster replaces it before it expires.
    pub(super) async fn load(
        &self,
        client: &HttpClient,
    ) -> Result<FetchedCredentials, SourceError> {
        let token = read("the OIDC token file", &self.token_file).await?;
        let token = trimmed(&token);
        if token.is_empty() {
            return Err(SourceError::Empty {
                key: "the OIDC token file",
                path: self.token_file.clone(),
            });
        }
        let parameters = |now| Ok(self.parameters(token.to_owned(), now));
        let read = response::object_of_unsigned;
        self.sts.fetch(WHO, parameters, client, read).await
    }

    /// Returns the parameters in the order of the vendor's SDK.
    fn parameters(&self, token: String, now: Timestamp) -> Parameters {
        let mut parameters = vec![
            ("Action", "AssumeRoleWithOIDC".to_owned()),
            ("Format", "JSON".to_owned()),
            ("Version", "2015-04-01".to_owned()),
            ("DurationSeconds", self.role.seconds.to_string()),
            ("RoleArn", self.role.arn.clone()),
            ("OIDCProviderArn", self.provider_arn.clone()),
            ("OIDCToken", token),
            ("RoleSessionName", self.role.session.clone()),
            ("Timestamp", timestamp(now)),
        ];
        if let Some(policy) = &self.role.policy {
            parameters.push(("Policy", policy.clone()));
        }
        parameters
    }
}
