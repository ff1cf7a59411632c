//! A primary, and a replica that replaces it.

use std::time::Instant;

use super::{DEADLINE, Kind, Options, PAUSE, Redis};

/// A primary and its replica. Dropping them kills them.
pub(crate) struct Pair {
    pub(crate) primary: Redis,
    pub(crate) replica: Redis,
}

impl Pair {
    /// Starts both and waits until the replica follows.
    pub(crate) async fn start(kind: Kind, change: impl Fn(&mut Options)) -> Option<Self> {
        let primary = Redis::start(kind, |options| {
            // It would wait for more replicas to come.
            options.set("repl-diskless-sync-delay", "0");
            change(options);
        });
        let primary = primary.await?;
        let replica = Redis::start(kind, |options| {
            change(options);
            if let Some(password) = options.password.clone() {
                options.set("masterauth", &password);
            }
        });
        let replica = replica.await?;
        let follow = ["REPLICAOF", "127.0.0.1", &primary.port.to_string()];
        replica.command(&follow).await;
        replica
            .await_reply(&["INFO", "replication"], "master_link_status:up")
            .await;
        Some(Self { primary, replica })
    }

    /// Waits until the replica has everything that the primary has acknowledged so far.
    pub(crate) async fn catch_up(&self) {
        let wanted = offset(&self.primary, "master_repl_offset:").await;
        let begun = Instant::now();
        while offset(&self.replica, "slave_repl_offset:").await < wanted {
            assert!(begun.elapsed() < DEADLINE, "the replica lags behind");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Kills the primary, and lets the replica answer at its port, like an address that moves. Data that
    /// had not reached the replica by then is lost.
    pub(crate) async fn fail_over(&mut self) {
        self.primary.kill();
        self.replica.command(&["REPLICAOF", "NO", "ONE"]).await;
        let port = self.primary.port.to_string();
        self.replica
            .command(&["CONFIG", "SET", "port", &port])
            .await;
        std::mem::swap(&mut self.primary, &mut self.replica);
        self.primary.port = self.replica.port;
    }
}

/// Returns the replica's offset in the primary's stream.
async fn offset(server: &Redis, field: &str) -> u64 {
    let reply = server.command(&["INFO", "replication"]).await;
    let mut fields = reply.lines().filter_map(|line| line.strip_prefix(field));
    fields.next().unwrap().parse().unwrap()
}
