//! The log and the audit, with readers and with stuck ones.

use std::io::Read;
use std::os::fd::OwnedFd;

use http::Method;
use pai_image_gateway::emulator::{Emulator, Store};
use pai_image_gateway::server::Address;
use serde_json::Value;

use crate::process::{flags, origin, serving, settings};
use crate::support::signed::{TOKEN, clients};
use crate::support::tls::Authority;
use crate::support::{
    KEY_ID, Process, address, ask, environment, eventually, path, raw_and_hang_up,
};

/// A gateway process whose standard output and error are read only on demand.
async fn unread(emulator: &Emulator, more: &[&str]) -> (Process, Value, std::io::PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut settings = settings(emulator);
    settings.extend(more.iter().map(|setting| (*setting).to_owned()));
    let arguments = [vec!["serve"], flags(&settings)].concat();
    let output = OwnedFd::from(writer);
    let (process, ports) = Process::serve_into(&environment(), &arguments, output).await;
    (process, ports, reader)
}

async fn status(address: &Address, target: &str) -> http::StatusCode {
    ask(address, Method::GET, target, &[], "").await.status
}

/// One sample of the admin listener's metrics.
async fn sample(admin: &Address, name: &str) -> f64 {
    let text = ask(admin, Method::GET, "/metrics", &[], "").await.text();
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("{name} ")));
    line.map_or(0.0, |line| {
        line.rsplit(' ').next().unwrap().parse().unwrap()
    })
}

/// More lines than a pipe, the queue before it and the batch being written hold: some 3 MB in 2 MiB and 64 KiB.
const MANY: usize = 12_000;

#[tokio::test]
async fn a_log_that_nobody_reads_stops_no_request_probe_or_signal() {
    let emulator = origin().await;
    let access = ["log.access=true", "log.access_hits=1", "log.format=json"];
    let (mut process, ports, _reader) = unread(&emulator, &access).await;
    let (data, admin) = (address(&ports, "listen"), address(&ports, "admin"));
    let mut connection = crate::support::Connection::open(&data).await;
    for _ in 0..MANY {
        assert_eq!(connection.get(&path(&Store::id(1))).await.status, 200);
    }
    assert_eq!(status(&admin, "/livez").await, 200);
    assert_eq!(status(&admin, "/readyz").await, 200);
    eventually("the loss is counted", async || {
        sample(&admin, "pai_gateway_log_lines_lost_total").await > 0.0
    })
    .await;
    process.terminate();
    assert_eq!(process.wait().await.code(), Some(0));
}

#[tokio::test]
async fn an_audit_that_nobody_reads_stops_no_request_probe_or_signal() {
    let (emulator, folder) = (origin().await, clients());
    let clients_file = format!(
        "auth.clients_file={}",
        folder.path().join("clients.toml").display()
    );
    let audit = [
        "auth.mode=required",
        clients_file.as_str(),
        "audit.to=stdout",
        "audit.hits=1",
    ];
    let (mut process, ports, _reader) = unread(&emulator, &audit).await;
    let (data, admin) = (address(&ports, "listen"), address(&ports, "admin"));
    let mut connection = crate::support::Connection::open(&data).await;
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("authorization", bearer.as_str())];
    let target = path(&Store::id(1));
    // Some 7 MB of lines in a queue of 4 MiB and a pipe.
    for _ in 0..2 * MANY {
        let answer = connection.send(Method::GET, &target, &headers, "").await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!(status(&admin, "/livez").await, 200);
    eventually("the loss is counted", async || {
        sample(&admin, "pai_gateway_audit_lines_lost_total").await > 0.0
    })
    .await;
    process.terminate();
    assert_eq!(process.wait().await.code(), Some(0));
}

#[tokio::test]
async fn a_log_that_is_read_again_reports_how_many_lines_are_missing() {
    let emulator = origin().await;
    let access = ["log.access=true", "log.access_hits=1", "log.format=json"];
    let (mut process, ports, mut reader) = unread(&emulator, &access).await;
    let (data, admin) = (address(&ports, "listen"), address(&ports, "admin"));
    let mut connection = crate::support::Connection::open(&data).await;
    for _ in 0..MANY {
        connection.get(&path(&Store::id(1))).await;
    }
    let lost = sample(&admin, "pai_gateway_log_lines_lost_total");
    let _lost = lost.await;
    let output = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
    let writer = std::sync::Arc::clone(&output);
    let reading = std::thread::spawn(move || {
        let mut chunk = [0; 65536];
        while let Ok(length @ 1..) = reader.read(&mut chunk) {
            writer.lock().extend_from_slice(&chunk[..length]);
        }
    });
    eventually("the line about lost lines gets through", async || {
        connection.get(&path(&Store::id(1))).await;
        String::from_utf8_lossy(&output.lock()).contains("\"lost\":")
    })
    .await;
    process.terminate();
    assert_eq!(process.wait().await.code(), Some(0));
    reading.join().unwrap();
    let text = String::from_utf8(output.lock().clone()).unwrap();
    let lines = || {
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
    };
    let said = lines()
        .find(|line| line["lost"].is_u64())
        .expect("it says what is missing");
    let requests = lines().filter(|line| line["message"] == "request").count();
    assert!(
        said["lost"].as_u64().unwrap() as usize + requests >= MANY,
        "{said} {requests}"
    );
}

#[tokio::test]
async fn the_first_line_names_version_origin_and_addresses() {
    let emulator = origin().await;
    let (mut process, ports) = serving(&emulator, &["log.format=json"]).await;
    process.terminate();
    assert_eq!(process.wait().await.code(), Some(0));
    let log = process.output("stderr");
    let first: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    for (name, value) in [
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("origin", emulator.address().to_string().into()),
        ("auth_mode", "none".into()),
        ("listen", ports["listen"].clone()),
        ("admin", ports["admin"].clone()),
        ("settings_file", "none".into()),
    ] {
        assert_eq!(first[name], value, "{name}: {first}");
    }
    assert!(first["commit"].is_string(), "{first}");
    assert_eq!(first["region"], Value::Null, "an endpoint overrides it");
}

/// Nothing is requested, so nothing is sent to the region's host.
#[tokio::test]
async fn the_first_line_names_the_region_where_no_endpoint_is_set() {
    let settings = [
        "listen.address=127.0.0.1:0",
        "admin.address=127.0.0.1:0",
        "shutdown.lame_duck=0s",
        "upstream.region=cn-hangzhou",
        "log.format=json",
    ]
    .map(str::to_owned);
    let arguments = [vec!["serve"], flags(&settings)].concat();
    let (mut process, _ports) = Process::serve(&environment(), &arguments).await;
    process.terminate();
    assert_eq!(process.wait().await.code(), Some(0));
    let log = process.output("stderr");
    let first: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    for (name, value) in [
        ("region", "cn-hangzhou"),
        ("origin", "aiworkspace.cn-hangzhou.aliyuncs.com"),
    ] {
        assert_eq!(first[name], value, "{first}");
    }
}

#[tokio::test]
async fn a_purge_and_a_wrong_admin_token_are_audited_logged_and_counted() {
    let emulator = origin().await;
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(place("token"), "open sesame").unwrap();
    let more = [
        format!("admin.token_file={}", place("token")),
        format!("audit.to={}", place("audit")),
        "log.format=json".to_owned(),
    ];
    let more: Vec<_> = more.iter().map(String::as_str).collect();
    let (mut process, ports) = serving(&emulator, &more).await;
    let admin = address(&ports, "admin");
    let purge = async |token: &str, body: &str| {
        let headers = [
            ("authorization", token),
            ("content-type", "application/json"),
        ];
        ask(&admin, Method::POST, "/purge", &headers, body)
            .await
            .status
    };
    for _ in 0..100 {
        assert_eq!(purge("Bearer guess", r#"{"all":true}"#).await, 401);
    }
    assert_eq!(
        purge("Bearer open sesame", r#"{"image":"image-1","soft":true}"#).await,
        200
    );
    assert_eq!(
        sample(&admin, "pai_gateway_admin_refused_total").await,
        100.0
    );
    assert_eq!(sample(&admin, "pai_gateway_purges_total").await, 1.0);
    process.terminate();
    assert_eq!(process.wait().await.code(), Some(0));
    let audit = std::fs::read_to_string(place("audit")).unwrap();
    let records: Vec<Value> = audit
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (purges, refusals): (Vec<_>, Vec<_>) = records
        .iter()
        .partition(|record| record["operation"] == "Purge");
    let [purged] = purges.as_slice() else {
        panic!("{audit}")
    };
    assert_eq!(
        (&purged["image_id"], &purged["soft"]),
        (&"image-1".into(), &true.into())
    );
    assert!(
        purged["peer"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{purged}"
    );
    assert!((1..=100).contains(&refusals.len()), "{audit}");
    for refusal in refusals {
        assert_eq!(
            (&refusal["reason"], &refusal["decision"]),
            (&"token".into(), &"refused".into())
        );
    }
    let log = process.output("stderr");
    let refused = log
        .lines()
        .filter(|line| line.contains("admin_token_refused"));
    assert_eq!(refused.count(), 1, "{log}");
    assert!(!log.contains("sesame") && !audit.contains("sesame") && !log.contains("guess"));
}

#[tokio::test]
async fn failed_authentications_are_audited_and_counted_and_logged_once_a_minute() {
    let emulator = origin().await;
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(place("clients.toml"), "").unwrap();
    let more = [
        "auth.mode=required".to_owned(),
        format!("auth.clients_file={}", place("clients.toml")),
        format!("audit.to={}", place("audit")),
        "log.format=json".to_owned(),
    ];
    let more: Vec<_> = more.iter().map(String::as_str).collect();
    let (mut process, ports) = serving(&emulator, &more).await;
    let (data, admin) = (address(&ports, "listen"), address(&ports, "admin"));
    for _ in 0..100 {
        assert_eq!(status(&data, &path(&Store::id(1))).await, 401);
    }
    let counted = r#"pai_gateway_sign_ins_refused_total{reason="no_credential"}"#;
    assert_eq!(sample(&admin, counted).await, 100.0);
    process.terminate();
    assert_eq!(process.wait().await.code(), Some(0));
    let log = process.output("stderr");
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("sign_ins_refused"))
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("127.0.0.1:"), "{log}");
    let audit = std::fs::read_to_string(place("audit")).unwrap();
    let records: Vec<Value> = audit
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let recorded: u64 = records
        .iter()
        .map(|record| 1 + record["omitted"].as_u64().unwrap_or(0))
        .sum();
    assert!(records.len() >= 20 && recorded <= 100, "{audit}");
    for record in &records {
        assert_eq!(
            (&record["reason"], &record["outcome"]),
            (&"no_credential".into(), &"rejected".into())
        );
        assert!(
            record["peer"].as_str().unwrap().starts_with("127.0.0.1:"),
            "{record}"
        );
    }
}

#[tokio::test]
async fn each_kind_of_failed_handshake_is_logged_once_a_minute() {
    let (emulator, authority) = (origin().await, Authority::new());
    let folder = tempfile::tempdir().unwrap();
    authority.issue(&["localhost"]).write(folder.path());
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let more = [
        format!("listen.tls.cert_file={}", place("tls.crt")),
        format!("listen.tls.key_file={}", place("tls.key")),
    ];
    let more: Vec<_> = more.iter().map(String::as_str).collect();
    let (mut process, ports) = serving(&emulator, &more).await;
    let (data, admin) = (address(&ports, "listen"), address(&ports, "admin"));
    // A record that is no hello, plain HTTP, and a check of the port that hangs up.
    let attempts: [&[u8]; 3] = [
        b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        b"",
    ];
    for bytes in attempts {
        for _ in 0..20 {
            assert!(!raw_and_hang_up(&data, bytes).await.starts_with(b"HTTP"));
        }
    }
    let counted = r#"pai_gateway_tls_handshakes_total{result="failed"}"#;
    eventually("all are counted", async || {
        sample(&admin, counted).await == 60.0
    })
    .await;
    process.terminate();
    assert_eq!(process.wait().await.code(), Some(0));
    let log = process.output("stderr");
    for condition in ["handshakes_fail", "plain_on_tls_port"] {
        let named = |line: &&str| line.contains(condition);
        let lines: Vec<_> = log.lines().filter(named).collect();
        assert_eq!(lines.len(), 1, "{condition}: {log}");
        assert!(lines[0].contains("127.0.0.1:"), "{log}");
    }
    assert!(!log.contains("the client hung up"), "{log}");
}

#[tokio::test]
async fn a_doubtful_value_in_the_credentials_file_is_logged_once_however_often_it_is_read() {
    let emulator = origin().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    let profile = format!(
        "[default]\ntype = access_key\naccess_key_id = {KEY_ID}\naccess_key_secret = a#b\n"
    );
    std::fs::write(&file, profile).unwrap();
    let more = [
        "credentials.source=profile".to_owned(),
        "credentials.refresh=1s".to_owned(),
        format!("credentials.credentials_file={}", file.display()),
    ];
    let more: Vec<_> = more.iter().map(String::as_str).collect();
    let (mut process, ports) = serving(&emulator, &more).await;
    let admin = address(&ports, "admin");
    let loaded = r#"pai_gateway_credential_refreshes_total{result="ok",source="profile"}"#;
    eventually("it is read again", async || {
        sample(&admin, loaded).await >= 2.0
    })
    .await;
    process.terminate();
    assert_eq!(process.wait().await.code(), Some(0));
    let log = process.output("stderr");
    assert_eq!(log.matches("profile_doubtful").count(), 1, "{log}");
    assert!(
        log.contains("access_key_secret") && !log.contains("a#b"),
        "{log}"
    );
}
