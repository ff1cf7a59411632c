//! Commands of the replica that holds a lease: renew it, store the answer, or give it back without one.

use std::future::Future;
use std::sync::LazyLock;

use redis::Script;
use tokio::time::sleep;

use super::get::LONGEST_VALUE;
use super::{FailureMarker, Lease, SharedCache, milliseconds, value};
use crate::cache::{CachedAnswer, Policy};
use crate::observability::metrics::SharedOperation;

pub(super) static PUT: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/put.lua")));
pub(super) static RENEW: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/renew.lua")));
pub(super) static RELEASE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/release.lua")));

impl SharedCache {
    /// Runs a fetch and renews its lease every third of [`Config::lease`](super::Config::lease) meanwhile.
    /// A lease that is lost does not stop the fetch; its answer is then not stored.
    pub async fn keep<F: Future>(&self, lease: &Lease, fetch: F) -> F::Output {
        let name = self.names.lease(&lease.key);
        self.keep_lease(&name, &lease.token, fetch).await
    }

    /// Runs work and renews the lease of this name and token meanwhile.
    pub(super) async fn keep_lease<F: Future>(
        &self,
        name: &str,
        token: &str,
        work: F,
    ) -> F::Output {
        let renewing = async {
            loop {
                sleep(self.config.lease.0 / 3).await;
                self.renew(name, token).await;
            }
        };
        tokio::select! {
            done = work => done,
            never = renewing => never,
        }
    }

    async fn renew(&self, name: &str, token: &str) {
        let renewed = self.commands.run(async |mut connection| {
            RENEW
                .key(name)
                .arg(token)
                .arg(milliseconds(self.config.lease.0))
                .invoke_async::<bool>(&mut connection)
                .await
        });
        self.count_result(SharedOperation::Renew, renewed.await);
    }

    /// Stores an answer if the lease is still this replica's, and wakes the fleet's waiters. An answer that is
    /// too long or has no lifetime only gives the lease back.
    pub async fn put(&self, lease: &Lease, landed: &CachedAnswer, policy: &Policy) {
        let (key, image) = (&lease.key, &lease.key.image);
        let (to, life) = match landed {
            CachedAnswer::Image(entry) => (
                self.names.image(key),
                entry.ttl().saturating_add(policy.stale_if_error.0),
            ),
            CachedAnswer::Negative(no) => (self.names.absence(image), no.ttl(policy)),
        };
        let mut replaced = vec![self.names.absence(image)];
        if let CachedAnswer::Negative(_) = landed {
            // The image is gone, so a fetch of its other variant that is under way must not store: its lease
            // is deleted too.
            replaced = self.names.all(image);
            replaced.retain(|name| *name != to);
        }
        let value = lease.granted.and_then(|(clock, watermark)| {
            value::encode(&to, key, landed, policy, &clock, watermark)
        });
        let is_short = |value: &Vec<u8>| value.len() <= LONGEST_VALUE;
        let value = value.filter(|value| is_short(value) && !life.is_zero());
        let Some(value) = value else {
            return self.release(lease, None).await;
        };
        let put = self.commands.run(async |mut connection| {
            let mut script = PUT.key(self.names.lease(key));
            script.key(to);
            script.key(replaced);
            script
                .arg(&lease.token)
                .arg(value)
                .arg(milliseconds(life))
                .arg(self.names.channel())
                .arg(image.as_str())
                .invoke_async::<bool>(&mut connection)
                .await
        });
        self.count_result(SharedOperation::Put, put.await);
    }

    /// Gives the lease back without an answer. A failure of the origin leaves a marker in its place, so that
    /// waiting replicas do not all repeat the fetch.
    pub async fn release(&self, lease: &Lease, failure: Option<FailureMarker>) {
        let (marker, life) = failure.map_or_else(Default::default, FailureMarker::encode);
        let released = self.commands.run(async |mut connection| {
            RELEASE
                .key(self.names.lease(&lease.key))
                .arg(&lease.token)
                .arg(marker)
                .arg(milliseconds(life))
                .arg(self.names.channel())
                .arg(lease.key.image.as_str())
                .invoke_async::<bool>(&mut connection)
                .await
        });
        self.count_result(SharedOperation::Release, released.await);
    }
}
