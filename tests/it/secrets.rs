//! No secret leaves a running gateway, on any output, at the most verbose log level.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use http::Method;
use pai_image_gateway::emulator::Store;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::process::{origin, serving};
use crate::support::signed::{Signer, TOKEN, clients};
use crate::support::{KEY_SECRET, address, ask, path, refusal, times};

/// Everything that must stay inside: the central secret, and the clients' secrets.
const CANARIES: [&str; 6] = [
    KEY_SECRET,
    "chief-secret",
    "chief-next",
    "team-secret",
    "sts/token+=",
    "admin-token",
];

#[tokio::test]
async fn no_secret_is_in_any_log_error_metric_page_audit_or_core() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Core);
    let whole = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Core, whole).unwrap();
    let (emulator, folder) = (origin().await, clients());
    let place = |name: &str| folder.path().join(name).display().to_string();
    let settings = [
        "auth.mode=required".to_owned(),
        format!("auth.clients_file={}", place("clients.toml")),
        format!("admin.token_file={}", place("admin")),
        format!("audit.to={}", place("audit")),
        "audit.hits=1".to_owned(),
        "api.writes=true".to_owned(),
        "log.level=trace".to_owned(),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let (mut process, ports) = serving(&emulator, &settings).await;
    let (data, admin) = (address(&ports, "listen"), address(&ports, "admin"));
    // The origin quotes what the gateway signed.
    emulator.script(vec![times(2, refusal(400, "SignatureDoesNotMatch"))]);
    let mut output = String::new();
    let mut temporary = Signer::new("GWTEMP", "team-secret");
    temporary.credentials.security_token = Some("sts/token+=".into());
    let mut wrong = temporary.clone();
    wrong.credentials.security_token = Some("sts/token+=x".into());
    let bad = Signer::new("GWCHIEF", "not-it");
    for signer in [Signer::chief(), Signer::team(), temporary, wrong, bad] {
        for target in [
            path(&Store::id(1)),
            path("image-none"),
            "/api/v1/images".to_owned(),
        ] {
            let signed = signer.sign(&Method::GET, &target, "");
            let headers: Vec<(&str, &str)> = signed
                .iter()
                .map(|(n, v)| (n.as_str(), v.as_str()))
                .collect();
            output += &ask(&data, Method::GET, &target, &headers, "")
                .await
                .everything();
        }
    }
    for token in [TOKEN, "no-token"] {
        let header = [("x-acs-bearer-token", token)];
        let target = path(&Store::id(1));
        output += &ask(&data, Method::GET, &target, &header, "")
            .await
            .everything();
    }
    let token = [("authorization", "Bearer admin-token")];
    for page in [
        "/status",
        "/config",
        "/metrics",
        &format!("/entries/{}", Store::id(1)),
    ] {
        let answer = ask(&admin, Method::GET, page, &token, "").await;
        assert_eq!(answer.status, 200, "{page}");
        output += &answer.everything();
    }
    process.abort();
    let status = process.wait().await;
    output += &process.output("stderr");
    output += &process.output("stdout");
    let audit = std::fs::read_to_string(folder.path().join("audit")).unwrap();
    assert!(audit.lines().count() >= 3, "{audit}");
    output += &audit;
    assert!(output.contains("GWCHIEF") || output.contains("chief"));
    for canary in CANARIES.into_iter().chain([TOKEN]) {
        let found = output
            .find(canary)
            .map(|at| &output[at.saturating_sub(200)..]);
        assert_eq!(
            found.map(|text| &text[..text.len().min(400)]),
            None,
            "{canary}"
        );
    }
    assert!(!status.core_dumped(), "a core was written");
}

/// Proves that the test above would find a secret in a core file, on a machine that writes them.
#[test]
fn a_core_is_noticed_where_this_machine_writes_them() {
    let folder = tempfile::tempdir().unwrap();
    let crashed = Command::new("sh")
        .args(["-c", "ulimit -c unlimited; kill -ABRT $$"])
        .current_dir(folder.path())
        .status()
        .unwrap();
    if !crashed.core_dumped() {
        eprintln!("this machine writes no cores: that none is written shows little here");
    }
    assert_eq!(crashed.signal(), Some(6));
}
