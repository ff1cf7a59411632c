//! Each outcome, and a way to reach it: a client that may not see an image gets in every case
//! the response that it would get for a missing image.
//!
//! `cargo test --test it outcomes -- --nocapture` prints the table.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use pai_image_gateway::emulator::{FaultKind, Store};
use pai_image_gateway::observability::outcome::Outcome;

use crate::support::signed::{Guarded, Signer};
use crate::support::{Answer, path, refusal, times};

/// Longer than the shortest ttl, and than the pause between forced refreshes.
const A_WHILE: Duration = Duration::from_millis(1200);

/// A gateway, prepared for an outcome.
struct Scenario {
    guarded: Guarded,
    outcome: Outcome,
}

impl Scenario {
    async fn of(outcome: Outcome) -> Self {
        let guarded = Guarded::start(|setup| {
            if outcome == Outcome::Stale {
                setup.set("freshness.min", "1s");
                setup.set("freshness.max", "1s");
            }
        })
        .await;
        Self { guarded, outcome }
    }

    /// Requests an image in a way that ends in the outcome if the image exists and is visible.
    async fn ask(&self, signer: &Signer, image: &str) -> Answer {
        let (guarded, target) = (&self.guarded, path(image));
        let (emulator, chief) = (&guarded.gateway.emulator, Signer::chief());
        let get = async |target: &str, headers: &[(&str, &str)]| {
            guarded
                .ask(signer, (Method::GET, target, ""), headers)
                .await
        };
        match self.outcome {
            Outcome::Hit | Outcome::Negative => {
                guarded.get(&chief, &target).await;
                get(&target, &[]).await
            }
            Outcome::Stale => {
                guarded.get(&chief, &target).await;
                tokio::time::sleep(A_WHILE).await;
                get(&target, &[]).await
            }
            Outcome::Coalesced => {
                let before = emulator.fetches(image);
                let slow = FaultKind::Latency(Duration::from_millis(300));
                emulator.script(vec![times(1, slow)]);
                let first = guarded.get(&chief, &target);
                let second = async {
                    guarded.gateway.await_fetches(image, before + 1).await;
                    get(&target, &[]).await
                };
                tokio::join!(first, second).1
            }
            Outcome::Miss | Outcome::Denied => get(&target, &[]).await,
            Outcome::Refresh => {
                guarded.get(&chief, &target).await;
                tokio::time::sleep(A_WHILE).await;
                get(&target, &[("cache-control", "no-cache")]).await
            }
            Outcome::Passthrough => {
                let labels = format!("{target}/labels");
                let body = r#"{"Labels":[{"Key":"k","Value":"v"}]}"#;
                guarded
                    .ask(signer, (Method::POST, &labels, body), &[])
                    .await
            }
            Outcome::Rejected => guarded.gateway.get(&target).await,
            Outcome::Error => {
                emulator.script(vec![times(1000, refusal(500, "InternalError"))]);
                // Until the breaker is open, which changes the message.
                for number in 0..20 {
                    guarded.get(&chief, &path(&format!("image-{number}"))).await;
                }
                get(&target, &[]).await
            }
        }
    }

    /// Returns the number of requests with this outcome, of any operation.
    async fn count(&self) -> f64 {
        let labels = [("outcome", self.outcome.as_str())];
        self.guarded
            .gateway
            .metric("pai_gateway_requests_total", &labels)
            .await
    }
}

/// Produces one outcome three times and returns its row of the table.
async fn walk(outcome: Outcome) -> String {
    let (chief, team) = (Signer::chief(), Signer::team());
    // PUBLIC in workspace 20817, which `team` does not hold.
    let image = Store::id(2);
    let scenario = Scenario::of(outcome).await;
    let hidden = scenario.ask(&team, &image).await;
    let missing = Scenario::of(outcome).await.ask(&team, "image-none").await;
    assert_eq!(hidden.shape(), missing.shape(), "{outcome:?}");

    let scenario = Scenario::of(outcome).await;
    let (who, asked) = match outcome {
        Outcome::Negative => (&chief, "image-none"),
        Outcome::Denied => (&team, image.as_str()),
        _ => (&chief, image.as_str()),
    };
    let before = scenario.count().await;
    let shown = scenario.ask(who, asked).await;
    assert!(scenario.count().await > before, "{outcome:?} {shown:?}");
    let shows = match outcome {
        Outcome::Hit
        | Outcome::Stale
        | Outcome::Coalesced
        | Outcome::Miss
        | Outcome::Refresh
        | Outcome::Passthrough => true,
        Outcome::Negative | Outcome::Denied | Outcome::Rejected | Outcome::Error => false,
    };
    assert_eq!(shown.status == 200, shows, "{outcome:?} {shown:?}");
    assert_ne!(hidden.status, 200, "{outcome:?}");
    let summary = |answer: &Answer| match answer.status.as_u16() {
        200 => "200".to_owned(),
        status => format!("{status} {}", answer.error_code()),
    };
    format!(
        "| {} | {} | {} |",
        outcome.as_str(),
        summary(&shown),
        summary(&hidden)
    )
}

#[tokio::test]
async fn no_outcome_distinguishes_a_hidden_image_from_a_missing_one() {
    let rows = join_all(Outcome::ALL.map(walk)).await;
    let head = "| outcome | visible image | hidden image |\n|---|---|---|\n";
    let table = format!("{head}{}\n", rows.join("\n"));
    println!("{table}");
    let documented = include_str!("../../SECURITY.md");
    assert!(documented.contains(&table), "SECURITY.md has another table");
}
