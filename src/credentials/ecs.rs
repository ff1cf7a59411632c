//! The RAM role of the ECS instance, from its metadata service.
//!
//! Version 2 of the service wants a token with every call, and one is fetched for each. Where it
//! gives none, or refuses a call with one, version 1 is asked, which wants none, if the settings
//! allow it (`credentials.ecs_imdsv1`) and the environment does not forbid it. The default is not to:
//! any process that can be talked into sending a GET could read version 1.

use http::Method;

use super::SourceError;
use super::client::{AddressScope, HttpCall, HttpClient};
use super::context::Context;
use super::response::{self, FetchedCredentials};
use crate::api::encode;
use crate::transport::Reply;

/// A role, and where to ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ecs {
    endpoint: String,
    role: Option<String>,
    fallback: Fallback,
}

/// Whether version 1 may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fallback {
    Allowed,
    Forbidden,
}

const WHO: &str = "the ECS metadata service";
const ROLES: &str = "/latest/meta-data/ram/security-credentials/";
const DISABLED: &str = "ALIBABA_CLOUD_ECS_METADATA_DISABLED";
/// Six hours, as the vendor's SDKs ask for.
const TOKEN_SECONDS: &str = "21600";

/// Whether the environment forbids asking at all.
pub(super) fn is_disabled(context: &Context) -> bool {
    context.is_true(DISABLED)
}

impl Ecs {
    /// What settings and environment say; `role` goes before both.
    ///
    /// # Errors
    /// When the environment forbids asking.
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

    /// Asks for the role's name, if it is not known, and for its credential.
    pub(super) async fn load(
        &self,
        client: &HttpClient,
    ) -> Result<FetchedCredentials, SourceError> {
        let role = match &self.role {
            Some(role) => role.clone(),
            None => self.ask_role(client).await?,
        };
        let reply = self
            .get(&format!("{ROLES}{}", encode(&role)), client)
            .await?;
        FetchedCredentials::temporary(WHO, &response::successful(WHO, &reply)?)
    }

    async fn ask_role(&self, client: &HttpClient) -> Result<String, SourceError> {
        let reply = self.get(ROLES, client).await?;
        match std::str::from_utf8(&reply.body).map(str::trim) {
            Ok(role) if !role.is_empty() => Ok(role.to_owned()),
            _ => Err(SourceError::Answer {
                who: WHO,
                problem: "this instance has no RAM role",
            }),
        }
    }

    /// A call with a token, else without one.
    async fn get(&self, path: &str, client: &HttpClient) -> Result<Reply, SourceError> {
        let guarded = match self.token(client).await {
            Ok(token) => self.ask(path, Some(token), client).await,
            Err(error) => Err(error),
        };
        match (guarded, self.fallback) {
            (Err(_), Fallback::Allowed) => self.ask(path, None, client).await,
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

    async fn ask(
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
        }),
    }
}
