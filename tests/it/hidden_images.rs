//! A client cannot tell two origins apart that differ in hidden images only, whichever requests it sends.

use std::io::Write as _;

use http::Method;
use jiff::Timestamp;
use pai_image_gateway::emulator::{Accessibility, Image, Label};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::support::signed::{Guarded, Signer, clients, guard};
use crate::support::{Answer, TestGateway, path};

/// `narrow` sees PUBLIC images of workspace 15945 and official ones, `mine` also what user u1 keeps private.
const CLIENTS: &str = r#"
[[client]]
name = "narrow"
access_key_id = "GWNARROW"
access_key_secret_file = "team.secret"
permissions = ["get", "list", "resolve", "refresh", "write"]
workspaces = ["15945"]
official = true
misses_per_second = 100000

[[client]]
name = "mine"
access_key_id = "GWMINE"
access_key_secret_file = "team.secret"
permissions = ["get", "list", "resolve", "refresh", "write"]
workspaces = ["15945"]
users = ["u1"]
misses_per_second = 100000
"#;

fn image(id: &str, workspace: Option<&str>, accessibility: Accessibility, user: &str) -> Image {
    let label = |key: &str, value: &str| Label {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    let time = |second| Timestamp::from_second(1_600_000_000 + second).unwrap();
    let mut labels = vec![label("system.chipType", "GPU"), label("team", "nlp")];
    if workspace.is_none() && accessibility == Accessibility::Public {
        labels.push(label("system.official", "true"));
    }
    Image {
        gmt_create_time: time(i64::from(id.as_bytes()[id.len() - 1])),
        gmt_modified_time: time(1000),
        name: format!("name-{id}"),
        description: "model".to_owned(),
        image_uri: format!("registry.example/x:{}", &id[..3]),
        user_id: user.to_owned(),
        parent_user_id: "p".to_owned(),
        workspace_id: workspace.map(str::to_owned),
        accessibility,
        size: 7,
        source_type: String::new(),
        source_id: String::new(),
        image_id: id.to_owned(),
        identity: None,
        signature: None,
        labels,
    }
}

fn shared() -> Vec<Image> {
    use Accessibility::{Private, Public};
    vec![
        image("pub-1", Some("15945"), Public, "u2"),
        image("pub-2", Some("15945"), Public, "u1"),
        image("own-3", Some("15945"), Private, "u1"),
        image("off-4", None, Public, "u3"),
    ]
}

fn hidden() -> Vec<Image> {
    use Accessibility::{Private, Public};
    vec![
        image("hid-1", Some("15945"), Private, "u2"),
        image("hid-2", Some("15945"), Private, "u2"),
        image("hid-3", Some("20817"), Public, "u1"),
        image("hid-4", Some("20817"), Private, "u1"),
        image("hid-5", None, Private, "u1"),
    ]
}

const IDS: [&str; 11] = [
    "pub-1", "pub-2", "own-3", "off-4", "hid-1", "hid-2", "hid-3", "hid-4", "hid-5", "absent-1",
    "a%2Fb",
];

/// A request, and whether its response may come from memory only.
type Request = (Method, String, String, bool);

/// Some of these parameters, each with one of its values.
fn query(
    parameters: &'static [(&'static str, &'static [&'static str])],
) -> impl Strategy<Value = String> {
    let each = prop::sample::subsequence(parameters, 0..=parameters.len().min(4));
    (each, any::<[prop::sample::Index; 4]>()).prop_map(|(chosen, at)| {
        let pairs = chosen.iter().zip(at);
        let pairs = pairs.map(|((name, values), at)| format!("{name}={}", at.get(values)));
        pairs.collect::<Vec<_>>().join("&")
    })
}

const SEARCH: &[(&str, &[&str])] = &[
    ("WorkspaceId", &["15945", "15945", "20817", ""]),
    ("WorkspaceId", &["15945"]),
    ("Accessibility", &["PUBLIC", "PRIVATE", "", "public"]),
    (
        "Labels",
        &[
            "system.official%3Dtrue",
            "team%3Dnlp",
            "system.official%3D%2A",
        ],
    ),
    ("Name", &["name", "hid", "pub", "name-hid-1"]),
    ("Query", &["hid", "model"]),
    (
        "ImageUri",
        &["registry.example%2Fx%3Ahid", "registry.example%2Fx%3Apub"],
    ),
    ("PageSize", &["1", "2", "100", "0"]),
    ("PageNumber", &["1", "2", "9"]),
    ("Order", &["ASC", "DESC"]),
    ("Verbose", &["true", "false"]),
    ("RegionId", &["cn-hangzhou"]),
    ("pagesize", &["1"]),
];

const LABEL_SEARCH: &[(&str, &[&str])] = &[
    (
        "ImageId",
        &["pub-1", "hid-1", "hid-3", "hid-5", "own-3", "absent-1", ""],
    ),
    ("WorkspaceId", &["15945", "20817"]),
    ("LabelFilter", &["team%3Dnlp"]),
    ("LabelKeys", &["team"]),
    ("Region", &["cn-hangzhou"]),
];

fn requests() -> impl Strategy<Value = Request> {
    let id = || select(IDS.to_vec());
    let get = (
        id(),
        query(&[("Verbose", &["true", "1"]), ("RegionId", &["x"])]),
        any::<bool>(),
    );
    let get = get.prop_map(|(id, query, cached)| {
        (
            Method::GET,
            format!("{}?{query}", path(id)),
            String::new(),
            cached,
        )
    });
    let list = query(SEARCH).prop_map(|query| {
        (
            Method::GET,
            format!("/api/v1/images?{query}"),
            String::new(),
            false,
        )
    });
    let labels = query(LABEL_SEARCH).prop_map(|query| {
        (
            Method::GET,
            format!("/api/v1/image/labels?{query}"),
            String::new(),
            false,
        )
    });
    let write = (id(), 0..4).prop_map(|(id, which)| {
        let (method, rest, body) = match which {
            0 => (
                Method::POST,
                "/labels",
                r#"{"Labels":[{"Key":"k","Value":"v"}]}"#,
            ),
            1 => (Method::DELETE, "/labels/k", ""),
            2 => (Method::PUT, "/publish", ""),
            _ => (Method::DELETE, "", ""),
        };
        (
            method,
            format!("{}{rest}", path(id)),
            body.to_owned(),
            false,
        )
    });
    // The origin itself reports that a chosen name or id is taken; here no hidden image has it.
    let add = (0..9, select(vec!["15945", "20817"])).prop_map(|(number, workspace)| {
        let body = format!(
            r#"{{"Name":"new-{number}","ImageUri":"r/x:1","ImageId":"new-{number}","WorkspaceId":"{workspace}"}}"#
        );
        (Method::POST, "/api/v1/images".to_owned(), body, false)
    });
    let resolve = prop::collection::vec(select(IDS[..10].to_vec()), 1..5).prop_map(|ids| {
        let body = serde_json::json!({ "ImageIds": ids }).to_string();
        (Method::POST, "/gateway/v1/resolve".to_owned(), body, false)
    });
    prop_oneof![4 => get, 6 => list, 2 => labels, 3 => write, 1 => add, 2 => resolve]
}

struct World {
    guarded: Guarded,
}

impl World {
    async fn start(images: Vec<Image>) -> Self {
        let folder: TempDir = clients();
        let file = folder.path().join("clients.toml");
        let mut file = std::fs::File::options().append(true).open(file).unwrap();
        file.write_all(CLIENTS.as_bytes()).unwrap();
        let gateway = TestGateway::start(|setup| {
            guard(setup, folder.path());
            // No time runs out in one world and not in the other.
            setup.set("freshness.max", "2h");
            setup.set("freshness.max_verbose", "2h");
            setup.set("freshness.min", "1h");
            setup.set("freshness.not_found", "1h");
            setup.origin.images = 0;
        })
        .await;
        for image in images {
            gateway.emulator.store().put(image);
        }
        Self {
            guarded: Guarded { gateway, folder },
        }
    }

    async fn ask(&self, signer: &Signer, (method, target, body, cached): &Request) -> String {
        let only = [("cache-control", "only-if-cached")];
        let more: &[_] = if *cached { &only } else { &[] };
        let request = (method.clone(), target.as_str(), body.as_str());
        observed(&self.guarded.ask(signer, request, more).await)
    }
}

/// Returns everything in a response, except random ids and the time.
fn observed(answer: &Answer) -> String {
    let mut headers: Vec<String> = Vec::new();
    for (name, value) in &answer.headers {
        let value = value.to_str().unwrap();
        let value = match name.as_str() {
            "date" | "age" | "x-acs-request-id" | "x-pai-gateway-request-id" => "*",
            "cache-status" => value.split(" ttl=").next().unwrap(),
            _ => value,
        };
        headers.push(format!("{name}: {value}"));
    }
    let mut body = answer.text();
    mask(&answer.json(), &mut body);
    format!("{} {headers:?} {body}", answer.status)
}

/// Replaces the ids and times in a body that differ each time.
fn mask(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| mask(item, text)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("RequestId" | "GmtCreateTime" | "GmtModifiedTime", Value::String(drawn)) => {
                        *text = text.replace(drawn, "*");
                    }
                    ("AgeSeconds", Value::Number(age)) => {
                        *text = text.replace(&format!("\"AgeSeconds\":{age}"), "");
                    }
                    _ => mask(value, text),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Sends the same requests to both worlds, one after the other.
fn compare(key: &'static str, cases: u32) {
    let runtime = Runtime::new().unwrap();
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 40,
        ..Config::default()
    };
    let signer = Signer::new(key, "team-secret");
    let asked = prop::collection::vec(requests(), 20..120);
    let compared = TestRunner::new(config).run(&asked, |requests| {
        runtime.block_on(async {
            let plain = World::start(shared()).await;
            let fuller = World::start(shared().into_iter().chain(hidden()).collect()).await;
            for request in &requests {
                let (one, other) = (
                    plain.ask(&signer, request).await,
                    fuller.ask(&signer, request).await,
                );
                prop_assert_eq!(one, other, "{:?}", request);
            }
            Ok(())
        })
    });
    compared.unwrap();
}

#[test]
fn hidden_images_change_no_answer_to_a_client_of_public_ones() {
    compare("GWNARROW", 4);
}

#[test]
fn hidden_images_change_no_answer_to_a_client_of_some_private_ones() {
    compare("GWMINE", 4);
}
