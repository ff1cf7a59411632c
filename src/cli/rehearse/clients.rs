//! Clients of a rehearsal: they request images and count the answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use http::Request;
use http_body_util::Full;
use serde::Serialize;
use tokio::time::timeout;

use crate::transport::{Client, Section, TransportConfig};

/// Longest wait for one answer: the shortest default of the vendor's SDKs, that of Node.js.
const PATIENCE: Duration = Duration::from_secs(3);
/// Bytes of the longest answer.
const MAX_BODY: u64 = 1 << 20;

/// Answers to the requests for some images.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Answers {
    /// 200 from the origin, or from memory within the ttl and the window of revalidation.
    pub(super) fresh: u64,
    /// 200 from memory because the origin fails.
    pub(super) stale: u64,
    /// Other statuses, and `late` for no answer within three seconds.
    pub(super) failed: BTreeMap<String, u64>,
    /// Age in seconds of the oldest 200.
    pub(super) oldest_age_seconds: u64,
}

/// Connections to one gateway.
pub(super) struct TestClients {
    client: Client,
    gateway: SocketAddr,
}

impl Answers {
    /// Returns the number of answers other than 200.
    pub(super) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
}

impl TestClients {
    /// Makes clients without a connection yet.
    ///
    /// # Errors
    /// A transport that cannot be built.
    pub(super) fn new(gateway: SocketAddr) -> anyhow::Result<Self> {
        let client = Client::new(&TransportConfig {
            section: Section::Command,
            ca_file: None,
            proxy: None,
            unix: None,
            connect_timeout: PATIENCE,
            idle_timeout: PATIENCE,
            max_body: MAX_BODY,
        })?;
        Ok(Self { client, gateway })
    }

    /// Requests images at once, and counts the answers.
    pub(super) async fn ask(&self, images: &[String], answers: &mut Answers) {
        for answer in join_all(images.iter().map(|image| self.get(image))).await {
            match answer {
                Some((200, is_stale, age)) => {
                    let count = if is_stale {
                        &mut answers.stale
                    } else {
                        &mut answers.fresh
                    };
                    *count += 1;
                    answers.oldest_age_seconds = answers.oldest_age_seconds.max(age);
                }
                other => {
                    let name = other.map_or("late".to_owned(), |(status, ..)| status.to_string());
                    *answers.failed.entry(name).or_default() += 1;
                }
            }
        }
    }

    /// Returns the status, whether the answer stands in for the origin's, and its age; `None` without an answer in time.
    async fn get(&self, image: &str) -> Option<(u16, bool, u64)> {
        let request = Request::get(format!("http://{}/api/v1/images/{image}", self.gateway));
        let request = request.body(Full::default()).ok()?;
        let reply = timeout(PATIENCE, self.client.fetch(request))
            .await
            .ok()?
            .ok()?;
        let header = |name: &str| {
            reply
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        // docs/cache-status.md; `revalidating` is the normal end of a ttl.
        let cache_status = header("cache-status");
        let is_stale = cache_status.is_some_and(|status| status.contains("detail=origin-error"));
        let age = header("age").and_then(|age| age.parse().ok());
        Some((reply.status, is_stale, age.unwrap_or_default()))
    }
}
