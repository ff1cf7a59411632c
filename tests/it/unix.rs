//! The data port on a Unix socket.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use pai_image_gateway::emulator::Store;

use crate::support::TestGateway;

async fn on(socket: &Path) -> TestGateway {
    TestGateway::start(|setup| {
        setup.set("listen.unix", socket.to_str().unwrap());
        setup.set("listen.unix_mode", "0640");
    })
    .await
}

#[tokio::test]
async fn a_unix_socket_answers_with_the_mode_that_was_set() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("gateway.sock");
    let gateway = on(&socket).await;
    assert_eq!(gateway.image(&Store::id(1)).await.status, 200);
    let metadata = std::fs::symlink_metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
    let listening = &gateway.page("/status").await["listen"];
    assert_eq!(listening["listen"], format!("unix:{}", socket.display()));
}

#[tokio::test]
async fn a_socket_left_over_from_a_crash_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("gateway.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    let gateway = on(&socket).await;
    assert_eq!(gateway.image(&Store::id(1)).await.status, 200);
}

#[tokio::test]
async fn a_socket_that_is_in_use_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("gateway.sock");
    let first = on(&socket).await;
    let second =
        TestGateway::try_start(|setup| setup.set("listen.unix", socket.to_str().unwrap())).await;
    assert!(second.is_err());
    assert_eq!(first.image(&Store::id(1)).await.status, 200);
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("precious");
    std::fs::write(&file, "data").unwrap();
    let started =
        TestGateway::try_start(|setup| setup.set("listen.unix", file.to_str().unwrap())).await;
    assert!(started.is_err());
    assert_eq!(std::fs::read(&file).unwrap(), b"data");
}

#[tokio::test]
async fn the_sockets_go_when_the_gateway_stops() {
    let folder = tempfile::tempdir().unwrap();
    let (data, admin) = (folder.path().join("data"), folder.path().join("admin"));
    let gateway = TestGateway::start(|setup| {
        setup.set("listen.unix", data.to_str().unwrap());
        setup.set("admin.unix", admin.to_str().unwrap());
    })
    .await;
    assert_eq!(gateway.page("/status").await["ready"], true);
    let mode = std::fs::metadata(&admin).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    gateway.stop().await;
    assert!(!data.exists() && !admin.exists());
}
