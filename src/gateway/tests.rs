//! Hours of trouble on paused time, before an origin that is a function.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use parking_lot::Mutex;
use tower::service_fn;
use tower::util::BoxCloneSyncService;

use super::*;
use crate::auth;
use crate::cache::freshness::OriginCacheControl;
use crate::cache::{self, Policy};
use crate::credentials::{self, CredentialProvider, SourceName};
use crate::transport::{Connection, Reply, TransportError};
use crate::units::ByteSize;
use crate::upstream::{self, Origin};

/// What the origin does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    /// As when its name no longer resolves.
    Gone,
    Throttling,
    RefusingTheKey,
    Silent,
    /// With an image that it wants nobody to keep.
    Unkeepable,
}

struct World {
    gateway: Arc<Gateway>,
    mood: Arc<Mutex<Mood>>,
    calls: Arc<AtomicU64>,
}

impl World {
    async fn new() -> Self {
        Self::with(Policy::default()).await
    }

    async fn with(policy: Policy) -> Self {
        let (mood, calls) = (
            Arc::new(Mutex::new(Mood::Well)),
            Arc::new(AtomicU64::new(0)),
        );
        let (metrics, tasks) = (Arc::new(Metrics::new()), TaskTracker::new());
        let key = [
            ("ALIBABA_CLOUD_ACCESS_KEY_ID", "id"),
            ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "secret"),
        ];
        let environment = key
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let config = credentials::Config {
            source: SourceName::Env,
            ..Default::default()
        };
        let credentials = Arc::new(CredentialProvider::new(
            &config,
            &environment,
            Arc::clone(&metrics),
        ));
        credentials.load().await.unwrap();
        let config = upstream::Config::default();
        let origin = Origin::from_config(&config).unwrap();
        let (moods, counted) = (Arc::clone(&mood), Arc::clone(&calls));
        let transport = BoxCloneSyncService::new(service_fn(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            answer(*moods.lock())
        }));
        let upstream = Upstream::new(origin, config, transport, credentials, Arc::clone(&metrics));
        let cache = Cache::new(
            &cache::Config::default(),
            policy,
            Arc::clone(&metrics),
            tasks.clone(),
        );
        let auth =
            Authenticator::open(&auth::Config::default(), None, Arc::clone(&metrics)).unwrap();
        let parts = GatewayParts {
            budget: Budget::new(ByteSize(64 << 20)),
            auth: Arc::new(auth),
            shared: None,
            cache: Arc::new(cache),
            upstream: Arc::new(upstream),
            metrics,
            top_images: Arc::default(),
            audit: None,
            access: None,
            traces: None,
            tasks,
        };
        let gateway = Gateway::new(
            Config::default(),
            ResolveConfig::default(),
            "ImageNotFound",
            100,
            parts,
        );
        Self {
            gateway,
            mood,
            calls,
        }
    }

    async fn handle<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes, Error = Infallible> + Send + Unpin,
    {
        let (mut head, body) = request.into_parts();
        let mut body = body.map_err(BoxError::from);
        self.gateway
            .handle(&mut head, &mut body, &Peer::default())
            .await
    }

    async fn ask(&self, image: usize) -> (StatusCode, String) {
        let request = Request::get(format!("/api/v1/images/image-{image}"))
            .header("host", "gateway")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let response = self.handle(request).await;
        let status = response
            .headers()
            .get("cache-status")
            .map_or("", |value| value.to_str().unwrap())
            .to_owned();
        (response.status(), status)
    }

    /// Asks for five known images each minute; tells how many answers were stale, and the calls it took.
    async fn pass(&self, mood: Mood, minutes: u64) -> (u64, u64) {
        *self.mood.lock() = mood;
        let (mut stale, before) = (0, self.calls.load(Ordering::SeqCst));
        for _ in 0..minutes {
            tokio::time::sleep(Duration::from_secs(60)).await;
            for image in 0..5 {
                let (status, cache_status) = self.ask(image).await;
                assert_eq!(status, StatusCode::OK, "{mood:?} {cache_status}");
                stale += u64::from(cache_status.contains("detail="));
            }
        }
        (stale, self.calls.load(Ordering::SeqCst) - before)
    }
}

async fn answer(mood: Mood) -> Result<Reply, TransportError> {
    let reply = |status, headers, body: &'static str| {
        Ok(Reply {
            status,
            headers,
            body: body.into(),
            connection: Connection::default(),
        })
    };
    match mood {
        // Without times the ttl is a minute at most: every minute's question finds a stale answer.
        Mood::Well => reply(200, HeaderMap::new(), r#"{"Name":"well"}"#),
        Mood::Unkeepable => {
            let never = [(
                header::CACHE_CONTROL,
                "no-cache, max-age=0".parse().unwrap(),
            )];
            reply(200, never.into_iter().collect(), r#"{"Name":"well"}"#)
        }
        Mood::Gone => Err(TransportError::Connection(
            "dns error: no such host".to_owned(),
        )),
        Mood::Throttling => {
            let wait = [(
                "x-acs-retry-after".parse().unwrap(),
                "30000".parse().unwrap(),
            )];
            reply(
                400,
                wait.into_iter().collect(),
                r#"{"Code":"Throttling.User"}"#,
            )
        }
        Mood::RefusingTheKey => reply(
            400,
            HeaderMap::new(),
            r#"{"Code":"InvalidSecurityToken.Expired"}"#,
        ),
        Mood::Silent => std::future::pending().await,
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_is_refreshed_in_the_background_once_a_second_whatever_its_ttl() {
    let policy = Policy {
        origin_cache_control: OriginCacheControl::Respect,
        ..Policy::default()
    };
    for mood in [Mood::Unkeepable, Mood::Gone] {
        let world = World::with(policy.clone()).await;
        *world.mood.lock() = Mood::Unkeepable;
        assert_eq!(
            world.ask(0).await.1,
            "pai-image-gateway; fwd=uri-miss; stored"
        );
        *world.mood.lock() = mood;
        for _ in 0..1000 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let (status, cache_status) = world.ask(0).await;
            assert_eq!(status, StatusCode::OK, "{mood:?} {cache_status}");
        }
        // Ten seconds; where the origin is gone, each refresh makes up to three attempts.
        let (calls, most) = (world.calls.load(Ordering::SeqCst), 1 + 10 * 3);
        assert!((2..=most).contains(&calls), "{mood:?} {calls}");
        if mood == Mood::Unkeepable {
            assert!((9..=10).contains(&calls), "{calls}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_hour_without_the_origin_fails_no_request_and_costs_few_calls() {
    for mood in [Mood::Gone, Mood::Silent, Mood::Throttling] {
        let world = World::new().await;
        world.pass(Mood::Well, 5).await;
        let (stale, calls) = world.pass(mood, 60).await;
        assert_eq!(stale, 300, "{mood:?}");
        // Five questions a minute; after the first few a probe each time, and its retries.
        assert!((60..=3 * 5 * 60).contains(&calls), "{mood:?} {calls}");
        *world.mood.lock() = Mood::Well;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let back = async { while world.ask(0).await.1.contains("origin-error") {} };
        tokio::time::timeout(Duration::from_secs(60), back)
            .await
            .expect("the origin is back");
    }
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_expires_amid_a_throttle_fails_no_request() {
    let world = World::new().await;
    world.pass(Mood::Well, 5).await;
    for mood in [Mood::Throttling, Mood::RefusingTheKey, Mood::Throttling] {
        assert_eq!(world.pass(mood, 10).await.0, 50, "{mood:?}");
    }
    let (_, calls) = world.pass(Mood::Well, 10).await;
    assert!(calls > 0);
}

/// Twenty questions a second: what is hot is fetched again before anybody finds it stale.
#[tokio::test(start_paused = true)]
async fn a_hot_image_is_never_found_stale() {
    let world = World::new().await;
    let (mut stale, mut asked) = (0, 0);
    for _ in 0..(20 * 600) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (_, cache_status) = world.ask(1).await;
        stale += u64::from(cache_status.contains("detail="));
        asked += 1;
    }
    let calls = world.calls.load(Ordering::SeqCst);
    assert!(stale * 1000 < asked, "{stale} of {asked}");
    // A ttl is 54 to 60 s, and never cut shorter than by 30 %.
    assert!((10..=17).contains(&calls), "{calls}");
}

#[tokio::test(start_paused = true)]
async fn after_a_day_of_errors_the_error_is_returned() {
    let world = World::new().await;
    world.ask(0).await;
    *world.mood.lock() = Mood::Gone;
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    assert_eq!(world.ask(0).await.0, StatusCode::OK);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(world.ask(0).await.0, StatusCode::SERVICE_UNAVAILABLE);
}

/// While the origin is well no answer is older than its ttl and its stale window.
#[tokio::test(start_paused = true)]
async fn a_healthy_origin_bounds_the_age() {
    let world = World::new().await;
    for _ in 0..500 {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..90_000))).await;
        let request = Request::get("/api/v1/images/image-1")
            .header("host", "gateway")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let response = world.handle(request).await;
        let age: u64 = response.headers()["age"].to_str().unwrap().parse().unwrap();
        assert!(age <= 60 + 60, "{age}");
        tokio::task::yield_now().await;
    }
}

/// A client that takes no lines keeps neither its place nor the gateway's work.
#[tokio::test(start_paused = true)]
async fn a_client_that_reads_no_lines_is_given_up() {
    let world = World::new().await;
    let ids: Vec<String> = (0..100).map(|image| format!("image-{image}")).collect();
    let order = serde_json::json!({ "ImageIds": ids }).to_string();
    let request = Request::post("/gateway/v1/resolve")
        .header("host", "gateway")
        .header("accept", "application/x-ndjson")
        .body(http_body_util::Full::from(order))
        .unwrap();
    let response = world.handle(request).await;
    assert_eq!(response.status(), StatusCode::OK);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(world.gateway.slots.available_permits(), 99);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(world.gateway.slots.available_permits(), 100);
    assert!(world.calls.load(Ordering::SeqCst) < 100);
    assert!(response.into_body().collect().await.is_err());
}
