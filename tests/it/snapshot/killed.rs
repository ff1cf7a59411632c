//! Kills of the process at random moments, repeatedly, with one folder.

use std::time::Duration;

use http::Method;
use pai_image_gateway::emulator::{Emulator, Store};
use pai_image_gateway::server::Address;

use super::{log, process};
use crate::process::origin;
use crate::support::{Connection, address, ask, path};

const IMAGES: usize = 100;

/// Requests image after image, and checks that each response is about the requested one.
async fn load(data: Address) {
    let mut connection = Connection::open(&data).await;
    loop {
        let id = Store::id(fastrand::usize(..IMAGES));
        let answer = connection.try_send(Method::GET, &path(&id), &[], "").await;
        let Ok(answer) = answer else { return };
        assert_eq!(answer.found()["ImageId"], id);
    }
}

/// An image that changes constantly, and is purged after each change.
const CHANGING: &str = "image-changing";

/// Changes the image and purges it. `purged` is the version of the last purge that was answered.
async fn change(emulator: &Emulator, admin: &Address, purged: &mut u64) {
    let request = format!(r#"{{"image":"{CHANGING}"}}"#);
    let json = [("content-type", "application/json")];
    let mut connection = Connection::open(admin).await;
    loop {
        let version = *purged + 1;
        let body = format!(r#"{{"ImageId":"{CHANGING}","Version":{version}}}"#);
        emulator.store().put_raw(CHANGING, body);
        let answer = connection.try_send(Method::POST, "/purge", &json, &request);
        if answer.await.is_err() {
            return;
        }
        *purged = version;
    }
}

/// Asserts that no version is older than that of the last purge.
async fn look(data: &Address, purged: u64) {
    let answer = ask(data, Method::GET, &path(CHANGING), &[], "").await;
    let version = answer.found()["Version"].as_u64();
    assert!(version >= Some(purged), "{version:?} after {purged}");
}

async fn looking(data: Address) {
    let mut connection = Connection::open(&data).await;
    while connection
        .try_send(Method::GET, &path(CHANGING), &[], "")
        .await
        .is_ok()
    {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_moment_leaves_a_whole_snapshot_without_purged_images() {
    let (folder, emulator) = (tempfile::tempdir().unwrap(), origin().await);
    emulator
        .store()
        .put_raw(CHANGING, r#"{"Name":"n","Version":0}"#);
    let (mut restored, mut purged) = (0, 0);
    // Without a later snapshot, only the journal records a purge before the kill.
    let intervals = ["5ms", "1h", "40ms"];
    for (round, interval) in intervals.into_iter().cycle().take(9).enumerate() {
        let (process, ports) = process(&emulator, folder.path(), interval).await;
        let text = log(&process);
        assert!(!text.contains("refused"), "round {round}: {text}");
        restored += usize::from(text.contains("restored from the snapshot"));
        let (data, admin) = (address(&ports, "listen"), address(&ports, "admin"));
        look(&data, purged).await;
        let clients: Vec<_> = (0..3).map(|_| tokio::spawn(load(data.clone()))).collect();
        let looking = tokio::spawn(looking(data));
        let killed = async {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(50..300))).await;
            drop(process);
        };
        tokio::join!(change(&emulator, &admin, &mut purged), killed);
        for client in clients {
            client.await.unwrap();
        }
        looking.await.unwrap();
    }
    assert!(restored > 0 && purged > 0, "{restored} {purged}");
}
