//! What lies in the server and is of no use counts as absent.

use super::{Fleet, an_image, replica};

/// The one image's key, after one replica fetched it.
async fn filled() -> Option<(Fleet, String)> {
    let fleet = Fleet::start(1).await?;
    fleet.ask_each(&an_image()).await;
    let key = fleet.keys(":image").await.remove(0);
    Some((fleet, key))
}

#[tokio::test]
async fn a_value_that_is_foreign_or_of_another_version_is_a_miss_and_is_replaced() {
    let Some((fleet, key)) = filled().await else {
        return;
    };
    let sound = fleet.redis.command(&["GETRANGE", &key, "0", "31"]).await;
    let cases = [
        (
            "foreign",
            "99999999999999999999999999999999".to_owned() + "XXXX and more",
        ),
        ("version", format!("{sound}PAIV\u{2}")),
        ("corrupt", format!("{sound}PAIV\u{1}") + &"\u{0}".repeat(80)),
    ];
    for (index, (result, value)) in cases.iter().enumerate() {
        fleet.redis.command(&["SET", &key, value]).await;
        let newcomer = replica(&fleet.origin, &fleet.redis.url(), |_| {}).await;
        assert_eq!(newcomer.image(&an_image()).await.status, 200, "{result}");
        if *result != "foreign" {
            assert_eq!(
                super::count(&newcomer, "get", result).await,
                1.0,
                "{result}"
            );
        }
        assert_eq!(
            fleet.origin.fetches(&an_image()),
            2 + index as u64,
            "{result}"
        );
        let another = replica(&fleet.origin, &fleet.redis.url(), |_| {}).await;
        another.image(&an_image()).await;
        assert_eq!(
            fleet.origin.fetches(&an_image()),
            2 + index as u64,
            "{result}"
        );
    }
}

#[tokio::test]
async fn a_damaged_value_is_a_miss() {
    let Some((fleet, key)) = filled().await else {
        return;
    };
    fleet.redis.command(&["SETRANGE", &key, "200", "!"]).await;
    let newcomer = replica(&fleet.origin, &fleet.redis.url(), |_| {}).await;
    assert_eq!(newcomer.image(&an_image()).await.status, 200);
    assert_eq!(super::count(&newcomer, "get", "corrupt").await, 1.0);
    assert_eq!(fleet.origin.fetches(&an_image()), 2);
}

#[tokio::test]
async fn a_key_of_another_type_costs_the_tier_and_not_the_request() {
    let Some((fleet, key)) = filled().await else {
        return;
    };
    fleet.redis.command(&["DEL", &key]).await;
    fleet.redis.command(&["LPUSH", &key, "x"]).await;
    let newcomer = replica(&fleet.origin, &fleet.redis.url(), |_| {}).await;
    assert_eq!(newcomer.image(&an_image()).await.status, 200);
    assert_eq!(super::count(&newcomer, "get", "error").await, 1.0);
}

#[tokio::test]
async fn a_log_that_is_gone_makes_everything_be_fetched_again() {
    let Some((fleet, _)) = filled().await else {
        return;
    };
    let log = fleet.keys(":orders").await.remove(0);
    fleet.redis.command(&["DEL", &log]).await;
    let replica = &fleet.replicas[0];
    crate::support::eventually("it is noticed", async || {
        let name = "pai_gateway_shared_cache_discontinuities_total";
        replica.metric(name, &[]).await == 1.0
    })
    .await;
    let stale = replica.image(&an_image()).await;
    assert!(
        stale.cache_status().contains("detail=revalidating"),
        "{stale:?}"
    );
    // The value in the server is from before, too.
    replica.await_fetches(&an_image(), 2).await;
    crate::support::eventually("it is fresh again", async || {
        let answer = replica.image(&an_image()).await;
        answer.cache_status().contains("; hit; ttl=") && !answer.cache_status().contains("detail")
    })
    .await;
}

#[tokio::test]
async fn a_log_with_something_else_in_it_is_not_followed() {
    let Some((fleet, _)) = filled().await else {
        return;
    };
    let log = fleet.keys(":orders").await.remove(0);
    fleet
        .redis
        .command(&["XADD", &log, "*", "forget", "the-moon", "by", "nobody"])
        .await;
    super::await_up(&fleet.replicas[0], 0.0).await;
    let answer = fleet.replicas[0].image(&an_image()).await;
    assert_eq!(answer.status, 200);
    assert!(fleet.count("orders", "corrupt").await >= 1.0);
}
