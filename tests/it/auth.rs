//! Authentication, and the errors of requests that fail it.

use http::Method;
use jiff::{SignedDuration, Timestamp};
use pai_image_gateway::emulator::Store;

use crate::support::path;
use crate::support::signed::{Guarded, Signer, TOKEN};

/// An image of workspace 15945, PUBLIC.
fn image() -> String {
    path(&Store::id(1))
}

#[tokio::test]
async fn issued_keys_authenticate_also_while_they_are_rotated() {
    let guarded = Guarded::usual().await;
    for signer in [
        Signer::chief(),
        Signer::new("GWCHIEF", "chief-next"),
        Signer::team(),
    ] {
        let answer = guarded.get(&signer, &image()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let counted = [("client", "chief"), ("outcome", "miss")];
    let misses = guarded
        .gateway
        .metric("pai_gateway_client_requests_total", &counted)
        .await;
    assert_eq!(misses, 1.0);
}

#[tokio::test]
async fn failed_authentication_gets_the_vendors_codes_and_costs_no_call() {
    let guarded = Guarded::usual().await;
    let mut old = Signer::chief();
    old.date = Some(Timestamp::now() - SignedDuration::from_mins(16));
    let mut early = Signer::chief();
    early.date = Some(Timestamp::now() + SignedDuration::from_mins(16));
    for (signer, status, code) in [
        (
            Signer::new("GWCHIEF", "wrong"),
            400,
            "SignatureDoesNotMatch",
        ),
        (
            Signer::new("GWNOBODY", "x"),
            404,
            "InvalidAccessKeyId.NotFound",
        ),
        (
            Signer::new("LTAI5tReal", "x"),
            404,
            "InvalidAccessKeyId.NotFound",
        ),
        (
            Signer::new("GWTEMP", "team-secret"),
            400,
            "MissingSecurityToken",
        ),
        (old, 400, "InvalidTimeStamp.Expired"),
        (early, 400, "InvalidTimeStamp.Expired"),
    ] {
        let answer = guarded.get(&signer, &image()).await;
        assert_eq!(answer.status.as_u16(), status, "{code}");
        assert_eq!(answer.json()["Code"], code);
        assert!(!answer.everything().contains("secret"), "{answer:?}");
    }
    let nobody = guarded.gateway.get(&image()).await;
    assert_eq!(nobody.error(), (401, "MissingAccessKeyId".to_owned()));
    assert_eq!(guarded.gateway.calls(), 0);
    let cloud = [("reason", "cloud_key")];
    let counted = "pai_gateway_sign_ins_refused_total";
    assert_eq!(guarded.gateway.metric(counted, &cloud).await, 1.0);
    assert_eq!(guarded.gateway.metric(counted, &[]).await, 7.0);
}

#[tokio::test]
async fn a_temporary_key_goes_with_its_token() {
    let guarded = Guarded::usual().await;
    for (token, code) in [
        ("sts/token+=", ""),
        ("other", "InvalidSecurityToken.Malformed"),
    ] {
        let mut signer = Signer::new("GWTEMP", "team-secret");
        signer.credentials.security_token = Some(token.into());
        let answer = guarded.get(&signer, &image()).await;
        assert_eq!(answer.json()["Code"].as_str().unwrap_or(""), code);
        // A token that was not issued is not taken with a key that has none.
        signer.credentials.access_key_id = "GWTEAM".to_owned();
        let answer = guarded.get(&signer, &image()).await;
        assert_eq!(answer.json()["Code"], "InvalidSecurityToken.Malformed");
    }
}

#[tokio::test]
async fn each_header_that_matters_must_be_signed_once() {
    let guarded = Guarded::usual().await;
    let request = (Method::GET, image());
    for name in [
        "x-acs-date",
        "x-acs-signature-nonce",
        "x-acs-action",
        "x-acs-version",
        "x-acs-content-sha256",
    ] {
        let mut signed = Signer::chief().sign(&request.0, &request.1, "");
        let ask = (Method::GET, request.1.as_str(), "");
        let twice = guarded.send(ask.clone(), &signed, &[(name, "other")]).await;
        assert_eq!(twice.json()["Code"], "SignatureDoesNotMatch", "{name}");
        let (_, authorization) = signed.last_mut().unwrap();
        *authorization = authorization
            .replace(&format!("{name};"), "")
            .replace(&format!(";{name},"), ",");
        let unsigned = guarded.send(ask.clone(), &signed, &[]).await;
        assert_eq!(unsigned.json()["Code"], "SignatureDoesNotMatch", "{name}");
        signed.retain(|(header, _)| header != name);
        let missing = guarded.send(ask, &signed, &[]).await;
        assert_eq!(missing.json()["Code"], "SignatureDoesNotMatch", "{name}");
    }
    assert_eq!(guarded.gateway.calls(), 0);
}

#[tokio::test]
async fn a_signature_is_valid_for_its_own_request_only() {
    let guarded = Guarded::usual().await;
    let signed = Signer::chief().sign(&Method::GET, &image(), "");
    for (method, target, body) in [
        (Method::GET, path(&Store::id(2)), ""),
        (Method::GET, format!("{}?Verbose=true", image()), ""),
        (Method::DELETE, image(), ""),
        (Method::GET, "/api/v1/images".to_owned(), ""),
    ] {
        let answer = guarded.send((method, &target, body), &signed, &[]).await;
        assert_eq!(answer.status, 400, "{target}");
    }
    let body = r#"{"Labels":[{"Key":"a","Value":"b"}]}"#;
    let labels = format!("{}/labels", image());
    let signed = Signer::chief().sign(&Method::POST, &labels, body);
    let other = body.replace('b', "c");
    let forged = guarded
        .send((Method::POST, &labels, &other), &signed, &[])
        .await;
    assert_eq!(forged.json()["Code"], "SignatureDoesNotMatch");
    assert_eq!(guarded.gateway.calls(), 0);
}

#[tokio::test]
async fn a_get_is_answered_once_more_and_a_write_is_not() {
    let guarded = Guarded::usual().await;
    let signed = Signer::chief().sign(&Method::GET, &image(), "");
    let target = image();
    let get = || (Method::GET, target.as_str(), "");
    assert_eq!(guarded.send(get(), &signed, &[]).await.status, 200);
    assert_eq!(guarded.send(get(), &signed, &[]).await.status, 200);
    let third = guarded.send(get(), &signed, &[]).await;
    assert_eq!(third.error_code(), "SignatureNonceUsed");
    let signed = Signer::chief().sign(&Method::GET, &image(), "");
    assert_eq!(guarded.send(get(), &signed, &[]).await.status, 200);
    let changed = guarded
        .send(get(), &signed, &[("cache-control", "no-cache")])
        .await;
    assert_eq!(changed.error_code(), "SignatureNonceUsed");
    let signed = Signer::chief().sign(&Method::DELETE, &image(), "");
    let delete = || (Method::DELETE, target.as_str(), "");
    assert_eq!(guarded.send(delete(), &signed, &[]).await.status, 200);
    let again = guarded.send(delete(), &signed, &[]).await;
    assert_eq!(again.error_code(), "SignatureNonceUsed");
}

#[tokio::test]
async fn a_refused_request_uses_up_no_nonce() {
    let guarded = Guarded::usual().await;
    let target = image();
    let signed = Signer::chief().sign(&Method::GET, &target, "");
    let other = path(&Store::id(2));
    let refused = guarded.send((Method::GET, &other, ""), &signed, &[]).await;
    assert_eq!(refused.error_code(), "SignatureDoesNotMatch");
    for _ in 0..2 {
        let answer = guarded.send((Method::GET, &target, ""), &signed, &[]).await;
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test]
async fn a_bearer_token_authenticates_on_loopback() {
    let guarded = Guarded::usual().await;
    let bearer = format!("Bearer {TOKEN}");
    for header in [
        ("authorization", bearer.as_str()),
        ("x-acs-bearer-token", TOKEN),
    ] {
        let answer = guarded
            .gateway
            .request(Method::GET, &image(), &[header], "")
            .await;
        assert_eq!(answer.status, 200, "{header:?}");
    }
    let wrong = [("authorization", "Bearer test-tokem")];
    let answer = guarded
        .gateway
        .request(Method::GET, &image(), &wrong, "")
        .await;
    assert_eq!(answer.error_code(), "InvalidAccessKeyId.NotFound");
}

#[tokio::test]
async fn credentials_of_no_known_form_are_refused() {
    let guarded = Guarded::usual().await;
    for text in [
        "",
        "Basic dXNlcjpwYXNz",
        "ACS3-HMAC-SM3 Credential=GWCHIEF,SignedHeaders=host,Signature=00",
        "ACS3-RSA-SHA256 Credential=GWCHIEF,SignedHeaders=host,Signature=00",
        "acs GWCHIEF",
        "acs3-hmac-sha256 Credential=GWCHIEF,SignedHeaders=host,Signature=00",
    ] {
        let header = [("authorization", text)];
        let answer = guarded
            .gateway
            .request(Method::GET, &image(), &header, "")
            .await;
        assert_eq!(answer.error_code(), "SignatureDoesNotMatch", "{text}");
    }
}

#[tokio::test]
async fn clients_are_read_again_and_a_bad_file_changes_nothing() {
    let guarded = Guarded::usual().await;
    let file = guarded.folder.path().join("clients.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("GWTEAM", "GWNEWTEAM")).unwrap();
    let new = Signer::new("GWNEWTEAM", "team-secret");
    crate::support::eventually("the new key authenticates", async || {
        guarded.get(&new, &image()).await.status == 200
    })
    .await;
    let gone = guarded.get(&Signer::team(), &image()).await;
    assert_eq!(gone.error_code(), "InvalidAccessKeyId.NotFound");
    std::fs::write(&file, "[[client]]\nname = 7\n").unwrap();
    let failed = [("part", "clients"), ("result", "error")];
    crate::support::eventually("the bad file is refused", async || {
        guarded
            .gateway
            .metric("pai_gateway_reloads_total", &failed)
            .await
            >= 1.0
    })
    .await;
    assert_eq!(guarded.get(&new, &image()).await.status, 200);
}

#[tokio::test]
async fn a_file_without_clients_is_refused_and_a_pipe_ends_no_reloading() {
    let guarded = Guarded::usual().await;
    let file = guarded.folder.path().join("clients.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let failed = async |count| {
        let failed = [("part", "clients"), ("result", "error")];
        let name = "pai_gateway_reloads_total";
        crate::support::eventually("it is refused", async || {
            guarded.gateway.metric(name, &failed).await >= count
        })
        .await;
        let answer = guarded.get(&Signer::team(), &image()).await;
        assert_eq!(answer.status, 200, "those who were there stay");
    };
    std::fs::write(&file, "").unwrap();
    failed(1.0).await;
    std::fs::remove_file(&file).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&file).status();
    assert!(made.unwrap().success());
    failed(2.0).await;
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, text.replace("GWTEAM", "GWNEWTEAM")).unwrap();
    let new = Signer::new("GWNEWTEAM", "team-secret");
    crate::support::eventually("the new key authenticates", async || {
        guarded.get(&new, &image()).await.status == 200
    })
    .await;
    let revoked = guarded.get(&Signer::team(), &image()).await;
    assert_eq!(revoked.error_code(), "InvalidAccessKeyId.NotFound");
}
