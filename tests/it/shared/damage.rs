//! Unusable values on the server count as absent.

use super::{Fleet, an_image, replica};

/// Returns the image's key on the server, after one replica fetched it.
async fn filled() -> Option<(Fleet, String)> {
    let fleet = Fleet::start(1).await?;
    fleet.ask_each(&an_image()).await;
    let key = fleet.await_keys(":image", 1).await.remove(0);
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
async fn a_value_that_is_too_long_is_a_miss_and_the_connection_stays() {
    let Some((fleet, key)) = filled().await else {
        return;
    };
    let beyond = ["SETRANGE", &key, "5000000", "x"];
    fleet.redis.command(&beyond).await;
    let newcomer = replica(&fleet.origin, &fleet.redis.url(), |_| {}).await;
    super::await_up(&newcomer, 1.0).await;
    assert_eq!(newcomer.image(&an_image()).await.status, 200);
    assert_eq!(fleet.origin.fetches(&an_image()), 2);
    assert_eq!(super::count(&newcomer, "orders", "error").await, 0.0);
    fleet.await_keys(":image", 1).await;
    crate::support::eventually("it is replaced", async || {
        let length = fleet.redis.command(&["STRLEN", &key]).await;
        length.parse::<usize>().unwrap() < 5_000_000
    })
    .await;
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
async fn a_key_of_another_type_is_a_miss_and_is_replaced() {
    let Some((fleet, key)) = filled().await else {
        return;
    };
    fleet.redis.command(&["DEL", &key]).await;
    fleet.redis.command(&["LPUSH", &key, "x"]).await;
    let newcomer = replica(&fleet.origin, &fleet.redis.url(), |_| {}).await;
    assert_eq!(newcomer.image(&an_image()).await.status, 200);
    crate::support::eventually("it is replaced", async || {
        fleet.redis.command(&["TYPE", &key]).await == "string"
    })
    .await;
}

/// Sends requests until the origin has been called a second time: a key is refreshed at most once a second.
async fn refetched(fleet: &Fleet) {
    crate::support::eventually("the origin is called again", async || {
        fleet.ask_each(&an_image()).await;
        fleet.origin.fetches(&an_image()) == 2
    })
    .await;
}

#[tokio::test]
async fn a_lost_invalidation_log_makes_everything_be_fetched_again() {
    let Some((fleet, _)) = filled().await else {
        return;
    };
    let log = fleet.log().await;
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
    refetched(&fleet).await;
    crate::support::eventually("it is fresh again", async || {
        let answer = replica.image(&an_image()).await;
        answer.cache_status().contains("; hit; ttl=") && !answer.cache_status().contains("detail")
    })
    .await;
}

#[tokio::test]
async fn an_unreadable_invalidation_makes_everything_stale() {
    let Some((fleet, _)) = filled().await else {
        return;
    };
    let log = fleet.log().await;
    fleet
        .redis
        .command(&["XADD", &log, "*", "forget", "the-moon", "by", "nobody"])
        .await;
    crate::support::eventually("it is noticed", async || {
        fleet.count("orders", "corrupt").await == 1.0
    })
    .await;
    let answer = fleet.replicas[0].image(&an_image()).await;
    assert!(
        answer.cache_status().contains("detail=revalidating"),
        "{answer:?}"
    );
    refetched(&fleet).await;
    // And the log is followed on.
    let newcomer = replica(&fleet.origin, &fleet.redis.url(), |_| {}).await;
    super::await_up(&newcomer, 1.0).await;
    newcomer.purge(r#"{"all":true}"#).await;
    crate::support::eventually("a later invalidation is applied", async || {
        fleet.replicas[0].page("/status").await["cache"]["entries"] == 0
    })
    .await;
}

#[tokio::test]
async fn an_entry_that_a_server_restores_from_before_a_purge_is_not_used() {
    let persistent = |options: &mut crate::support::redis::Options| {
        options.persistence = crate::support::redis::Persistence::Snapshots;
    };
    let started = Fleet::with(crate::support::redis::Kind::Redis, 2, persistent, |_| {}).await;
    let Some(mut fleet) = started else {
        return;
    };
    fleet.ask_each(&an_image()).await;
    fleet.await_keys(":image", 1).await;
    fleet.redis.command(&["SAVE"]).await;
    fleet.origin.store().touch(&an_image()).unwrap();
    fleet.replicas[0]
        .purge(&format!(r#"{{"image":"{}"}}"#, an_image()))
        .await;
    crate::support::eventually("the entry is gone", async || {
        fleet.replicas[1].page("/status").await["cache"]["entries"] == 0
    })
    .await;
    fleet.redis.restart().await;
    assert_eq!(fleet.keys(":image").await.len(), 1, "it is back");
    fleet.await_up(1.0).await;
    let newcomer = replica(&fleet.origin, &fleet.redis.url(), |_| {}).await;
    super::await_up(&newcomer, 1.0).await;
    assert!(newcomer.image(&an_image()).await.text().contains("touched"));
    for answer in fleet.ask_each(&an_image()).await {
        assert!(answer.text().contains("touched"));
    }
}
