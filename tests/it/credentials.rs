//! Sources of the central credential: the exact request to each source, and the result
//! of its response. Servers in this process replace the vendor's.

mod clock;
mod gateway;
mod metadata;
mod profiles;
pub(crate) mod stand_in;

use std::path::Path;
use std::sync::Arc;

use pai_image_gateway::credentials::{Config, CredentialProvider, SourceName};
use pai_image_gateway::environment::Environment;
use pai_image_gateway::observability::metrics::Metrics;
use pai_image_gateway::signing::{Identity, rpc};
use secrecy::ExposeSecret;
use serde_json::json;
use tempfile::TempDir;

use stand_in::{Asked, HOUR, STS_ID, STS_SECRET, STS_TOKEN, StandIn, ahead, granted, success};

const ROLE: &str = "acs:ram::123456789012:role/pai images";
const PROVIDER: &str = "acs:ram::123456789012:oidc-provider/ack";

fn variables(pairs: &[(&str, &str)]) -> Environment {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// A folder with one file of this text.
fn file(name: &str, text: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

fn home(folder: &TempDir) -> &str {
    Path::to_str(folder.path()).unwrap()
}

fn provider(config: &Config, environment: &Environment) -> CredentialProvider {
    CredentialProvider::new(config, environment, Arc::new(Metrics::new()))
}

/// Loads the credential once: id, secret and token.
async fn load(config: &Config, environment: &Environment) -> (String, String, Option<String>) {
    let provider = provider(config, environment);
    provider.load().await.unwrap();
    let current = provider.current().unwrap();
    let Identity::Key(current) = &*current else {
        panic!("the source gave a token")
    };
    let token = current.security_token.as_ref();
    (
        current.access_key_id.clone(),
        current.access_key_secret.expose_secret().to_owned(),
        token.map(|token| token.expose_secret().to_owned()),
    )
}

/// The credential of every fake source.
fn stood_in() -> (String, String, Option<String>) {
    let token = Some(STS_TOKEN.to_owned());
    (STS_ID.to_owned(), STS_SECRET.to_owned(), token)
}

/// Loads the credential once; returns the error's text.
async fn refusal(config: &Config, environment: &Environment) -> String {
    let provider = provider(config, environment);
    provider.load().await.unwrap_err();
    assert!(provider.current().is_none());
    let message = provider.status().last_error.unwrap();
    assert!(
        !message.contains(STS_SECRET) && !message.contains("base-secret"),
        "{message}"
    );
    message
}

/// Asserts that the signature is that of the parameters before it, with this secret.
fn assert_signed(asked: &Asked, secret: &str) {
    let query = asked.query();
    let (mut unsigned, signature): (Vec<_>, Vec<_>) =
        query.pairs().partition(|(name, _)| *name != "Signature");
    unsigned.reverse();
    let text = rpc::string_to_sign("GET", unsigned);
    let expected = rpc::signature(&text, &secret.into());
    assert_eq!(signature, [("Signature", expected.as_str())]);
}

const BASE: [(&str, &str); 2] = [
    ("ALIBABA_CLOUD_ACCESS_KEY_ID", "LTAIbaseKeyId0001"),
    ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "base-secret"),
];

#[tokio::test]
async fn a_role_is_taken_on_by_oidc_token_with_the_sdks_own_request() {
    let sts = StandIn::sts().await;
    let (_folder, token_file) = file("token", "eyJh.bGci+/=\n");
    let environment = variables(&[
        ("ALIBABA_CLOUD_ROLE_ARN", ROLE),
        ("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", PROVIDER),
        ("ALIBABA_CLOUD_OIDC_TOKEN_FILE", &token_file),
        ("ALIBABA_CLOUD_ROLE_SESSION_NAME", "alice"),
    ]);
    let config = Config {
        sts_endpoint: Some(sts.url()),
        policy: Some("{}".to_owned()),
        ..Config::default()
    };
    assert_eq!(load(&config, &environment).await, stood_in());
    let asked = sts.asked().remove(0);
    let date = asked.parameter("Timestamp").unwrap().replace(':', "%3A");
    let expected = format!(
        "GET /?Action=AssumeRoleWithOIDC&Format=JSON&Version=2015-04-01&DurationSeconds=3600\
         &RoleArn=acs%3Aram%3A%3A123456789012%3Arole%2Fpai%20images\
         &OIDCProviderArn=acs%3Aram%3A%3A123456789012%3Aoidc-provider%2Fack\
         &OIDCToken=eyJh.bGci%2B%2F%3D&RoleSessionName=alice&Timestamp={date}&Policy=%7B%7D"
    );
    assert_eq!(asked.line(), expected);
    assert_eq!(asked.header("host"), Some(sts.host().as_str()));
}

#[tokio::test]
async fn a_role_is_taken_on_with_a_signed_request_over_any_source() {
    let sts = StandIn::sts().await;
    let config = Config {
        sts_endpoint: Some(sts.url()),
        assume_role_arn: Some(ROLE.to_owned()),
        external_id: Some("ext-1~*".to_owned()),
        role_session_name: Some("session 1".to_owned()),
        ..Config::default()
    };
    assert_eq!(load(&config, &variables(&BASE)).await, stood_in());
    let asked = sts.asked().remove(0);
    let names = [
        "Action",
        "Format",
        "Version",
        "DurationSeconds",
        "RoleArn",
        "RoleSessionName",
        "SignatureMethod",
        "SignatureVersion",
        "Timestamp",
        "SignatureNonce",
        "ExternalId",
        "AccessKeyId",
        "Signature",
    ];
    assert_eq!(asked.names(), names);
    let expected = "GET /?Action=AssumeRole&Format=JSON&Version=2015-04-01&DurationSeconds=3600\
         &RoleArn=acs%3Aram%3A%3A123456789012%3Arole%2Fpai%20images&RoleSessionName=session%201\
         &SignatureMethod=HMAC-SHA1&SignatureVersion=1.0&Timestamp=";
    assert!(asked.line().starts_with(expected), "{}", asked.line());
    assert_signed(&asked, "base-secret");
}

#[tokio::test]
async fn a_role_over_a_temporary_key_sends_its_token() {
    let sts = StandIn::sts().await;
    let agent = StandIn::start(|_| (200, success(HOUR))).await;
    let config = Config {
        source: SourceName::Uri,
        uri: Some(format!("{}/creds?role=a%20b", agent.url())),
        sts_endpoint: Some(sts.url()),
        assume_role_arn: Some(ROLE.to_owned()),
        ..Config::default()
    };
    load(&config, &Environment::new()).await;
    assert_eq!(agent.lines(), ["GET /creds?role=a%20b"]);
    let asked = sts.asked().remove(0);
    assert_eq!(asked.parameter("SecurityToken").as_deref(), Some(STS_TOKEN));
    assert_signed(&asked, STS_SECRET);
}

#[tokio::test]
async fn an_answer_that_is_no_success_is_refused_by_its_code() {
    let agent = StandIn::start(|_| {
        let mut answer = granted(HOUR);
        answer["Code"] = json!("Fail.Hard");
        (200, answer.to_string())
    })
    .await;
    let environment = variables(&[("ALIBABA_CLOUD_CREDENTIALS_URI", &agent.url())]);
    let config = Config {
        source: SourceName::Uri,
        ..Config::default()
    };
    let message = refusal(&config, &environment).await;
    assert!(
        message.contains("the credentials URI") && message.contains("Fail.Hard"),
        "{message}"
    );
}

#[tokio::test]
async fn an_error_of_sts_is_reported_by_its_code_alone() {
    let said = format!("server string to sign is: {STS_SECRET}");
    let answers = [
        json!({ "Code": "NoPermission", "Message": said }).to_string(),
        json!({ "Code": said }).to_string(),
        said.clone(),
    ];
    for (answer, code) in answers.into_iter().zip(["NoPermission", "403", "403"]) {
        let sts = StandIn::start(move |_| (403, answer.clone())).await;
        let config = Config {
            source: SourceName::Env,
            sts_endpoint: Some(sts.url()),
            assume_role_arn: Some(ROLE.to_owned()),
            ..Config::default()
        };
        let message = refusal(&config, &variables(&BASE)).await;
        assert!(
            message.contains(code) && !message.contains("string to sign"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn broken_answers_are_refused() {
    let mut odd = granted(HOUR);
    odd["Expiration"] = json!("2099-01-01T00:00:00+08:00");
    odd["Code"] = json!("Success");
    let cases = [
        ("[]".to_owned(), "no JSON object"),
        (String::new(), "no JSON object"),
        (odd.to_string(), "Expiration"),
        (success(-5), "already expired"),
        ("x".repeat(1 << 20), "too long"),
    ];
    for (answer, expected) in cases {
        let agent = StandIn::start(move |_| (200, answer.clone())).await;
        let config = Config {
            source: SourceName::Uri,
            uri: Some(agent.url()),
            ..Config::default()
        };
        let message = refusal(&config, &Environment::new()).await;
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

#[tokio::test]
async fn the_first_source_with_a_credential_is_kept_to() {
    let agent = StandIn::start(|_| (200, success(HOUR))).await;
    let environment = variables(&[
        ("ALIBABA_CLOUD_CREDENTIALS_URI", &agent.url()),
        ("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true"),
    ]);
    let metrics = Arc::new(Metrics::new());
    let provider = CredentialProvider::new(&Config::default(), &environment, Arc::clone(&metrics));
    for _ in 0..3 {
        provider.load().await.unwrap();
    }
    let text = metrics.render();
    let count = |source: &str, result: &str| {
        let labels = [("source", source), ("result", result)];
        crate::support::sample(&text, "pai_gateway_credential_refreshes_total", &labels)
    };
    assert_eq!((count("uri", "ok"), agent.asked().len()), (3.0, 3));
    for source in ["env", "cli_profile", "profile"] {
        assert_eq!(count(source, "error"), 1.0, "{source}");
    }
    let status = provider.status();
    assert_eq!(status.source, Some("uri"));
    assert_eq!(status.expires_at.unwrap()[..16], ahead(HOUR)[..16]);
}
