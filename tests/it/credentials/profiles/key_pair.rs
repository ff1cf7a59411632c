//! A key pair of RSA: the request, and its signature checked with the public key.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pai_image_gateway::credentials::{Config, Environment, SourceName};
use pai_image_gateway::signing::rpc;
use serde_json::json;
use tempfile::TempDir;

use super::super::stand_in::{HOUR, STS_ID, STS_SECRET, StandIn, ahead};
use super::super::{file, load, refusal};

/// Settings for a credentials file that names this text as its private key.
fn settings(private_key: &str, sts: &StandIn) -> (Config, [TempDir; 2]) {
    let (keys, key) = file("key.pem", private_key);
    let text = format!(
        "[default]\ntype = rsa_key_pair\npublic_key_id = LTAI+pair\nprivate_key_file = {key}\n"
    );
    let (folder, credentials) = file("credentials.ini", &text);
    let config = Config {
        source: SourceName::Profile,
        credentials_file: Some(credentials),
        sts_endpoint: Some(sts.url()),
        ..Config::default()
    };
    (config, [keys, folder])
}

async fn sts() -> StandIn {
    StandIn::start(|_| {
        let key = json!({ "SessionAccessKeyId": STS_ID, "SessionAccessKeySecret": STS_SECRET, "Expiration": ahead(HOUR) });
        (200, json!({ "RequestId": "6894B13B", "SessionAccessKey": key }).to_string())
    })
    .await
}

#[tokio::test]
async fn a_session_is_asked_for_with_a_signature_that_the_public_key_verifies() {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let der = STANDARD.encode(pair.as_der().unwrap().as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
    let sts = sts().await;
    let (config, _folders) = settings(&pem, &sts);
    let expected = (STS_ID.to_owned(), STS_SECRET.to_owned(), None);
    assert_eq!(load(&config, &Environment::new()).await, expected);
    let asked = sts.asked().remove(0);
    let start = "GET /?Action=GenerateSessionAccessKey&Format=JSON&Version=2015-04-01&DurationSeconds=3600\
         &PublicKeyId=LTAI%2Bpair&SignatureMethod=SHA256withRSA&SignatureType=PRIVATEKEY&SignatureVersion=1.0&Timestamp=";
    assert!(asked.line().starts_with(start), "{}", asked.line());
    let tail = ["SignatureNonce", "AccessKeyId", "Signature"].map(str::to_owned);
    assert!(asked.names().ends_with(&tail));
    assert_eq!(asked.parameter("AccessKeyId").as_deref(), Some("LTAI+pair"));
    let query = asked.query();
    let signed = query.pairs().filter(|(name, _)| *name != "Signature");
    let text = rpc::string_to_sign("GET", signed);
    let signature = STANDARD
        .decode(asked.parameter("Signature").unwrap())
        .unwrap();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref());
    public.verify(text.as_bytes(), &signature).unwrap();
}

#[tokio::test]
async fn a_file_without_a_key_is_named_and_nobody_is_asked() {
    let nobody = sts().await;
    let (config, _folders) = settings("hunter2", &nobody);
    let told = refusal(&config, &Environment::new()).await;
    assert!(
        told.contains("key.pem: it has no private key in PEM form"),
        "{told}"
    );
    assert!(!told.contains("hunter2") && nobody.asked().is_empty());
}

#[tokio::test]
async fn an_answer_without_a_key_is_refused() {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let der = STANDARD.encode(pair.as_der().unwrap().as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
    let answers = [
        (json!({}), "no SessionAccessKey"),
        (
            json!({ "SessionAccessKey": { "Expiration": ahead(HOUR) } }),
            "no SessionAccessKeyId",
        ),
    ];
    for (answer, expected) in answers {
        let sts = StandIn::start(move |_| (200, answer.to_string())).await;
        let (config, _folders) = settings(&pem, &sts);
        let told = refusal(&config, &Environment::new()).await;
        assert!(told.contains(expected), "{told}");
    }
}
