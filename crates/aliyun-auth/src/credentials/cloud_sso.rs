//! CloudSSO: exchanges a person's access token, which the vendor's command line stored, for a temporary
//! credential. Only that person can renew the token, with the command line; the gateway never writes to the file.

use http::{Method, Uri};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::SourceError;
use super::client::{AddressScope, HttpCall, HttpClient};
use super::response::{self, FetchedCredentials};

/// Access token of a profile, with the account and the access configuration it is exchanged for.
#[derive(Clone)]
pub(super) struct CloudSso {
    pub(super) sign_in_url: String,
    pub(super) account_id: String,
    pub(super) access_config: String,
    pub(super) access_token: SecretString,
    /// Expiration of the access token, in seconds since 1970; `None` where the profile has none.
    pub(super) expires: Option<i64>,
}

const WHO: &str = "CloudSSO";

impl CloudSso {
    /// Exchanges the access token for a temporary credential.
    ///
    /// # Errors
    /// [`SourceError::Missing`] for an expired token, without a request; otherwise as [`HttpClient::send`].
    pub(super) async fn load(
        &self,
        client: &HttpClient,
    ) -> Result<FetchedCredentials, SourceError> {
        let is_expired = self
            .expires
            .is_some_and(|at| at <= client.clock().now().as_second());
        if is_expired {
            return Err(SourceError::Missing {
                missing: "the profile's CloudSSO sign-in has expired",
                remedy: "sign in again with the vendor's command line",
            });
        }
        let reply = client.send(self.call()?).await?;
        let object = response::object(WHO, &reply)?;
        FetchedCredentials::temporary(WHO, object.get("CloudCredential").unwrap_or(&Value::Null))
    }

    fn call(&self) -> Result<HttpCall, SourceError> {
        let bad = SourceError::Address {
            who: WHO,
            problem: "the profile's cloud_sso_sign_in_url is no address",
        };
        let parsed = self.sign_in_url.parse::<Uri>().ok();
        let base = parsed
            .and_then(|uri| Some(format!("{}://{}", uri.scheme()?, uri.authority()?)))
            .ok_or(bad)?;
        let body = json!({
            "AccountId": self.account_id,
            "AccessConfigurationId": self.access_config,
        });
        Ok(HttpCall {
            method: Method::POST,
            headers: vec![
                ("accept", "application/json".to_owned()),
                ("content-type", "application/json".to_owned()),
                (
                    "authorization",
                    format!("Bearer {}", self.access_token.expose_secret()),
                ),
            ],
            body: body.to_string(),
            ..HttpCall::get(
                WHO,
                AddressScope::Network,
                format!("{base}/cloud-credentials"),
            )
        })
    }
}
