//! Three nodes that share the slots.

use super::{Kind, Options, Redis};

/// A cluster. Dropping it kills its nodes.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts the nodes, joins them and waits until each reports that all slots are served.
    pub(crate) async fn start(kind: Kind, change: impl Fn(&mut Options)) -> Option<Self> {
        let mut nodes = Vec::new();
        for _ in SLOTS {
            let node = Redis::start(kind, |options| {
                options.cluster = true;
                // The other port of a node would be ten thousand higher, among the connections'.
                options.set("cluster-port", &super::free_port().to_string());
                options.set("cluster-node-timeout", "2000");
                change(options);
            });
            nodes.push(node.await?);
        }
        let cluster = Self { nodes };
        cluster.acquaint().await;
        Some(cluster)
    }

    /// The URL for a gateway: of one node, which names the others.
    pub(crate) fn url(&self) -> String {
        self.nodes[0].url()
    }

    /// Returns the index of the node that serves a key.
    pub(crate) async fn serving(&self, key: &str) -> usize {
        let slot = self.nodes[0].command(&["CLUSTER", "KEYSLOT", key]).await;
        let slot: u16 = slot.parse().unwrap();
        let serves = |(first, last): &(u16, u16)| (*first..=*last).contains(&slot);
        SLOTS.iter().position(serves).unwrap()
    }

    async fn acquaint(&self) {
        for (node, (first, last)) in self.nodes.iter().zip(SLOTS) {
            let (first, last) = (first.to_string(), last.to_string());
            node.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last])
                .await;
        }
        for node in &self.nodes[1..] {
            let bus = node.command(&["CONFIG", "GET", "cluster-port"]).await;
            let bus = bus.lines().last().unwrap();
            let port = node.port.to_string();
            self.nodes[0]
                .command(&["CLUSTER", "MEET", "127.0.0.1", &port, bus])
                .await;
        }
        for node in &self.nodes {
            node.await_reply(&["CLUSTER", "INFO"], "cluster_state:ok")
                .await;
            node.await_reply(&["CLUSTER", "INFO"], "cluster_known_nodes:3")
                .await;
        }
    }
}

const SLOTS: [(u16, u16); 3] = [(0, 5460), (5461, 10_922), (10_923, 16_383)];
