//! STS: assumes a role with another credential (`AssumeRole`), and sends the requests of the OIDC source.

use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::Value;

use super::SourceError;
use super::client::{AddressScope, HttpCall, HttpClient};
use super::context::Context;
use super::response::{self, FetchedCredentials};
use crate::Credentials;
use crate::clock::DateSource;
use crate::rpc::{self, Parameters};
use http_edge::transport::Reply;

/// STS endpoint, as an address without a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sts(String);

/// Role to assume, with the parameters of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Role {
    pub(super) arn: String,
    pub(super) session: String,
    pub(super) seconds: u64,
    pub(super) policy: Option<String>,
    pub(super) external_id: Option<String>,
}

/// Name of the session where neither settings, environment nor profile give one.
const SESSION: &str = "pai-image-gateway";

const CENTRAL: &str = "https://sts.aliyuncs.com";

/// Reader of a response: [`response::object`], or the one for requests without a signature.
pub(super) type ResponseReader = fn(&'static str, &Reply) -> Result<Value, SourceError>;

const ASSUME_ROLE: &str = "STS (AssumeRole)";

impl Sts {
    /// Returns the endpoint that the settings or the environment select.
    pub(super) fn of(context: &Context) -> Self {
        Self::of_profile(context, None, false)
    }

    /// Returns the endpoint that a profile selects. `credentials.sts_endpoint` overrides everything. Without a
    /// region it is the central endpoint, inside a VPC too, as in the vendor's SDKs.
    pub(super) fn of_profile(context: &Context, region: Option<String>, vpc: bool) -> Self {
        let config = &context.config;
        if let Some(endpoint) = &config.sts_endpoint {
            return Self(endpoint.trim_end_matches('/').to_owned());
        }
        let region = region
            .or_else(|| context.named(config.sts_region.as_deref(), "ALIBABA_CLOUD_STS_REGION"));
        let vpc = vpc || config.sts_vpc || context.is_true("ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED");
        Self(match region {
            Some(region) if vpc => format!("https://sts-vpc.{region}.aliyuncs.com"),
            Some(region) => format!("https://sts.{region}.aliyuncs.com"),
            None => CENTRAL.to_owned(),
        })
    }

    /// Sends the parameters and reads the role's credential from the response by `read`.
    ///
    /// # Errors
    /// Those of [`Self::response`] and of `read`, and [`SourceError::Answer`] when the response holds no credential.
    pub(super) async fn fetch(
        &self,
        who: &'static str,
        parameters: impl Fn(Timestamp) -> Result<Parameters, SourceError>,
        client: &HttpClient,
        read: ResponseReader,
    ) -> Result<FetchedCredentials, SourceError> {
        let reply = self.response(who, parameters, client).await?;
        let object = read(who, &reply)?;
        FetchedCredentials::temporary(who, object.get("Credentials").unwrap_or(&Value::Null))
    }

    /// Sends the parameters that `parameters` builds for a date, and returns the response; when STS refuses the
    /// date, builds and sends them once more by its clock. The `Date` of any response corrects this machine's
    /// clock, which also judges the credential's expiration.
    ///
    /// # Errors
    /// [`SourceError`] when no response came.
    async fn response(
        &self,
        who: &'static str,
        parameters: impl Fn(Timestamp) -> Result<Parameters, SourceError>,
        client: &HttpClient,
    ) -> Result<Reply, SourceError> {
        let mut reply = self
            .send(who, &parameters(client.clock().now())?, client)
            .await?;
        if sync_clock(who, &reply, client) == DateSource::TimestampRejected
            && reply.date().is_some()
        {
            // The clock has just been corrected. The request is built again, because date and nonce are signed.
            let parameters = parameters(client.clock().now())?;
            reply = self.send(who, &parameters, client).await?;
            sync_clock(who, &reply, client);
        }
        Ok(reply)
    }

    async fn send(
        &self,
        who: &'static str,
        parameters: &Parameters,
        client: &HttpClient,
    ) -> Result<Reply, SourceError> {
        let query = rpc::query(
            parameters
                .iter()
                .map(|(name, value)| (*name, value.as_str())),
        );
        let url = format!("{}/?{query}", self.0);
        client
            .send(HttpCall::get(who, AddressScope::Network, url))
            .await
    }
}

/// Corrects the clock by the `Date` of a response. Returns the kind of evidence that was: a refused timestamp
/// corrects more than an ordinary response does.
fn sync_clock(who: &'static str, reply: &Reply, client: &HttpClient) -> DateSource {
    let evidence = if response::is_timestamp_refusal(reply) {
        DateSource::TimestampRejected
    } else {
        DateSource::Response
    };
    if let Some(date) = reply.date() {
        client.clock().learn(date, Timestamp::now(), evidence, who);
    }
    evidence
}

impl Role {
    /// Builds a role with the session's name and duration from the settings and the environment.
    pub(super) fn of(context: &Context, arn: String) -> Self {
        let config = &context.config;
        let session = context.named(
            config.role_session_name.as_deref(),
            "ALIBABA_CLOUD_ROLE_SESSION_NAME",
        );
        Self {
            arn,
            session: session.unwrap_or_else(|| SESSION.to_owned()),
            seconds: config.role_duration.0.as_secs(),
            policy: None,
            external_id: None,
        }
    }

    /// Builds the role of `credentials.assume_role_arn`, which is assumed on top of any source.
    pub(super) fn from_settings(context: &Context) -> Option<Self> {
        let config = &context.config;
        let arn = config.assume_role_arn.clone()?;
        Some(Self {
            policy: config.policy.clone(),
            external_id: config.external_id.clone(),
            ..Self::of(context, arn)
        })
    }

    /// Assumes the role with the `base` credential.
    ///
    /// # Errors
    /// [`SourceError`] when STS refuses, or does not answer with a credential.
    pub(super) async fn assume(
        &self,
        base: &Credentials,
        sts: &Sts,
        client: &HttpClient,
    ) -> Result<FetchedCredentials, SourceError> {
        let signed = |now| {
            let nonce = format!("{:032x}", fastrand::u128(..));
            Ok(self.signed(base, now, nonce))
        };
        sts.fetch(ASSUME_ROLE, signed, client, response::object)
            .await
    }

    /// Returns the signed parameters in the order of the vendor's SDK, `Signature` last.
    fn signed(&self, base: &Credentials, now: Timestamp, nonce: String) -> Parameters {
        let mut parameters = vec![
            ("Action", "AssumeRole".to_owned()),
            ("Format", "JSON".to_owned()),
            ("Version", "2015-04-01".to_owned()),
            ("DurationSeconds", self.seconds.to_string()),
            ("RoleArn", self.arn.clone()),
            ("RoleSessionName", self.session.clone()),
            ("SignatureMethod", "HMAC-SHA1".to_owned()),
            ("SignatureVersion", "1.0".to_owned()),
            ("Timestamp", timestamp(now)),
            ("SignatureNonce", nonce),
        ];
        let token = base.security_token.as_ref();
        let optional = [
            ("Policy", self.policy.clone()),
            ("ExternalId", self.external_id.clone()),
            ("AccessKeyId", Some(base.access_key_id.clone())),
            (
                "SecurityToken",
                token.map(|token| token.expose_secret().to_owned()),
            ),
        ];
        let given = optional
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        parameters.extend(given);
        let pairs = parameters
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        let text = rpc::string_to_sign("GET", pairs);
        parameters.push(("Signature", rpc::signature(&text, &base.access_key_secret)));
        parameters
    }
}

/// Formats a time as STS expects it, such as `2026-11-23T10:20:42Z`.
pub(super) fn timestamp(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::credentials::Config;

    #[derive(Deserialize)]
    struct Vector {
        name: String,
        method: String,
        params: Vec<(String, String)>,
        access_key_id: String,
        access_key_secret: String,
        signature_openapi_core: String,
    }

    impl Vector {
        fn parameter(&self, name: &str) -> Option<String> {
            let mut pairs = self.params.iter();
            pairs
                .find(|(n, _)| n == name)
                .map(|(_, value)| value.clone())
        }
    }

    #[test]
    fn the_vendors_own_requests_are_written_parameter_by_parameter() {
        let text = include_str!("../../../../tests/vectors/rpc_v1.json");
        let vectors: Vec<Vector> = serde_json::from_str(text).unwrap();
        let is_ours =
            |vector: &Vector| vector.name.starts_with("AssumeRole") && vector.method == "GET";
        let vectors: Vec<_> = vectors.into_iter().filter(is_ours).collect();
        assert_eq!(vectors.len(), 4);
        for vector in vectors {
            let text = |name: &str| vector.parameter(name).unwrap();
            let role = Role {
                arn: text("RoleArn"),
                session: text("RoleSessionName"),
                seconds: text("DurationSeconds").parse().unwrap(),
                policy: vector.parameter("Policy"),
                external_id: vector.parameter("ExternalId"),
            };
            let base = FetchedCredentials::without_expiry(
                &vector.access_key_id,
                &vector.access_key_secret,
                vector.parameter("SecurityToken").as_deref(),
            );
            let now = text("Timestamp").parse().unwrap();
            let signed = role.signed(&base.credentials, now, text("SignatureNonce"));
            let (signature, sent) = signed.split_last().unwrap();
            assert_eq!(
                signature.1, vector.signature_openapi_core,
                "{}",
                vector.name
            );
            let sorted = |pairs: Vec<(String, String)>| {
                let mut pairs = pairs;
                pairs.sort();
                pairs
            };
            let sent = sent.iter().map(|(n, v)| ((*n).to_owned(), v.clone()));
            assert_eq!(sorted(sent.collect()), sorted(vector.params.clone()));
        }
    }

    #[test]
    fn a_region_names_its_sts_and_an_endpoint_goes_before_it() {
        let sts = |config: Config, variables: &[(&str, &str)], region: Option<&str>| {
            let variables = variables
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
            let context = Context::new(config, variables.collect());
            Sts::of_profile(&context, region.map(str::to_owned), false).0
        };
        let region = [("ALIBABA_CLOUD_STS_REGION", "cn-hangzhou")];
        let vpc = [("ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED", "True"), region[0]];
        let default = Config::default;
        assert_eq!(sts(default(), &[], None), "https://sts.aliyuncs.com");
        assert_eq!(sts(default(), &vpc[..1], None), "https://sts.aliyuncs.com");
        assert_eq!(
            sts(default(), &region, None),
            "https://sts.cn-hangzhou.aliyuncs.com"
        );
        assert_eq!(
            sts(default(), &vpc, None),
            "https://sts-vpc.cn-hangzhou.aliyuncs.com"
        );
        assert_eq!(
            sts(default(), &region, Some("x")),
            "https://sts.x.aliyuncs.com"
        );
        let named = Config {
            sts_endpoint: Some("https://sts.example.com/".to_owned()),
            ..default()
        };
        assert_eq!(sts(named, &vpc, Some("x")), "https://sts.example.com");
    }
}
