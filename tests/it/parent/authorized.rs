//! Writes through a child that authenticates its own clients.

use http::Method;
use pai_image_gateway::emulator::{Accessibility, Image, Store};

use super::family::{Family, PLAIN, REFRESHING, below};
use crate::support::signed::{Guarded, Signer, clients, guard};
use crate::support::{Setup, TestGateway, path};

async fn child(family: &Family, key: (&str, &str)) -> Result<Guarded, String> {
    let parent = family.parent.gateway.app.data.to_string();
    let folder = clients();
    let started = TestGateway::try_start(|setup: &mut Setup| {
        guard(setup, folder.path());
        below(setup, &parent, key);
    });
    let gateway = started.await.map_err(|error| error.to_string())?;
    Ok(Guarded { gateway, folder })
}

#[tokio::test]
async fn without_permission_to_refresh_at_the_parent_a_gateway_with_writes_does_not_start() {
    let family = Family::usual().await;
    let refused = child(&family, PLAIN).await.err().unwrap();
    assert!(
        refused.contains("refresh") && refused.contains("api.writes"),
        "{refused}"
    );
    assert!(child(&family, REFRESHING).await.is_ok());
}

/// Both gateways have a copy that is less than a second old.
#[tokio::test]
async fn no_copy_of_the_parent_authorizes_a_write() {
    let (family, id) = (Family::usual().await, Store::id(1));
    let child = child(&family, REFRESHING).await.unwrap();
    let team = Signer::team();
    assert_eq!(child.get(&team, &path(&id)).await.status, 200);
    let store = family.parent.gateway.emulator.store();
    let public = store.get(&id).unwrap();
    store.put(Image {
        accessibility: Accessibility::Private,
        ..public.clone()
    });
    let remove = (Method::DELETE, path(&id), "");
    let denied = child
        .ask(&team, (remove.0.clone(), &remove.1, ""), &[])
        .await;
    let missing = child
        .ask(&team, (Method::DELETE, &path("image-none"), ""), &[])
        .await;
    assert_eq!(denied.shape(), missing.shape());
    assert!(store.get(&id).is_some());
    store.put(public);
    let done = child.ask(&team, (remove.0, &remove.1, ""), &[]).await;
    assert_eq!(done.status, 200, "{done:?}");
    assert!(store.get(&id).is_none());
}
