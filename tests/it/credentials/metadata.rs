//! The ECS metadata service: its second version, its first, and the switches between them.

use std::time::Instant;

use pai_image_gateway::credentials::{Config, SourceName};
use pai_image_gateway::environment::Environment;

use super::stand_in::{HOUR, StandIn, success};
use super::{load, refusal, stood_in, variables};

#[tokio::test]
async fn the_metadata_service_is_asked_with_a_token_for_each_question() {
    let metadata = StandIn::start(|asked| match asked.target.as_str() {
        "/latest/api/token" => (200, "tok en".to_owned()),
        "/latest/meta-data/ram/security-credentials/" => (200, " node-role\n".to_owned()),
        "/latest/meta-data/ram/security-credentials/node-role" => (200, success(HOUR)),
        _ => (404, String::new()),
    })
    .await;
    let config = Config {
        ecs_endpoint: metadata.url(),
        ..Config::default()
    };
    assert_eq!(load(&config, &Environment::new()).await, stood_in());
    let asked = metadata.asked();
    let lines = [
        "PUT /latest/api/token",
        "GET /latest/meta-data/ram/security-credentials/",
        "PUT /latest/api/token",
        "GET /latest/meta-data/ram/security-credentials/node-role",
    ];
    assert_eq!(metadata.lines(), lines);
    let ttl = asked[0].header("x-aliyun-ecs-metadata-token-ttl-seconds");
    assert_eq!(
        (ttl, asked[0].header("content-length")),
        (Some("21600"), Some("0"))
    );
    let tokens = asked
        .iter()
        .map(|asked| asked.header("x-aliyun-ecs-metadata-token"));
    let expected = [None, Some("tok en"), None, Some("tok en")];
    assert_eq!(tokens.collect::<Vec<_>>(), expected);
}

/// A metadata service that issues tokens or not, and accepts requests with them or not.
async fn old_metadata(token: u16, guarded: u16) -> StandIn {
    StandIn::start(
        move |asked| match asked.header("x-aliyun-ecs-metadata-token") {
            None if asked.method == "PUT" => (token, "tok".to_owned()),
            None => (200, success(HOUR)),
            Some(_) => (guarded, String::new()),
        },
    )
    .await
}

#[tokio::test]
async fn the_metadata_services_first_version_is_asked_where_the_second_fails() {
    let environment = variables(&[("ALIBABA_CLOUD_ECS_METADATA", "node")]);
    let get = "GET /latest/meta-data/ram/security-credentials/node";
    let put = "PUT /latest/api/token";
    for (token, guarded, lines) in [(404, 200, vec![put, get]), (200, 403, vec![put, get, get])] {
        let metadata = old_metadata(token, guarded).await;
        let config = Config {
            source: SourceName::Ecs,
            ecs_endpoint: metadata.url(),
            ecs_imdsv1: true,
            ..Config::default()
        };
        assert_eq!(load(&config, &environment).await, stood_in());
        assert_eq!(metadata.lines(), lines);
        let asked = metadata.asked().pop().unwrap();
        assert_eq!(asked.header("x-aliyun-ecs-metadata-token"), None);
    }
}

#[tokio::test]
async fn the_first_version_is_off_and_a_variable_forbids_it_whatever_is_set() {
    for forbid in [&[][..], &[("ALIBABA_CLOUD_IMDSV1_DISABLED", "true")]] {
        let metadata = old_metadata(404, 200).await;
        let config = Config {
            source: SourceName::Ecs,
            ecs_endpoint: metadata.url(),
            ecs_role_name: Some("node".to_owned()),
            ecs_imdsv1: Config::default().ecs_imdsv1 || !forbid.is_empty(),
            ..Config::default()
        };
        let message = refusal(&config, &variables(forbid)).await;
        assert!(message.contains("status 404"), "{message}");
        assert_eq!(metadata.lines(), ["PUT /latest/api/token"]);
    }
}

#[tokio::test]
async fn a_metadata_service_that_does_not_answer_costs_two_seconds() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config {
        source: SourceName::Ecs,
        ecs_endpoint: format!("http://{}", silent.local_addr().unwrap()),
        ..Config::default()
    };
    let begun = Instant::now();
    let message = refusal(&config, &Environment::new()).await;
    assert!(message.contains("in time"), "{message}");
    assert!(
        (2..5).contains(&begun.elapsed().as_secs()),
        "{:?}",
        begun.elapsed()
    );
}
