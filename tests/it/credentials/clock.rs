//! A machine with a wrong clock, and keys with invisible characters around them.

use jiff::{SignedDuration, Timestamp};
use pai_image_gateway::clock::DateSource;
use pai_image_gateway::credentials::{Config, SourceName};
use pai_image_gateway::environment::Environment;
use serde_json::json;

use super::stand_in::{Asked, StandIn, assumed, granted};
use super::{BASE, PROVIDER, ROLE, file, load, provider, refusal, variables};

const EXPIRED: &str = r#"{"RequestId":"R","Code":"InvalidTimeStamp.Expired","Message":"expired"}"#;

/// Seconds from this machine's clock to the request's Timestamp.
fn dated(asked: &Asked) -> i64 {
    let timestamp: Timestamp = asked.parameter("Timestamp").unwrap().parse().unwrap();
    timestamp.duration_since(Timestamp::now()).as_secs()
}

/// An STS with a clock of its own, which rejects timestamps more than 15 minutes off.
async fn strict(ahead: i64) -> StandIn {
    StandIn::dated(ahead, move |asked| {
        if (dated(asked) - ahead).abs() > 900 {
            (400, EXPIRED.to_owned())
        } else {
            (200, assumed(&granted(ahead + 3600)))
        }
    })
    .await
}

fn assuming(sts: &StandIn) -> (Config, Environment) {
    let config = Config {
        sts_endpoint: Some(sts.url()),
        assume_role_arn: Some(ROLE.to_owned()),
        ..Config::default()
    };
    (config, variables(&BASE))
}

#[tokio::test]
async fn a_wrong_clock_is_corrected_by_the_date_of_sts_and_the_call_repeated_once() {
    for ahead in [-1200, 1200] {
        let sts = strict(ahead).await;
        let (config, environment) = assuming(&sts);
        let provider = provider(&config, &environment);
        provider.load().await.unwrap();
        let asked = sts.asked();
        assert_eq!(asked.len(), 2);
        let nonce = |index: usize| asked[index].parameter("SignatureNonce").unwrap();
        assert_ne!(nonce(0), nonce(1));
        assert!(provider.current().is_some());
        // One offset for whoever signs or judges: the next request is right at once.
        provider.load().await.unwrap();
        assert_eq!(sts.asked().len(), 3);
        let corrected = provider.clock().now().duration_since(Timestamp::now());
        assert!((corrected.as_secs() - ahead).abs() <= 5, "{corrected}");
    }
}

#[tokio::test]
async fn a_clock_offset_from_the_origin_applies_to_sts_too() {
    let sts = strict(1200).await;
    let (config, environment) = assuming(&sts);
    let provider = provider(&config, &environment);
    let now = Timestamp::now();
    let theirs = now + SignedDuration::from_mins(20);
    let clock = provider.clock();
    clock.learn(theirs, now, DateSource::TimestampRejected, "the origin");
    provider.load().await.unwrap();
    assert_eq!(sts.asked().len(), 1);
}

#[tokio::test]
async fn a_credential_expires_by_the_clock_of_its_issuer() {
    // An hour's credential of a server whose clock is 70 minutes behind this one.
    let behind = -70 * 60;
    let sts = StandIn::dated(behind, move |_| (200, assumed(&granted(behind + 3600)))).await;
    let (_folder, token_file) = file("token", "eyJ.x.y");
    let environment = variables(&[
        ("ALIBABA_CLOUD_ROLE_ARN", ROLE),
        ("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", PROVIDER),
        ("ALIBABA_CLOUD_OIDC_TOKEN_FILE", &token_file),
    ]);
    let config = Config {
        source: SourceName::Oidc,
        sts_endpoint: Some(sts.url()),
        ..Config::default()
    };
    let provider = provider(&config, &environment);
    provider.load().await.unwrap();
    assert!(provider.current().is_some());
    assert_eq!(provider.unavailable_reason(), None);
}

#[tokio::test]
async fn a_refusal_without_a_date_is_final() {
    let sts = StandIn::start(|_| (400, EXPIRED.to_owned())).await;
    let (config, environment) = assuming(&sts);
    let message = refusal(&config, &environment).await;
    assert!(message.contains("InvalidTimeStamp.Expired"), "{message}");
    assert_eq!(sts.asked().len(), 1);
}

/// Settings of each source with this id, secret and token.
fn sources(id: &str, secret: &str, token: &str) -> Vec<(Config, Environment, tempfile::TempDir)> {
    let path = |folder: &tempfile::TempDir, name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path.to_str().unwrap().to_owned())
    };
    let cli = json!({ "current": "p", "profiles": [{
        "name": "p", "mode": "StsToken", "access_key_id": id, "access_key_secret": secret, "sts_token": token,
    }] });
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let source = |source| Config {
        source,
        ..Config::default()
    };
    let files = Config {
        access_key_id_file: path(&folders[0], "id", id),
        access_key_secret_file: path(&folders[0], "secret", secret),
        security_token_file: path(&folders[0], "token", token),
        ..source(SourceName::Static)
    };
    let profile = Config {
        cli_config_file: path(&folders[1], "config.json", &format!("\u{feff}{cli}")),
        ..source(SourceName::CliProfile)
    };
    let environment = variables(&[
        ("ALIBABA_CLOUD_ACCESS_KEY_ID", id),
        ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", secret),
        ("ALIBABA_CLOUD_SECURITY_TOKEN", token),
    ]);
    let configs = [files, profile, source(SourceName::Env)];
    let sources = configs.into_iter().zip(folders);
    sources
        .map(|(config, folder)| (config, environment.clone(), folder))
        .collect()
}

#[tokio::test]
async fn invisible_characters_around_a_key_are_ignored_from_any_source() {
    for (config, environment, _folder) in sources(
        "\u{feff}LTAIexample00001\r\n",
        " \u{feff}s3cret\t\n",
        "token/+=\u{a0}\n",
    ) {
        let expected = ("LTAIexample00001", "s3cret", Some("token/+="));
        let (id, secret, token) = load(&config, &environment).await;
        assert_eq!((&*id, &*secret, token.as_deref()), expected);
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_sent_is_refused_by_the_name_of_its_source() {
    for (config, environment, _folder) in sources("LTAIx", "s", "hunter2\nhunter2") {
        let message = refusal(&config, &environment).await;
        let source = match config.source {
            SourceName::Static => "static",
            SourceName::CliProfile => "cli_profile",
            _ => "env",
        };
        assert!(
            message.contains("security token") && message.contains(source),
            "{message}"
        );
        assert!(!message.contains("hunter2"), "{message}");
    }
}
