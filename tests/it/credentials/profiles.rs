//! Profile files: each mode, with its network calls.

use http::Method;
use pai_image_gateway::credentials::{Config, SourceName};
use serde_json::{Value, json};

use super::stand_in::{Asked, HOUR, STS_SECRET, STS_TOKEN, StandIn, assumed, granted, success};
use super::{PROVIDER, ROLE, assert_signed, file, home, load, refusal, stood_in, variables};

/// Modes without a place in a daemon.
const REFUSED: [&str; 4] = ["OAuth", "RamRoleArnWithEcs", "RsaKeyPair", "CredentialsURI"];

/// Loads from a command-line file in the home folder with these profiles; the first is the current one.
async fn cli(
    profiles: &Value,
    stand_in: &StandIn,
) -> Result<(String, String, Option<String>), String> {
    let text = json!({ "current": profiles[0]["name"], "profiles": profiles }).to_string();
    let (folder, _) = file(".aliyun/config.json", &text);
    let config = Config {
        source: SourceName::CliProfile,
        sts_endpoint: Some(stand_in.url()),
        ecs_endpoint: stand_in.url(),
        ..Config::default()
    };
    let environment = variables(&[("HOME", home(&folder)), ("PATH", "/usr/bin:/bin")]);
    if REFUSED.iter().any(|mode| profiles[0]["mode"] == *mode) {
        return Err(refusal(&config, &environment).await);
    }
    Ok(load(&config, &environment).await)
}

#[tokio::test]
async fn keys_in_the_command_lines_file_are_taken() {
    let nobody = StandIn::sts().await;
    let ak =
        json!([{ "name": "p", "mode": "AK", "access_key_id": "LTAIx", "access_key_secret": "s" }]);
    let expected = ("LTAIx".to_owned(), "s".to_owned(), None);
    assert_eq!(cli(&ak, &nobody).await, Ok(expected));
    let sts = json!([{ "name": "p", "mode": "StsToken", "access_key_id": "STS.x", "access_key_secret": "s", "sts_token": "t" }]);
    let expected = ("STS.x".to_owned(), "s".to_owned(), Some("t".to_owned()));
    assert_eq!(cli(&sts, &nobody).await, Ok(expected));
    let output = r#"{"mode":"AK","access_key_id":"LTAIy","access_key_secret":"s s"}"#;
    let external = json!([{ "name": "p", "mode": "External", "process_command": format!("printf %s '{output}'") }]);
    let expected = ("LTAIy".to_owned(), "s s".to_owned(), None);
    assert_eq!(cli(&external, &nobody).await, Ok(expected));
    assert!(nobody.asked().is_empty());
}

#[tokio::test]
async fn a_mode_that_is_not_supported_is_named() {
    let nobody = StandIn::sts().await;
    for mode in REFUSED {
        let profile = json!([{ "name": "p", "mode": mode }]);
        let message = cli(&profile, &nobody).await.unwrap_err();
        assert!(
            message.contains(&format!("unsupported profile mode {mode}: use a role"))
                && message.contains("External"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_chain_of_roles_is_assumed_from_the_first_on() {
    let sts = StandIn::start(|asked| {
        let mut inner = granted(HOUR);
        if asked.parameter("RoleArn").unwrap() == "inner" {
            inner["AccessKeyId"] = json!("STS.inner");
            inner["AccessKeySecret"] = json!("inner-secret");
        }
        (200, assumed(&inner))
    })
    .await;
    let profiles = json!([
        { "name": "top", "mode": "ChainableRamRoleArn", "source_profile": "foot", "ram_role_arn": ROLE, "ram_session_name": "bob", "expired_seconds": 900, "policy": "{}", "external_id": "e" },
        { "name": "foot", "mode": "RamRoleArn", "access_key_id": "LTAIx", "access_key_secret": "s", "ram_role_arn": "inner" },
    ]);
    assert_eq!(cli(&profiles, &sts).await, Ok(stood_in()));
    let asked = sts.asked();
    let both = |name: &str| {
        asked
            .iter()
            .map(|a| a.parameter(name).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(both("AccessKeyId"), ["LTAIx", "STS.inner"]);
    assert_eq!(both("RoleSessionName"), ["pai-image-gateway", "bob"]);
    assert_eq!(both("DurationSeconds"), ["3600", "900"]);
    assert_eq!(
        asked[1].parameter("SecurityToken").as_deref(),
        Some(STS_TOKEN)
    );
    let tail = [
        "SignatureNonce",
        "Policy",
        "ExternalId",
        "AccessKeyId",
        "SecurityToken",
        "Signature",
    ];
    assert!(asked[1].names().ends_with(&tail.map(str::to_owned)));
    assert_signed(&asked[0], "s");
    assert_signed(&asked[1], "inner-secret");
}

#[tokio::test]
async fn oidc_and_the_instances_role_are_profiles_too() {
    let sts = StandIn::sts().await;
    let (_folder, token_file) = file("token", "t");
    let oidc = json!([{ "name": "p", "mode": "OIDC", "ram_role_arn": ROLE, "oidc_provider_arn": PROVIDER, "oidc_token_file": token_file }]);
    assert_eq!(cli(&oidc, &sts).await, Ok(stood_in()));
    assert_eq!(sts.asked()[0].parameter("OIDCToken").as_deref(), Some("t"));
    let metadata = StandIn::start(|_| (200, success(HOUR))).await;
    let ecs = json!([{ "name": "p", "mode": "EcsRamRole", "ram_role_name": "node" }]);
    assert_eq!(cli(&ecs, &metadata).await, Ok(stood_in()));
    let last = metadata.lines().pop().unwrap();
    assert_eq!(last, "GET /latest/meta-data/ram/security-credentials/node");
}

#[tokio::test]
async fn a_cloud_sso_sign_in_is_exchanged() {
    let sso =
        StandIn::start(|_| (200, json!({ "CloudCredential": granted(HOUR) }).to_string())).await;
    let profile = json!([{
        "name": "p", "mode": "CloudSSO", "cloud_sso_sign_in_url": format!("{}/start/login?x", sso.url()),
        "cloud_sso_account_id": "12", "cloud_sso_access_config": "ac-1", "access_token": "signed-in",
        "cloud_sso_access_token_expire": 4_000_000_000_u64,
    }]);
    assert_eq!(cli(&profile, &sso).await, Ok(stood_in()));
    let asked: Asked = sso.asked().remove(0);
    assert_eq!(
        (&asked.method, asked.target.as_str()),
        (&Method::POST, "/cloud-credentials")
    );
    assert_eq!(asked.header("authorization"), Some("Bearer signed-in"));
    assert_eq!(asked.header("content-type"), Some("application/json"));
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!(
        body,
        json!({ "AccountId": "12", "AccessConfigurationId": "ac-1" })
    );
}

#[tokio::test]
async fn the_sdks_file_is_found_at_home_by_either_name() {
    let sts = StandIn::sts().await;
    for name in ["credentials.ini", "credentials"] {
        let text = format!(
            "[default]\ntype = access_key ; note\naccess_key_id = LTAIx\naccess_key_secret = a#b;c\\n # note\n\
             [role]\ntype = ram_role_arn\naccess_key_id = LTAIx\naccess_key_secret = {STS_SECRET}\nrole_arn = {ROLE}\nrole_session_name = bob\n"
        );
        let (folder, _) = file(&format!(".alibabacloud/{name}"), &text);
        let environment = variables(&[("HOME", home(&folder))]);
        let config = |profile: Option<&str>| Config {
            source: SourceName::Profile,
            profile: profile.map(str::to_owned),
            sts_endpoint: Some(sts.url()),
            ..Config::default()
        };
        let expected = ("LTAIx".to_owned(), "a#b;c\\n".to_owned(), None);
        assert_eq!(load(&config(None), &environment).await, expected);
        assert_eq!(load(&config(Some("role")), &environment).await, stood_in());
        let asked = sts.asked().pop().unwrap();
        assert_eq!(asked.parameter("RoleArn").as_deref(), Some(ROLE));
        assert_signed(&asked, STS_SECRET);
    }
}
