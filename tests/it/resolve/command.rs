//! The command `pai-image-gateway resolve`.

use pai_image_gateway::emulator::Store;
use pai_image_gateway::server::Address;
use serde_json::Value;
use tempfile::TempDir;

use super::ids;
use crate::support::signed::Guarded;
use crate::support::tls::TlsGateway;
use crate::support::{TestGateway, run, run_with};

/// A file of these lines.
fn file(lines: &[impl AsRef<str>]) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ids.txt");
    let lines: Vec<&str> = lines.iter().map(AsRef::as_ref).collect();
    std::fs::write(&path, lines.join("\n")).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

/// Runs `resolve` with the ids on standard input.
async fn resolve(address: &Address, input: &str, more: &[&str]) -> (i32, String, String) {
    let address = address.to_string();
    let mut arguments = vec!["resolve", "-", "--address", &address];
    arguments.extend(more);
    let done = run_with(&[].into(), &arguments, input).await;
    (done.code, done.stdout, done.stderr)
}

#[tokio::test]
async fn the_exit_code_depends_on_the_results() {
    let gateway = TestGateway::usual().await;
    let known = Store::id(1);
    let (_folder, path) = file(&[&format!("# the queue's\n\n{known} # twice"), &known]);
    let address = gateway.app.data.to_string();
    let done = run(&[].into(), &["resolve", &path, "--address", &address]).await;
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    assert_eq!(done.stdout, "1 found, 0 missing, 0 failed\n");
    let url = format!("http://{address}");
    let input = format!("{known}\nimage-none\n");
    let arguments = ["resolve", "-", "--url", &url];
    let done = run_with(&[].into(), &arguments, &input).await;
    assert_eq!((done.code, done.stderr.as_str()), (1, ""));
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert!(
        lines[0].starts_with("missing image-none  ImageNotFound: "),
        "{lines:?}"
    );
    assert_eq!(lines[1..], ["1 found, 1 missing, 0 failed"]);
    // It was a prewarm.
    assert!(gateway.image(&known).await.cache_status().contains("hit"));
}

#[tokio::test]
async fn more_ids_than_one_request_may_name_are_sent_in_several_requests() {
    let gateway = TestGateway::start(|setup| setup.origin.images = 1500).await;
    let input = ids(1500).join("\n");
    let (code, stdout, stderr) = resolve(&gateway.app.data, &input, &[]).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(stdout, "1500 found, 0 missing, 0 failed\n");
    let labels = [("operation", "Resolve")];
    assert_eq!(
        gateway.metric("pai_gateway_requests_total", &labels).await,
        2.0
    );
}

#[tokio::test]
async fn it_prints_lines_of_json_when_asked() {
    let gateway = TestGateway::usual().await;
    let input = format!("{}\nimage-none\n", Store::id(1));
    let (code, stdout, _) = resolve(&gateway.app.data, &input, &["--json", "--verbose"]).await;
    let lines: Vec<Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((code, lines.len()), (1, 2));
    let found = lines.iter().find(|line| line["Status"] == "found").unwrap();
    assert!(found["Image"]["Labels"].is_array());
}

#[tokio::test]
async fn bad_input_is_reported_before_any_request() {
    let gateway = TestGateway::usual().await;
    let data = &gateway.app.data;
    let input = format!("{}\n\na/b\n", Store::id(1));
    let (code, stdout, stderr) = resolve(data, &input, &[]).await;
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("line 3: ImageId must"), "{stderr}");
    let (code, _, stderr) = resolve(data, "# nothing\n", &[]).await;
    assert!(code == 2 && stderr.contains("no image id"), "{stderr}");
    let done = run(&[].into(), &["resolve", "/nowhere/ids.txt"]).await;
    assert!(done.code == 2 && done.stderr.contains("cannot read /nowhere/ids.txt"));
    let (code, _, stderr) = resolve(data, "image-1", &["--access-key-id", "ID"]).await;
    assert!(
        code == 2 && stderr.contains("--access-key-secret-file"),
        "{stderr}"
    );
    assert_eq!(gateway.calls(), 0);
    let closed = Address::parse("127.0.0.1:1", None, 0).unwrap();
    let (code, _, stderr) = resolve(&closed, "image-1", &[]).await;
    assert_eq!(code, 2);
    assert!(
        stderr.contains("cannot resolve by the gateway at 127.0.0.1:1"),
        "{stderr}"
    );
}

#[tokio::test]
async fn it_authenticates_with_an_issued_key_or_a_token() {
    let guarded = Guarded::usual().await;
    let data = &guarded.gateway.app.data;
    let place = |name: &str| guarded.folder.path().join(name).display().to_string();
    std::fs::write(place("bearer"), "scheduler-token\n").unwrap();
    let (secret, bearer) = (place("team.secret"), place("bearer"));
    let key = |id| ["--access-key-id", id, "--access-key-secret-file", &secret];
    let input = Store::id(1);
    for good in [&key("GWSCHEDULER")[..], &["--bearer-file", &bearer]] {
        let (code, stdout, stderr) = resolve(data, &input, good).await;
        assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    }
    let (code, _, stderr) = resolve(data, &input, &key("GWTEAM")).await;
    assert!(
        code == 2 && stderr.contains("403 Forbidden Gateway.Forbidden"),
        "{stderr}"
    );
    let (code, _, stderr) = resolve(data, &input, &[]).await;
    assert!(
        code == 2 && stderr.contains("MissingAccessKeyId"),
        "{stderr}"
    );
    assert!(!stderr.contains("team-secret"));
}

#[tokio::test]
async fn it_speaks_tls_to_a_gateway_with_the_right_certificate() {
    let tls = TlsGateway::usual().await;
    let url = format!("https://localhost:{}", tls.address().port());
    let authority = tls.file("ca.crt").display().to_string();
    let input = Store::id(1);
    let mut arguments = vec!["resolve", "-", "--url", &url];
    let done = run_with(&[].into(), &arguments, &input).await;
    assert_eq!(done.code, 2);
    arguments.extend(["--ca-file", &authority]);
    let done = run_with(&[].into(), &arguments, &input).await;
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
}
