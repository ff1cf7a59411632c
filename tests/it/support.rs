//! A gateway and an emulated origin in this process, on free ports, and short calls to them.

mod client;
pub(crate) mod collector;
mod process;
pub(crate) mod redis;
pub(crate) mod signed;
pub(crate) mod tls;

pub(crate) use client::{Answer, Connection, raw, raw_and_hang_up};
pub(crate) use process::{Finished, Process, address, run, run_with};

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, StatusCode};
use pai_image_gateway::app::{self, App, StartError};
use pai_image_gateway::config::{self, Layers};
use pai_image_gateway::emulator::{Emulator, Fault, FaultKind, Settings};
use pai_image_gateway::environment::Environment;
use pai_image_gateway::server::{Address, BoundSocket};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Deadline far beyond any step of a test, so that a test that hangs fails instead.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// Lock for tests with thousands of clients: two at once would exceed the clients' deadlines.
pub(crate) static ONE_CROWD: Mutex<()> = Mutex::const_new(());
pub(crate) const KEY_ID: &str = "LTAIcentralKeyOfTests";
pub(crate) const KEY_SECRET: &str = "central-secret-of-tests";

/// Operations with a pace, as `upstream.calls_per_second` names them.
const OPERATIONS: [&str; 8] = [
    "get_image",
    "list_images",
    "list_image_labels",
    "add_image",
    "add_image_labels",
    "remove_image_labels",
    "publish_image",
    "remove_image",
];

/// Settings of a gateway under test, and its origin.
pub(crate) struct Setup {
    pub(crate) flags: Vec<String>,
    pub(crate) environment: Environment,
    pub(crate) origin: Settings,
    /// The data port's socket, if its address must be known beforehand.
    pub(crate) data: Option<BoundSocket>,
}

impl Setup {
    /// Overrides one setting.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.flags.push(format!("{key}={value}"));
    }

    /// Gives the operations their default paces.
    pub(crate) fn pace_as_set(&mut self) {
        self.flags
            .retain(|flag| !flag.starts_with("upstream.calls_per_second."));
    }

    fn new() -> Self {
        let fixed = [
            "listen.address=127.0.0.1:0",
            "admin.address=127.0.0.1:0",
            "upstream.allow_http=true",
            "credentials.source=env",
            "shutdown.lame_duck=0s",
            "shutdown.drain=5s",
        ];
        // No pace: a test that makes hundreds of calls at once must not wait for its turn, unless the pace is its
        // subject; see [`Setup::pace_as_set`].
        let unpaced = OPERATIONS.map(|name| format!("upstream.calls_per_second.{name}=0"));
        let fixed = fixed.map(str::to_owned).into_iter();
        Self {
            flags: fixed.chain(unpaced).collect(),
            environment: environment(),
            origin: Settings {
                access_key_id: KEY_ID.to_owned(),
                access_key_secret: KEY_SECRET.into(),
                ..Settings::default()
            },
            data: None,
        }
    }
}

/// The central credential in files, as an operator provides it.
pub(crate) fn environment() -> Environment {
    [
        ("ALIBABA_CLOUD_ACCESS_KEY_ID", KEY_ID),
        ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", KEY_SECRET),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// A gateway in front of an emulator. Dropping it with the test's runtime ends both.
pub(crate) struct TestGateway {
    pub(crate) emulator: Arc<Emulator>,
    pub(crate) app: App,
}

impl TestGateway {
    /// Starts with the usual settings.
    pub(crate) async fn usual() -> Self {
        Self::start(|_| {}).await
    }

    /// Starts with the usual settings and one more.
    pub(crate) async fn with(key: &str, value: &str) -> Self {
        Self::start(|setup| setup.set(key, value)).await
    }

    pub(crate) async fn start(change: impl FnOnce(&mut Setup)) -> Self {
        Self::try_start(change).await.unwrap()
    }

    pub(crate) async fn try_start(change: impl FnOnce(&mut Setup)) -> Result<Self, StartError> {
        let mut setup = Setup::new();
        change(&mut setup);
        let emulator = Arc::new(Emulator::start(setup.origin.clone()).await.unwrap());
        Self::launch(setup, emulator).await
    }

    /// Starts another gateway in front of an existing emulator.
    pub(crate) async fn beside(emulator: &Arc<Emulator>, change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::new();
        change(&mut setup);
        Self::launch(setup, Arc::clone(emulator)).await.unwrap()
    }

    async fn launch(setup: Setup, emulator: Arc<Emulator>) -> Result<Self, StartError> {
        let endpoint = format!("upstream.endpoint=http://{}", emulator.address());
        let flags = setup.flags.iter().map(String::as_str);
        let layers = Layers::new().flags([endpoint.as_str()]).flags(flags);
        let loaded = config::load(&layers).unwrap_or_else(|problems| panic!("{problems}"));
        let process = app::Process {
            sockets: Some(app::Sockets::bind(&loaded.settings, setup.data)?),
            ..app::Process::default()
        };
        let app = App::start(&loaded, &setup.environment, process).await?;
        Ok(Self { emulator, app })
    }

    /// Stops the gateway as SIGTERM would.
    pub(crate) async fn stop(self) -> Emulator {
        timeout(DEADLINE, self.app.stop()).await.unwrap();
        Arc::into_inner(self.emulator).unwrap()
    }

    /// A connection to the data port, kept alive.
    pub(crate) async fn connect(&self) -> Connection {
        Connection::open(&self.app.data).await
    }

    /// A GET over a connection of its own.
    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.request(Method::GET, target, &[], "").await
    }

    /// A GetImage without labels.
    pub(crate) async fn image(&self, id: &str) -> Answer {
        self.get(&path(id)).await
    }

    /// A GetImage with a `Cache-Control` of the client.
    pub(crate) async fn image_with(&self, id: &str, cache_control: &str) -> Answer {
        let headers = [("cache-control", cache_control)];
        self.request(Method::GET, &path(id), &headers, "").await
    }

    pub(crate) async fn request(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut connection = self.connect().await;
        connection.send(method, target, headers, body).await
    }

    /// Writes bytes to the data port and reads until the gateway closes the connection.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        raw(&self.app.data, bytes).await
    }

    /// Sends a request to the admin listener; a body is sent as JSON.
    pub(crate) async fn admin(&self, method: Method, target: &str, body: &str) -> Answer {
        let json = [("content-type", "application/json")];
        let headers: &[_] = if body.is_empty() { &[] } else { &json };
        ask(&self.app.admin, method, target, headers, body).await
    }

    /// Returns a JSON page of the admin listener.
    pub(crate) async fn page(&self, target: &str) -> Value {
        let answer = self.admin(Method::GET, target, "").await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.json()
    }

    /// Purges, and returns the number of removed entries.
    pub(crate) async fn purge(&self, request: &str) -> u64 {
        let answer = self.admin(Method::POST, "/purge", request).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.json()["purged"].as_u64().unwrap()
    }

    /// Purges one image softly: its entry is served only while the origin fails.
    pub(crate) async fn soften(&self, id: &str) {
        let request = format!(r#"{{"image":"{id}","soft":true}}"#);
        assert_eq!(self.purge(&request).await, 1);
    }

    pub(crate) async fn exposition(&self) -> String {
        self.admin(Method::GET, "/metrics", "").await.text()
    }

    /// Returns the sum of a metric's samples that have all these labels.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        sample(&self.exposition().await, name, labels)
    }

    /// Returns the number of GetImage responses with this outcome.
    pub(crate) async fn outcomes(&self, outcome: &str) -> f64 {
        let labels = [("operation", "GetImage"), ("outcome", outcome)];
        self.metric("pai_gateway_requests_total", &labels).await
    }

    /// Returns the number of requests to the origin, of any operation.
    pub(crate) fn calls(&self) -> u64 {
        self.emulator.counts().requests
    }

    /// Waits until the origin has received so many requests for this image.
    pub(crate) async fn await_fetches(&self, id: &str, count: u64) {
        eventually("the origin is called", async || {
            self.emulator.fetches(id) >= count
        })
        .await;
    }
}

/// Stops an emulator that has no other owner.
pub(crate) async fn shut_down(emulator: Arc<Emulator>) {
    Arc::into_inner(emulator).unwrap().shutdown().await;
}

/// Sends one request over a connection of its own.
pub(crate) async fn ask(
    address: &Address,
    method: Method,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut connection = Connection::open(address).await;
    connection.send(method, target, headers, body).await
}

/// Returns the request target of a GetImage.
pub(crate) fn path(id: &str) -> String {
    format!("/api/v1/images/{id}")
}

/// Returns the sum of a metric's samples, in an exposition, that have all these labels.
pub(crate) fn sample(exposition: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let samples = exposition.lines().filter_map(|line| {
        let (sample, value) = line.rsplit_once(' ')?;
        let (family, labelled) = sample.split_once('{').unwrap_or((sample, ""));
        let chosen = family == name
            && labels
                .iter()
                .all(|(label, value)| labelled.contains(&format!("{label}=\"{value}\"")));
        chosen.then(|| value.parse::<f64>().unwrap())
    });
    samples.sum()
}

/// Polls until the condition holds, and fails after a deadline.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < DEADLINE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A fault that occurs so many times.
pub(crate) fn times(count: u64, kind: FaultKind) -> Fault {
    Fault {
        times: Some(count),
        ..Fault::always(kind)
    }
}

/// An error of the origin in the API's shape.
pub(crate) fn refusal(status: u16, code: &str) -> FaultKind {
    FaultKind::Status {
        status: StatusCode::from_u16(status).unwrap(),
        code: Some(code.to_owned()),
        message: None,
        headers: HeaderMap::new(),
        access_denied_detail: false,
    }
}

/// An error without a Code, as a proxy or firewall in between makes it.
pub(crate) fn page_of_a_proxy(status: u16) -> FaultKind {
    FaultKind::Status {
        status: StatusCode::from_u16(status).unwrap(),
        code: None,
        message: None,
        headers: HeaderMap::new(),
        access_denied_detail: false,
    }
}

/// An error that names the missing permission and the account.
pub(crate) fn denial() -> FaultKind {
    FaultKind::Status {
        status: StatusCode::FORBIDDEN,
        code: Some("Forbidden".to_owned()),
        message: None,
        headers: HeaderMap::new(),
        access_denied_detail: true,
    }
}

/// A throttle of the origin.
pub(crate) fn throttle(retry_after: Option<Duration>) -> FaultKind {
    FaultKind::Throttle {
        status: StatusCode::BAD_REQUEST,
        code: "Throttling.User".to_owned(),
        retry_after,
    }
}
