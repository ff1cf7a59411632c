//! `emulate`: the `serve` line that it prints, and the image of the documentation.

use std::fs;

use http::Method;
use pai_image_gateway::emulator::Store;
use pai_image_gateway::environment::Environment;

use crate::support::{Answer, Process, address, ask, path, run};

/// Starts an emulator, then a gateway by the line that it prints, and requests an image.
async fn through_the_printed_line(more: &[&str], id: &str) -> Answer {
    let arguments = [&["emulate", "--listen", "127.0.0.1:0"], more].concat();
    let (emulator, _) = Process::serve(&Environment::new(), &arguments).await;
    let printed = emulator.output("stdout").replace("\\\n", "");
    let line = printed
        .lines()
        .find(|line| line.contains(" serve "))
        .unwrap();
    let (before, arguments) = line.split_once("pai-image-gateway").unwrap();
    let environment: Environment = before
        .split_whitespace()
        .map(|variable| variable.split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let ports = ["listen", "admin"].map(|listener| format!("{listener}.address=127.0.0.1:0"));
    let ports = ports.iter().flat_map(|setting| ["--set", setting.as_str()]);
    let arguments: Vec<_> = arguments.split_whitespace().chain(ports).collect();
    let (_gateway, ports) = Process::serve(&environment, &arguments).await;
    ask(&address(&ports, "listen"), Method::GET, &path(id), &[], "").await
}

#[tokio::test]
async fn the_image_of_the_readme_is_answered_through_the_printed_serve_line() {
    let image = Store::id(0);
    for document in [
        include_str!("../../../README.md"),
        include_str!("../../../docs/migration.md"),
    ] {
        assert!(document.contains(&format!("127.0.0.1:8080/api/v1/images/{image}")));
    }
    let answer = through_the_printed_line(&[], &image).await;
    assert_eq!(answer.found()["ImageId"], image);
}

#[tokio::test]
async fn a_secret_in_a_file_stays_there() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name).display().to_string();
        fs::write(&path, text).unwrap();
        path
    };
    let (secret, token) = (
        write("secret", "hidden-secret"),
        write("token", "hidden-token"),
    );
    let files = [
        "--access-key-secret-file",
        &secret,
        "--security-token-file",
        &token,
    ];
    let id = Store::id(1);
    let answer = through_the_printed_line(&files, &id).await;
    assert_eq!(answer.found()["ImageId"], id);
}

#[tokio::test]
async fn a_bad_script_of_faults_is_a_mistake_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("faults.toml");
    fs::write(&file, "[[fault]]\nkind = \"tsunami\"\n").unwrap();
    let refused = run(
        &Environment::new(),
        &["emulate", "--faults", file.to_str().unwrap()],
    )
    .await;
    assert_eq!(refused.code, 2);
    for part in ["faults.toml", "no kind tsunami", "docs/emulator.md"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
}
