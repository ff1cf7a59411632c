//! A running gateway, asked by its admin listener.

use clap::Args;
use http::{Method, StatusCode};
use serde_json::Value;

use super::exit::ArgumentError;
use super::{ConfigArgs, block_on};
use crate::admin::client::AdminRequest;
use crate::environment::Environment;
use crate::error_chain::error_chain;
use crate::server::Address;

/// Arguments that select a running gateway by its admin listener.
#[derive(Debug, Args)]
pub(super) struct RunningGateway {
    /// Admin listener of the gateway: an IP address and port, or unix:PATH [default: as in its settings].
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Admin listener of a running gateway, with its token.
pub(super) struct AdminEndpoint {
    address: Address,
    token: Option<secrecy::SecretString>,
}

impl RunningGateway {
    /// Finds the admin listener from the arguments, or else from the settings.
    ///
    /// # Errors
    /// Settings, an address or a token file that cannot be used.
    pub(super) fn endpoint(&self, environment: &Environment) -> anyhow::Result<AdminEndpoint> {
        let admin = match (&self.admin, self.config.load(environment)) {
            (None, Ok(loaded)) => loaded.settings.admin,
            (None, Err(error)) => return Err(error),
            (Some(_), loaded) => loaded
                .map(|loaded| loaded.settings.admin)
                .unwrap_or_default(),
        };
        let address = match self.admin.as_deref() {
            Some(text) => Address::parse(text, text.strip_prefix("unix:"), 0),
            None => admin.listener(),
        };
        let address = address.ok_or_else(|| {
            ArgumentError("--admin: write an IP address and a port, or unix:PATH".to_owned())
        })?;
        let token = admin.token().map_err(|error| {
            ArgumentError(format!(
                "admin.token_file: {error}: name a file that holds the token and that this user may read"
            ))
        })?;
        Ok(AdminEndpoint { address, token })
    }

    /// Sends one request on a runtime of its own; see [`AdminEndpoint::send`].
    ///
    /// # Errors
    /// Settings or an address that cannot be used, or no response.
    pub(super) fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
        environment: &Environment,
    ) -> anyhow::Result<(StatusCode, String)> {
        let endpoint = self.endpoint(environment)?;
        block_on(endpoint.send(method, path, body))?
    }

    /// Requests a page on a runtime of its own; see [`AdminEndpoint::get`].
    ///
    /// # Errors
    /// Those of [`send`](Self::send), and a refusal.
    pub(super) fn get(&self, path: &str, environment: &Environment) -> anyhow::Result<Value> {
        let endpoint = self.endpoint(environment)?;
        block_on(endpoint.get(path))?
    }
}

impl AdminEndpoint {
    /// Sends a request, and waits at most five seconds for the response.
    ///
    /// # Errors
    /// No response. The text names the address and how to ask at another one.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> anyhow::Result<(StatusCode, String)> {
        let request = AdminRequest {
            method,
            path,
            body,
            token: self.token.clone(),
        };
        request.send(&self.address).await.map_err(|error| {
            anyhow::anyhow!(
                "{}\n  The gateway is not running, or its admin listener is elsewhere: --admin ADDR names another \
                 address, --config FILE takes admin.address or admin.unix from the gateway's settings. A listener on \
                 loopback is reached from its own machine, or pod, alone.",
                error_chain(&*error)
            )
        })
    }

    /// Requests a page, which must be JSON.
    ///
    /// # Errors
    /// No response, or a refusal, whose reason the error repeats.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let (status, text) = self.send(Method::GET, path, None).await?;
        let answer: Option<Value> = serde_json::from_str(&text).ok();
        match answer {
            Some(answer) if status.is_success() => Ok(answer),
            answer => Err(self.refused(path, status, &answer.unwrap_or_default())),
        }
    }

    fn refused(&self, path: &str, status: StatusCode, answer: &Value) -> anyhow::Error {
        let reason = answer["error"].as_str();
        let address = &self.address;
        let remedy = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                ": name the gateway's settings by --config FILE, or its token's file by --set admin.token_file=FILE"
            }
            _ => "",
        };
        match reason {
            Some(reason) => anyhow::anyhow!("{address}{path} answers {status}: {reason}{remedy}"),
            None => anyhow::anyhow!(
                "{address}{path} answers {status} and no JSON: is this the admin listener of a gateway?"
            ),
        }
    }
}
