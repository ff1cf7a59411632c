//! The credential of a whole gateway, and in `check`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use http::{Method, StatusCode};
use pai_image_gateway::emulator::Store;
use pai_image_gateway::environment::Environment;
use serde_json::{Value, json};

use super::stand_in::{HOUR, STS_ID, STS_SECRET, STS_TOKEN, StandIn, assumed, granted, success};
use super::{BASE, PROVIDER, ROLE, file, home, variables};
use crate::process::flags;
use crate::service_accounts::stand_in::Vectors;
use crate::support::{Setup, TestGateway, eventually, run};

/// A gateway that assumes a role at this STS, in front of an origin that accepts only that role's key.
fn behind(sts: &StandIn) -> impl FnOnce(&mut Setup) {
    let endpoint = sts.url();
    move |setup| {
        setup.environment = variables(&BASE);
        setup.set("credentials.sts_endpoint", &endpoint);
        setup.set("credentials.assume_role_arn", ROLE);
        setup.origin.access_key_id = STS_ID.to_owned();
        setup.origin.access_key_secret = STS_SECRET.into();
        setup.origin.security_token = Some(STS_TOKEN.into());
    }
}

#[tokio::test]
async fn a_gateway_signs_with_the_roles_key_and_token() {
    let sts = StandIn::sts().await;
    let gateway = TestGateway::start(behind(&sts)).await;
    gateway.image(&Store::id(1)).await.found();
    let credential = gateway.page("/status").await["credential"].clone();
    assert_eq!(credential["source"], "env");
    assert_eq!(credential["access_key_id"], "STS.****d001");
    assert!(credential["expires_at"].is_string());
    assert!(credential["last_error"].is_null());
    for page in ["/status", "/config", "/metrics"] {
        let text = gateway.admin(Method::GET, page, "").await.everything();
        for secret in [STS_ID, STS_SECRET, STS_TOKEN, "base-secret"] {
            assert!(!text.contains(secret), "{page}");
        }
    }
}

#[tokio::test]
async fn a_temporary_key_is_renewed_before_it_expires() {
    let lifetime = Arc::new(AtomicI64::new(6));
    let given = Arc::clone(&lifetime);
    let sts = StandIn::start(move |_| {
        let seconds = given.swap(HOUR, Ordering::Relaxed);
        (200, assumed(&granted(seconds)))
    })
    .await;
    let gateway = TestGateway::start(behind(&sts)).await;
    eventually("the key is renewed", async || {
        assert_eq!(
            gateway.admin(Method::GET, "/readyz", "").await.status,
            StatusCode::OK
        );
        sts.asked().len() == 2
    })
    .await;
    gateway.image(&Store::id(1)).await.found();
}

#[tokio::test]
async fn the_last_good_key_signs_until_it_expires_and_a_new_one_is_taken_when_sts_is_back() {
    let down = Arc::new(AtomicBool::new(false));
    let (is_down, first) = (Arc::clone(&down), AtomicBool::new(true));
    let sts = StandIn::start(move |_| {
        let seconds = if first.swap(false, Ordering::Relaxed) {
            6
        } else {
            HOUR
        };
        if is_down.load(Ordering::Relaxed) {
            (
                500,
                json!({ "Code": "InternalError", "Message": STS_SECRET }).to_string(),
            )
        } else {
            (200, assumed(&granted(seconds)))
        }
    })
    .await;
    let gateway = TestGateway::start(behind(&sts)).await;
    down.store(true, Ordering::Relaxed);
    eventually("a renewal fails", async || sts.asked().len() > 1).await;
    gateway.image(&Store::id(1)).await.found();
    let error = gateway.page("/status").await["credential"]["last_error"].to_string();
    assert!(
        error.contains("InternalError") && !error.contains(STS_SECRET),
        "{error}"
    );

    let ready = async || gateway.admin(Method::GET, "/readyz", "").await.status;
    eventually("the key expires", async || ready().await != StatusCode::OK).await;
    assert_eq!(
        gateway.image(&Store::id(2)).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    gateway.image(&Store::id(1)).await.found();

    down.store(false, Ordering::Relaxed);
    eventually("a new key is there", async || {
        ready().await == StatusCode::OK
    })
    .await;
    gateway.image(&Store::id(2)).await.found();
}

/// Runs `check` with these settings.
async fn check(environment: &Environment, settings: &[String]) -> (i32, String) {
    let checked = run(environment, &[vec!["check"], flags(settings)].concat()).await;
    let text = checked.stdout + &checked.stderr;
    for secret in [STS_SECRET, STS_TOKEN, "base-secret"] {
        assert!(!text.contains(secret), "{text}");
    }
    (checked.code, text)
}

/// Asserts that `check` finds the fake's credential by this source.
async fn assert_proves(environment: &Environment, source: &str, settings: &[String]) {
    let settings = [&[format!("credentials.source={source}")], settings].concat();
    let (code, text) = check(environment, &settings).await;
    let expected = format!("credential STS.****d001 from {source}, until 20");
    assert!(code == 0 && text.contains(&expected), "{source}: {text}");
}

#[tokio::test]
async fn check_proves_each_source() {
    let sts = StandIn::sts().await;
    let agent = StandIn::start(|_| (200, success(HOUR))).await;
    let (_token, token_file) = file("token", "t");
    let endpoint = format!("credentials.sts_endpoint={}", sts.url());
    let none = Environment::new();

    let over_env = [
        format!("credentials.assume_role_arn={ROLE}"),
        endpoint.clone(),
    ];
    assert_proves(&variables(&BASE), "env", &over_env).await;
    let oidc = [
        format!("credentials.oidc_role_arn={ROLE}"),
        format!("credentials.oidc_provider_arn={PROVIDER}"),
        format!("credentials.oidc_token_file={token_file}"),
        endpoint.clone(),
    ];
    assert_proves(&none, "oidc", &oidc).await;
    let asked = variables(&[("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "false")]);
    assert_proves(
        &asked,
        "ecs",
        &[format!("credentials.ecs_endpoint={}", agent.url())],
    )
    .await;
    assert_proves(&none, "uri", &[format!("credentials.uri={}", agent.url())]).await;

    let profile = json!({ "name": "p", "mode": "RamRoleArn", "access_key_id": "i", "access_key_secret": "base-secret", "ram_role_arn": ROLE });
    let text = json!({ "current": "p", "profiles": [profile] }).to_string();
    let (folder, _) = file(".aliyun/config.json", &text);
    let environment = variables(&[("HOME", home(&folder))]);
    assert_proves(&environment, "cli_profile", std::slice::from_ref(&endpoint)).await;
    let text = format!(
        "[default]\ntype=ram_role_arn\naccess_key_id=i\naccess_key_secret=base-secret\nrole_arn={ROLE}\n"
    );
    let (_folder, ini) = file("my.ini", &text);
    let named = format!("credentials.credentials_file={ini}");
    assert_proves(&none, "profile", &[named, endpoint]).await;
}

#[tokio::test]
async fn check_reports_why_a_source_has_no_credential() {
    let sts = StandIn::start(|_| {
        let answer = json!({ "Code": "EntityNotExist.Role", "Message": STS_SECRET });
        (404, answer.to_string())
    })
    .await;
    let settings = [
        "credentials.source=env".to_owned(),
        format!("credentials.assume_role_arn={ROLE}"),
        format!("credentials.sts_endpoint={}", sts.url()),
    ];
    let (code, text) = check(&variables(&BASE), &settings).await;
    assert_eq!(code, 2, "{text}");
    let expected = "STS (AssumeRole) refused with status 404 and code EntityNotExist.Role";
    assert!(text.contains(expected), "{text}");
    let clear = ["credentials.uri=http://10.0.0.1/x".to_owned()];
    let (code, text) = check(&variables(&BASE), &clear).await;
    assert!(
        code == 2 && text.contains("credentials.allow_http"),
        "{text}"
    );
}

/// The token's claims, and the vendor's own words, without a word that could be the token.
#[tokio::test]
async fn check_explains_an_oidc_token_and_the_refusal_of_sts() {
    let vectors = Vectors::read();
    let token = vectors.token("good");
    let (_folder, token_file) = file("token", token);
    for (message, is_shown) in [
        ("The specified role does not trust the token.", true),
        (token, false),
    ] {
        let words = message.to_owned();
        let sts = StandIn::start(move |_| {
            let answer = json!({ "Code": "AuthenticationFail.NoPermission", "Message": words, "RequestId": "1A2B-3C" });
            (400, answer.to_string())
        })
        .await;
        let settings = [
            "credentials.source=oidc".to_owned(),
            format!("credentials.oidc_role_arn={ROLE}"),
            format!("credentials.oidc_provider_arn={PROVIDER}"),
            format!("credentials.oidc_token_file={token_file}"),
            format!("credentials.sts_endpoint={}", sts.url()),
        ];
        let (code, text) = check(&Environment::new(), &settings).await;
        assert_eq!(code, 2, "{text}");
        let refused = "refused with status 400 and code AuthenticationFail.NoPermission";
        assert!(
            text.contains(refused) && text.contains("(RequestId 1A2B-3C)"),
            "{text}"
        );
        assert_eq!(text.contains(message), is_shown, "{text}");
        let claims = format!(
            "iss {}, sub system:serviceaccount:training:scheduler, aud pai-image-gateway, exp 2100-01-01T00:00:00Z",
            vectors.issuer()
        );
        assert!(text.contains(&claims), "{text}");
        // As the vendor documents it for RRSA.
        let (_, policy) = text.split_once("to accept that token:\n").unwrap();
        let mut policy = serde_json::Deserializer::from_str(policy).into_iter::<Value>();
        let statement = policy.next().unwrap().unwrap()["Statement"][0].clone();
        assert_eq!(statement["Principal"], json!({ "Federated": [PROVIDER] }));
        let expected = json!({
            "oidc:aud": "pai-image-gateway",
            "oidc:iss": vectors.issuer(),
            "oidc:sub": "system:serviceaccount:training:scheduler",
        });
        assert_eq!(statement["Condition"]["StringEquals"], expected);
    }
}

#[tokio::test]
async fn a_key_that_the_origin_rejects_is_fetched_again_at_once() {
    let first = AtomicBool::new(true);
    let sts = StandIn::start(move |_| {
        let mut credentials = granted(HOUR);
        if first.swap(false, Ordering::Relaxed) {
            credentials["AccessKeyId"] = "STS.revoked".into();
        }
        (200, assumed(&credentials))
    })
    .await;
    let gateway = TestGateway::start(behind(&sts)).await;
    let refused = gateway.image(&Store::id(1)).await;
    assert_eq!(refused.status, StatusCode::BAD_GATEWAY);
    assert_eq!(refused.json()["Code"], "Gateway.CredentialRejected");
    eventually("the new key signs", async || {
        gateway.image(&Store::id(1)).await.status == StatusCode::OK
    })
    .await;
    assert_eq!(sts.asked().len(), 2);
}
