//! RAM role of the ECS instance, from its metadata service (IMDS).
//!
//! Version 2 of the service requires a token, which is fetched before each request. When that fails, and
//! `credentials.ecs_imdsv1` allows it, the request is repeated by version 1, which needs no token. Off by
//! default: a process that can be tricked into sending a GET could read the credential by version 1.

use http::Method;

use super::SourceError;
use super::client::{AddressScope, HttpCall, HttpClient};
use super::context::Context;
use super::response::{self, FetchedCredentials};
use http_edge::transport::Reply;
use pai_api::encode;

/// Metadata service, and the role whose credential is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ecs {
    endpoint: String,
    role: Option<String>,
    fallback: Fallback,
}

/// Permission to fall back to version 1 of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fallback {
    Allowed,
    Forbidden,
}

const WHO: &str = "the ECS metadata service";
const ROLES: &str = "/latest/meta-data/ram/security-credentials/";
const DISABLED: &str = "ALIBABA_CLOUD_ECS_METADATA_DISABLED";
/// Lifetime to request for a token, in seconds: six hours, as in the vendor's SDKs.
const TOKEN_SECONDS: &str = "21600";

/// Tells whether the environment forbids the metadata service, by `ALIBABA_CLOUD_ECS_METADATA_DISABLED=true`.
pub(super) fn is_disabled(context: &Context) -> bool {
    context.is_true(DISABLED)
}

impl Ecs {
    /// Builds the source from the settings and the environment; `role`, from a profile, overrides both.
    ///
    /// # Errors
    /// [`SourceError::Disabled`] when the environment forbids the metadata service.
    pub(super) fn of(context: &Context, role: Option<String>) -> Result<Self, SourceError> {
        if is_disabled(context) {
            return Err(SourceError::Disabled {
                source_name: WHO,
                variable: DISABLED,
            });
        }
        let config = &context.config;
        let named = || {
            context.named(
                config.ecs_role_name.as_deref(),
                "ALIBABA_CLOUD_ECS_METADATA",
            )
        };
        let allowed = config.ecs_imdsv1 && !context.is_true("ALIBABA_CLOUD_IMDSV1_DISABLED");
        Ok(Self {
            endpoint: config.ecs_endpoint.trim_end_matches('/').to_owned(),
            role: role.or_else(named),
            fallback: if allowed {
                Fallback::Allowed
            } else {
                Fallback::Forbidden
            },
        })
    }

    /// Fetches the role's name, unless one is configured, and then its credential.
    ///
    /// # Errors
    /// [`SourceError`] when the service does not answer, or the instance has no role.
    pub(super) async fn load(
        &self,
        client: &HttpClient,
    ) -> Result<FetchedCredentials, SourceError> {
        let role = match &self.role {
            Some(role) => role.clone(),
            None => self.fetch_role(client).await?,
        };
        let reply = self
            .get(&format!("{ROLES}{}", encode(&role)), client)
            .await?;
        FetchedCredentials::temporary(WHO, &response::successful(WHO, &reply)?)
    }

    async fn fetch_role(&self, client: &HttpClient) -> Result<String, SourceError> {
        let reply = self.get(ROLES, client).await?;
        match std::str::from_utf8(&reply.body).map(str::trim) {
            Ok(role) if !role.is_empty() => Ok(role.to_owned()),
            _ => Err(SourceError::Answer {
                who: WHO,
                problem: "this instance has no RAM role",
            }),
        }
    }

    /// Sends a GET with a token, and without one where that failed and version 1 is allowed.
    async fn get(&self, path: &str, client: &HttpClient) -> Result<Reply, SourceError> {
        let guarded = match self.token(client).await {
            Ok(token) => self.send(path, Some(token), client).await,
            Err(error) => Err(error),
        };
        match (guarded, self.fallback) {
            (Err(_), Fallback::Allowed) => self.send(path, None, client).await,
            (guarded, Fallback::Allowed | Fallback::Forbidden) => guarded,
        }
    }

    async fn token(&self, client: &HttpClient) -> Result<String, SourceError> {
        let url = format!("{}/latest/api/token", self.endpoint);
        let call = HttpCall {
            method: Method::PUT,
            headers: vec![
                (
                    "x-aliyun-ecs-metadata-token-ttl-seconds",
                    TOKEN_SECONDS.to_owned(),
                ),
                ("content-length", "0".to_owned()),
            ],
            ..HttpCall::get(WHO, AddressScope::Link, url)
        };
        let reply = found(client.send(call).await?)?;
        let token = std::str::from_utf8(&reply.body)
            .map(str::trim)
            .unwrap_or("");
        Ok(token.to_owned())
    }

    async fn send(
        &self,
        path: &str,
        token: Option<String>,
        client: &HttpClient,
    ) -> Result<Reply, SourceError> {
        let url = format!("{}{path}", self.endpoint);
        let mut call = HttpCall::get(WHO, AddressScope::Link, url);
        let token = token.map(|token| ("x-aliyun-ecs-metadata-token", token));
        call.headers.extend(token);
        found(client.send(call).await?)
    }
}

fn found(reply: Reply) -> Result<Reply, SourceError> {
    match reply.status {
        200 => Ok(reply),
        status => Err(SourceError::Refused {
            who: WHO,
            status,
            code: None,
            request_id: None,
            message: None,
        }),
    }
}
