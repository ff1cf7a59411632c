//! The `[credentials]` settings: where each source finds a credential, and how roles are assumed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::client::InsecureHttp;
use host::units::HumanDuration;

/// The `[credentials]` settings. They name files that hold secrets, never a secret itself. Where a setting is
/// missing, the vendor's own environment variable of that meaning is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Source of the credential; `chain` tries each in the order of the vendor's SDKs.
    pub source: SourceName,
    /// Access key id, for `static`; otherwise read from `access_key_id_file`.
    pub access_key_id: Option<String>,
    /// File with the access key id.
    pub access_key_id_file: Option<String>,
    /// File with the access key secret.
    pub access_key_secret_file: Option<String>,
    /// File with the token of a temporary key.
    pub security_token_file: Option<String>,
    /// Time between two loads of a credential that does not expire.
    pub refresh: HumanDuration,
    /// ARN of the role that `oidc` assumes.
    pub oidc_role_arn: Option<String>,
    /// ARN of the identity provider that issued the OIDC token.
    pub oidc_provider_arn: Option<String>,
    /// File with the OIDC token.
    pub oidc_token_file: Option<String>,
    /// ARN of a role to assume with whatever credential the source gives.
    pub assume_role_arn: Option<String>,
    /// External id that the assumed role's trust policy asks for.
    pub external_id: Option<String>,
    /// Name of the session in the account's audit log.
    pub role_session_name: Option<String>,
    /// Duration of an assumed role's session.
    pub role_duration: HumanDuration,
    /// Policy, in JSON, that narrows the last assumed role.
    pub policy: Option<String>,
    /// Region whose STS endpoint is used.
    pub sts_region: Option<String>,
    /// Uses the VPC address of the region's STS.
    pub sts_vpc: bool,
    /// URL of an STS endpoint to use instead of the region's.
    pub sts_endpoint: Option<String>,
    /// PEM file of roots to trust instead of the system's when a credential is fetched.
    pub ca_file: Option<String>,
    /// Proxy to STS and other servers: `http://` or `https://` and a host, or `env` for the usual variables.
    pub proxy: Option<String>,
    /// File that holds `user:password` for the proxy.
    pub proxy_credentials_file: Option<String>,
    /// Lets a credential be fetched over `http://` from other machines.
    pub allow_http: bool,
    /// Profile to use in `cli_config_file` or `credentials_file`.
    pub profile: Option<String>,
    /// Configuration file of the vendor's command line.
    pub cli_config_file: Option<String>,
    /// The SDKs' credentials file.
    pub credentials_file: Option<String>,
    /// Role of the ECS instance; where it is not set, the metadata service names it.
    pub ecs_role_name: Option<String>,
    /// URL of the ECS metadata service.
    pub ecs_endpoint: String,
    /// Falls back to the metadata service's first version, which needs no token.
    pub ecs_imdsv1: bool,
    /// URL that returns a credential.
    pub uri: Option<String>,
    /// File with the bearer token for a parent gateway, for `token_file`.
    pub token_file: Option<String>,
}

/// Source of the credential, or the chain of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceName {
    /// All that are set up, in the order below; the first that has a credential is kept to.
    Chain,
    /// Files with id, secret and token.
    Static,
    /// `ALIBABA_CLOUD_ACCESS_KEY_ID`, `_SECRET` and `ALIBABA_CLOUD_SECURITY_TOKEN`.
    Env,
    /// Role assumed with an OIDC token (RRSA).
    Oidc,
    /// Profile of the vendor's command line.
    CliProfile,
    /// Profile of the SDKs' credentials file.
    Profile,
    /// RAM role of the ECS instance.
    Ecs,
    /// Address in `credentials.uri`.
    Uri,
    /// Bearer token in `credentials.token_file`, for a parent gateway; no part of the chain.
    TokenFile,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            source: SourceName::Chain,
            access_key_id: None,
            access_key_id_file: None,
            access_key_secret_file: None,
            security_token_file: None,
            refresh: HumanDuration::secs(60),
            oidc_role_arn: None,
            oidc_provider_arn: None,
            oidc_token_file: None,
            assume_role_arn: None,
            external_id: None,
            role_session_name: None,
            role_duration: HumanDuration::secs(3600),
            policy: None,
            sts_region: None,
            sts_vpc: false,
            sts_endpoint: None,
            ca_file: None,
            proxy: None,
            proxy_credentials_file: None,
            allow_http: false,
            profile: None,
            cli_config_file: None,
            credentials_file: None,
            ecs_role_name: None,
            ecs_endpoint: "http://100.100.100.200".to_owned(),
            ecs_imdsv1: false,
            uri: None,
            token_file: None,
        }
    }
}

impl Config {
    /// Returns how far a credential may be fetched over `http://`.
    pub const fn plain(&self) -> InsecureHttp {
        if self.allow_http {
            InsecureHttp::Anywhere
        } else {
            InsecureHttp::Loopback
        }
    }

    /// Tells whether any file of `static` is named, which puts that source into the chain.
    pub(super) const fn names_files(&self) -> bool {
        self.access_key_id.is_some()
            || self.access_key_id_file.is_some()
            || self.access_key_secret_file.is_some()
            || self.security_token_file.is_some()
    }
}
