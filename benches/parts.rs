//! The cost of each part of a request alone: `cargo bench --bench parts`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use http::{HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use pai_image_gateway::api::{Action, Call, ImageFields, ImageId, ImageKey, VERSION};
use pai_image_gateway::auth::{self, Authenticator, Principal};
use pai_image_gateway::cache::freshness::{Directives, Evidence};
use pai_image_gateway::cache::{
    Cache, CachedAnswer, Config, Entry, FetchedImage, LookupResult, Policy,
};
use pai_image_gateway::observability::metrics::Metrics;
use pai_image_gateway::observability::outcome::Outcome;
use pai_image_gateway::peer::Peer;
use pai_image_gateway::response::{self, CacheStatus};
use pai_image_gateway::signing::{
    Authorization, Credentials, RequestHeaders, UnsignedRequest, VerifyingKey, sign, verify,
};
use pai_image_gateway::upstream::UpstreamFreshness;
use pai_image_gateway::upstream::priority::Priority;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

const EXAMPLE: &[u8] = include_bytes!("../tests/vectors/getimage_example.json");

#[divan::bench]
fn classify(bencher: Bencher<'_, '_>) {
    let path = "/api/v1/images/image-liuxvj7p2qcnflha84";
    bencher.bench(|| {
        Call::classify(
            &Method::GET,
            black_box(path),
            black_box(Some("Verbose=True")),
        )
    });
}

#[divan::bench]
fn sign_one_request(bencher: Bencher<'_, '_>) {
    let credentials = Credentials {
        access_key_id: "LTAI5tTestAccessKeyId0001".to_owned(),
        access_key_secret: "TestAccessKeySecret0000000000001".into(),
        security_token: None,
    };
    let draft = UnsignedRequest {
        method: Method::GET,
        host: "aiworkspace.cn-hangzhou.aliyuncs.com".to_owned(),
        path: "/api/v1/images/image-liuxvj7p2qcnflha84".to_owned(),
        query: String::new(),
        action: Action::GetImage.as_str(),
        version: VERSION,
        body: bytes::Bytes::new(),
    };
    let now = Timestamp::now();
    bencher.bench(|| {
        sign(
            black_box(&draft),
            &credentials,
            now,
            "7daabbdecff4f1879296812f9e9810a4",
        )
    });
}

/// As the Python SDK signs: every header it sends.
#[divan::bench]
fn verify_one_request(bencher: Bencher<'_, '_>) {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../tests/vectors/acs3.json")).expect("JSON");
    let vector = &vectors[3];
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let headers: http::HeaderMap = vector["headers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|pair| {
            let name: HeaderName = text(&pair[0]).parse().expect("a name");
            (name, text(&pair[1]).parse().expect("a value"))
        })
        .collect();
    let key = VerifyingKey::new(&text(&vector["access_key_secret"]).into());
    let (path, hash) = (text(&vector["path"]), text(&vector["payload_hash"]));
    let header = text(&vector["authorization"]);
    let check = || {
        let authorization = Authorization::parse(black_box(&header))?;
        verify(
            "GET",
            (&path, "Verbose=True"),
            &RequestHeaders::new(&headers),
            &hash,
            &authorization,
            &key,
        )
    };
    assert_eq!(check(), Ok(()));
    bencher.bench(check);
}

/// A service account's token that is known: what each request of a client after its first one pays.
#[divan::bench]
fn authenticate_a_remembered_token(bencher: Bencher<'_, '_>) {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../tests/vectors/service_account_tokens.json"))
            .expect("JSON");
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name).display().to_string();
    let clients = "[[client]]\nname = \"pods\"\nservice_account = \"training/scheduler\"\npermissions = [\"get\"]\n";
    std::fs::write(place("clients.toml"), clients).expect("a clients' file");
    let keys = vectors["key_sets"]["first"].to_string();
    std::fs::write(place("keys.json"), keys).expect("a file of keys");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut config = auth::Config {
        mode: auth::Mode::Required,
        clients_file: place("clients.toml"),
        ..auth::Config::default()
    };
    config.kubernetes.issuer = Some(text(&vectors["issuer"]));
    config.kubernetes.jwks_file = Some(place("keys.json"));
    let authenticator =
        Authenticator::open(&config, None, Arc::new(Metrics::new())).expect("sound settings");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let accounts = authenticator.service_accounts().expect("an issuer");
    runtime.block_on(accounts.load()).expect("keys");
    let bearer = format!("Bearer {}", text(&vectors["tokens"][0]["token"]));
    let request = http::Request::get("/api/v1/images/i").header("authorization", bearer);
    let (head, ()) = request.body(()).expect("a request").into_parts();
    let peer = Peer::default();
    let check = || authenticator.authenticate(&head, &peer, Action::GetImage, Timestamp::now);
    assert!(check().is_ok());
    bencher.bench(check);
}

fn entry() -> Entry {
    let arrival = FetchedImage {
        body: bytes::Bytes::from_static(EXAMPLE),
        fields: ImageFields::parse(EXAMPLE).expect("the example is an image"),
        request_id: Some(HeaderValue::from_static(
            "5A14FA81-DD4E-4F3B-8B1A-6343FE44B941",
        )),
        sent: Instant::now(),
        took: Duration::from_millis(40),
        received: Timestamp::now(),
        date: None,
        cache_control: String::new(),
        upstream: UpstreamFreshness::default(),
    };
    Entry::new(arrival, false, &Policy::default(), 0.5)
}

#[divan::bench]
fn read_an_answer(bencher: Bencher<'_, '_>) {
    bencher.bench(entry);
}

#[divan::bench]
fn decide_a_ttl(bencher: Bencher<'_, '_>) {
    let (policy, now) = (Policy::default(), Timestamp::now());
    let modified = "2021-01-21T17:12:35.232Z".parse().ok();
    let evidence = Evidence {
        modified,
        created: None,
        date: now,
        verbose: false,
        directives: Directives::default(),
        draw: 0.5,
        upstream: UpstreamFreshness::default(),
    };
    bencher.bench(|| policy.decide(black_box(&evidence)));
}

#[divan::bench(args = [1_000, 100_000])]
fn look_up(bencher: Bencher<'_, '_>, images: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime starts");
    let cache: Arc<Cache<()>> = Arc::new(Cache::new(
        &Config::default(),
        Policy::default(),
        Arc::new(Metrics::new()),
        TaskTracker::new(),
    ));
    let key = |number: usize| ImageKey {
        image: ImageId::parse(&format!("image-{number:018}")).expect("digits make an id"),
        verbose: false,
    };
    let entry = Arc::new(entry());
    runtime.block_on(async {
        for number in 0..images {
            let landed = Ok(CachedAnswer::Image(Arc::clone(&entry)));
            drop(cache.fetch(
                &key(number),
                &LookupResult::Miss,
                Priority::Miss,
                || Ok(()),
                |_| async { landed },
            ));
            tokio::task::yield_now().await;
        }
    });
    let (key, now) = (key(images / 2), Instant::now());
    assert!(matches!(cache.look_up(&key, now), LookupResult::Image(..)));
    bencher.bench(|| cache.look_up(black_box(&key), now));
}

/// The name of a request's header.
fn sent(number: usize) -> HeaderName {
    format!("x-acs-{number}").parse().expect("a name")
}

#[divan::bench]
fn response_head(bencher: Bencher<'_, '_>) {
    let (entry, anonymous) = (entry(), Principal::Anonymous);
    let used = || {
        (0..11)
            .map(|n| (sent(n), HeaderValue::from_static("v")))
            .collect()
    };
    bencher
        .with_inputs(|| (HeaderValue::from_static("id"), used()))
        .bench_values(|(id, used)| {
            let seen = anonymous.authorize(&entry).expect("anonymous sees all");
            let age = black_box(Duration::from_secs(17));
            let answer = response::image(seen, age, Outcome::Hit, CacheStatus::Hit(123));
            answer.into_response(id, used)
        });
}
