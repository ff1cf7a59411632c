//! A sign-in by browser: what is asked, and what becomes of the file.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::Path;

use http::Method;
use jiff::Timestamp;
use pai_image_gateway::api::Query;
use pai_image_gateway::credentials::{Config, Environment, SourceName};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::stand_in::{Asked, HOUR, STS_ID, STS_SECRET, STS_TOKEN, StandIn, granted};
use super::super::{file, load, provider, refusal, stood_in};

/// A sign-in whose tokens have lapsed.
fn lapsed() -> Value {
    json!({
        "name": "p", "mode": "OAuth", "oauth_site_type": "INTL", "oauth_access_token": "old-access",
        "oauth_access_token_expire": 1_700_000_000, "oauth_refresh_token": "old/refresh", "region_id": "cn-beijing",
    })
}

fn with(mut profile: Value, fields: &Value) -> Value {
    let fields = fields.as_object().unwrap().clone();
    profile.as_object_mut().unwrap().extend(fields);
    profile
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

/// Renews and exchanges for everybody; each refresh token is good for one use.
async fn oauth() -> StandIn {
    let uses = std::sync::atomic::AtomicUsize::new(0);
    StandIn::start(move |asked| {
        if asked.target == "/v1/exchange" {
            return (200, granted(HOUR).to_string());
        }
        let at = uses.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let tokens = json!({ "access_token": format!("access-{at}"), "refresh_token": format!("refresh-{at}"), "expires_in": 600 });
        (200, tokens.to_string())
    })
    .await
}

struct Home {
    config: Config,
    path: String,
    _folder: TempDir,
}

impl Home {
    /// A file with this profile, and others, which nobody may touch.
    fn new(profile: &Value, oauth: &StandIn) -> Self {
        let text = json!({ "current": "p", "profiles": [other(), profile], "meta_path": "/m" });
        let (folder, path) = file(".aliyun/config.json", &text.to_string());
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let config = Config {
            source: SourceName::CliProfile,
            cli_config_file: Some(path.clone()),
            oauth_endpoint: Some(oauth.url()),
            ..Config::default()
        };
        Self {
            config,
            path,
            _folder: folder,
        }
    }

    fn read(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(&self.path).unwrap()).unwrap()
    }

    fn files(&self) -> usize {
        let folder = Path::new(&self.path).parent().unwrap();
        std::fs::read_dir(folder).unwrap().count()
    }
}

fn other() -> Value {
    json!({ "name": "other", "mode": "AK", "access_key_id": "LTAIx", "access_key_secret": "s", "odd": [1, null, 2.5] })
}

/// A form's fields without its Timestamp, which is checked.
fn form(asked: &Asked) -> Vec<(String, String)> {
    let form = Query::parse(&asked.body).unwrap();
    let pairs = form.pairs().map(|(n, v)| (n.to_owned(), v.to_owned()));
    let (date, rest): (Vec<_>, Vec<_>) = pairs.partition(|(name, _)| name == "Timestamp");
    let date: Timestamp = date[0].1.parse().unwrap();
    assert!((now() - date.as_second()).abs() < 60);
    let mut rest = rest;
    rest.sort();
    rest
}

#[tokio::test]
async fn a_lapsed_sign_in_is_renewed_exchanged_and_written_back() {
    let oauth = oauth().await;
    let home = Home::new(&lapsed(), &oauth);
    assert_eq!(load(&home.config, &Environment::new()).await, stood_in());
    let asked = oauth.asked();
    assert_eq!(oauth.lines(), ["POST /v1/token", "POST /v1/exchange"]);
    let content = asked[0].header("content-type");
    assert_eq!(content, Some("application/x-www-form-urlencoded"));
    let expected = [
        ("client_id", "4103531455503354461"),
        ("grant_type", "refresh_token"),
        ("refresh_token", "old/refresh"),
    ];
    let expected = expected.map(|(n, v)| (n.to_owned(), v.to_owned()));
    assert_eq!(form(&asked[0]), expected);
    assert_eq!(asked[1].method, Method::POST);
    assert_eq!(asked[1].header("authorization"), Some("Bearer access-0"));
    assert_eq!(asked[1].header("content-type"), Some("application/json"));
    assert_eq!(asked[1].body, "");

    assert_written(&home);
    // What was written is used as it is, by others too.
    assert_eq!(load(&home.config, &Environment::new()).await, stood_in());
    assert_eq!(oauth.asked().len(), 2);
}

/// The sign-in is new; all else is as it was.
fn assert_written(home: &Home) {
    let file = home.read();
    let written = &file["profiles"][1];
    let (token_ends, key_ends) = (
        written["oauth_access_token_expire"].as_i64().unwrap(),
        written["sts_expiration"].as_i64().unwrap(),
    );
    assert!((token_ends - now() - 600).abs() < 60 && (key_ends - now() - HOUR).abs() < 60);
    let expected = with(
        lapsed(),
        &json!({
            "oauth_access_token": "access-0", "oauth_refresh_token": "refresh-0",
            "oauth_access_token_expire": token_ends, "access_key_id": STS_ID,
            "access_key_secret": STS_SECRET, "sts_token": STS_TOKEN, "sts_expiration": key_ends,
        }),
    );
    let expected = json!({ "current": "p", "profiles": [other(), expected], "meta_path": "/m" });
    assert_eq!(file, expected);
    let mode = std::fs::metadata(&home.path).unwrap().mode() & 0o777;
    assert_eq!((mode, home.files()), (0o600, 1));
}

#[tokio::test]
async fn a_sign_in_that_holds_is_only_exchanged() {
    let oauth = oauth().await;
    let held = json!({ "oauth_site_type": "cn", "oauth_access_token_expire": now() + HOUR,
        "access_key_id": "STS.old", "access_key_secret": "s", "sts_token": "t", "sts_expiration": now() - 1 });
    let home = Home::new(&with(lapsed(), &held), &oauth);
    assert_eq!(load(&home.config, &Environment::new()).await, stood_in());
    assert_eq!(oauth.lines(), ["POST /v1/exchange"]);
    let bearer = oauth.asked()[0].header("authorization").unwrap().to_owned();
    assert_eq!(bearer, "Bearer old-access");
    let written = &home.read()["profiles"][1];
    assert_eq!(written["oauth_refresh_token"], "old/refresh");
    assert_eq!(written["sts_token"], STS_TOKEN);
}

#[tokio::test]
async fn a_file_that_cannot_be_replaced_leaves_the_tokens_in_memory() {
    let oauth = StandIn::start(|asked| {
        let short = granted(600).to_string();
        let tokens = |at: &str| json!({ "access_token": format!("access-{at}"), "refresh_token": at, "expires_in": 600 });
        match asked.target.as_str() {
            "/v1/exchange" => (200, short),
            _ if asked.body.contains("old") => (200, tokens("second").to_string()),
            _ if asked.body.contains("second") => (200, tokens("third").to_string()),
            _ if asked.body.contains("third") => (200, tokens("fourth").to_string()),
            _ => (400, json!({ "error": "invalid_grant" }).to_string()),
        }
    })
    .await;
    let home = Home::new(&lapsed(), &oauth);
    let before = home.read();
    // Root may write anywhere; nobody may while another program keeps the lock.
    let locked = std::fs::File::open(&home.path).unwrap();
    locked.lock().unwrap();
    let provider = provider(&home.config, &Environment::new());
    for _ in 0..2 {
        provider.load().await.unwrap();
        let id = provider.current().unwrap().access_key_id.clone();
        assert_eq!(id, STS_ID);
    }
    assert_eq!((home.read(), home.files()), (before, 1));
    let bearers: Vec<_> = oauth
        .asked()
        .iter()
        .filter_map(|asked| asked.header("authorization").map(str::to_owned))
        .collect();
    assert_eq!(bearers, ["Bearer access-second", "Bearer access-third"]);

    // Once it can be written, what was kept goes there.
    drop(locked);
    provider.load().await.unwrap();
    let asked = oauth.asked();
    assert!(asked[4].body.contains("refresh_token=third"));
    let written = &home.read()["profiles"][1];
    assert_eq!(written["oauth_refresh_token"], "fourth");
    // The next renewal is refused; the key at hand is used to its end.
    provider.load().await.unwrap();
    assert_eq!((oauth.asked().len(), home.files()), (7, 1));
}

#[tokio::test]
async fn a_refused_sign_in_is_told_by_its_code_alone() {
    let said = json!({ "error": "invalid_grant", "error_description": format!("old/refresh {STS_SECRET}") });
    let answer = said.to_string();
    let oauth = StandIn::start(move |_| (400, answer.clone())).await;
    let home = Home::new(&lapsed(), &oauth);
    let told = refusal(&home.config, &Environment::new()).await;
    assert!(
        told.contains("OAuth refused with status 400 and code invalid_grant"),
        "{told}"
    );
    assert!(!told.contains("old/refresh"), "{told}");
    assert_eq!(home.read()["profiles"][1], lapsed());
}

#[tokio::test]
async fn an_error_with_status_200_and_a_profile_without_tokens_are_refused() {
    let oauth = StandIn::start(|_| {
        let mut answer = granted(HOUR);
        answer["error"] = json!("access_denied");
        (200, answer.to_string())
    })
    .await;
    let held = json!({ "oauth_access_token_expire": now() + HOUR });
    let home = Home::new(&with(lapsed(), &held), &oauth);
    let told = refusal(&home.config, &Environment::new()).await;
    assert!(told.contains("access_denied"), "{told}");
    let nothing = json!({ "name": "p", "mode": "OAuth" });
    let told = refusal(&Home::new(&nothing, &oauth).config, &Environment::new()).await;
    assert!(told.contains("sign in again"), "{told}");
    let elsewhere = json!({ "name": "p", "mode": "OAuth", "oauth_site_type": "MOON" });
    let told = refusal(&Home::new(&elsewhere, &oauth).config, &Environment::new()).await;
    assert!(told.contains("oauth_site_type is not CN or INTL"), "{told}");
}
