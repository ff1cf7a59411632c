//! `probe` against an emulated origin: each fact both ways, and the settings that follow.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::SignedDuration;
use pai_image_gateway::api::Action;
use pai_image_gateway::emulator::{Emulator, Fault, FaultKind, Settings, Store};
use serde_json::{Value, json};

use crate::process::{flags, settings};
use crate::support::{Finished, KEY_ID, KEY_SECRET, Process, environment, run};

/// Calls before the one for an id that does not exist: three of GetImage.
const BEFORE_THE_MISSING_IMAGE: u64 = 3;

async fn origin(change: impl FnOnce(&mut Settings)) -> Emulator {
    let mut settings = Settings {
        access_key_id: KEY_ID.to_owned(),
        access_key_secret: KEY_SECRET.into(),
        ..Settings::default()
    };
    change(&mut settings);
    Emulator::start(settings).await.unwrap()
}

async fn probe(emulator: &Emulator, more: &[&str]) -> Finished {
    let settings = settings(emulator);
    run(
        &environment(),
        &[vec!["probe"], flags(&settings), more.to_vec()].concat(),
    )
    .await
}

async fn facts(emulator: &Emulator, more: &[&str]) -> Value {
    let finished = probe(emulator, &[more, &["--json"]].concat()).await;
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    serde_json::from_str(&finished.stdout).unwrap()
}

/// The settings that would change.
fn changed(facts: &Value) -> BTreeMap<&str, &Value> {
    let settings = facts["settings"].as_array().unwrap().iter();
    let changed = settings.filter(|setting| setting["value"] != setting["now"]);
    changed
        .map(|setting| (setting["key"].as_str().unwrap(), &setting["value"]))
        .collect()
}

fn remarks(facts: &Value) -> String {
    let remarks = facts["remarks"].as_array().unwrap().iter();
    let remarks = remarks.map(|remark| remark.as_str().unwrap());
    remarks.collect::<Vec<_>>().join("\n")
}

fn after(passed: u64, operation: Action, status: StatusCode, code: &str) -> Fault {
    Fault {
        operation: Some(operation),
        after: passed,
        times: Some(1),
        ..Fault::always(FaultKind::Status {
            status,
            code: Some(code.to_owned()),
            message: None,
            headers: HeaderMap::new(),
            access_denied_detail: false,
        })
    }
}

#[tokio::test]
async fn an_origin_as_documented_changes_no_setting() {
    let emulator = origin(|_| {}).await;
    let facts = facts(&emulator, &[]).await;
    let image = emulator.store().get(facts["image"].as_str().unwrap());
    assert_eq!(image.unwrap().workspace_id, None, "official");
    assert_eq!(
        facts["missing_image"],
        json!({ "status": 404, "code": "ImageNotFound", "meaning": "not_found" })
    );
    assert_eq!(facts["quota"], json!({}));
    assert_eq!(facts["cache_control"], Value::Null);
    assert_eq!(facts["etag"], "changes");
    assert_eq!(facts["verbose_members"], json!(["Labels"]));
    assert_eq!(
        facts["item_differences"],
        json!({ "false": [], "true": [] })
    );
    assert_eq!(facts["pages"][0]["total"], 25);
    assert!(changed(&facts).is_empty(), "{facts}");
    assert_eq!(facts["settings"].as_array().unwrap().len(), 3, "{facts}");
    assert_eq!(remarks(&facts), "");
}

#[tokio::test]
async fn the_text_has_each_fact_and_the_settings() {
    let emulator = origin(|_| {}).await;
    emulator.script(vec![after(
        BEFORE_THE_MISSING_IMAGE,
        Action::GetImage,
        StatusCode::NOT_FOUND,
        "Image.NotExist",
    )]);
    let printed = probe(&emulator, &[]).await;
    assert_eq!(printed.code, 0, "{}", printed.stderr);
    for part in [
        "in 7 calls",
        "404 with Code Image.NotExist",
        "quota headers  none",
        "Cache-Control  none",
        "another one in each answer",
        "adds Labels",
        "Verbose=false agrees with GetImage; Verbose=true agrees",
        "50: 25 of 25 images",
        "clock          the origin's is",
        "upstream.not_found_code = \"Image.NotExist\"  # now \"ImageNotFound\": ",
        "catalogue.answer = true  # as it is: ",
    ] {
        assert!(printed.stdout.contains(part), "{part}\n{}", printed.stdout);
    }
    let output = printed.stdout + &printed.stderr;
    assert!(!output.contains(KEY_ID) && !output.contains(KEY_SECRET));
}

#[tokio::test]
async fn each_answer_for_a_missing_image_has_its_consequence() {
    for (status, code, meaning, keys, remark) in [
        (
            400,
            "ResourceNotFound",
            "refused",
            &["upstream.not_found_code", "upstream.not_found_codes"][..],
            "",
        ),
        (400, "InvalidParameter", "refused", &[], "other causes"),
        (403, "NoPermission", "forbidden", &[], "cannot tell it"),
    ] {
        let emulator = origin(|_| {}).await;
        let status = StatusCode::from_u16(status).unwrap();
        let missing = after(BEFORE_THE_MISSING_IMAGE, Action::GetImage, status, code);
        emulator.script(vec![missing]);
        let facts = facts(&emulator, &[]).await;
        let expected = json!({ "status": status.as_u16(), "code": code, "meaning": meaning });
        assert_eq!(facts["missing_image"], expected);
        let changed = changed(&facts);
        assert_eq!(changed.keys().copied().collect::<Vec<_>>(), keys, "{code}");
        assert!(remarks(&facts).contains(remark), "{facts}");
    }
}

#[tokio::test]
async fn headers_are_facts_where_the_origin_sends_them() {
    let emulator = origin(|settings| settings.quota_per_second = Some(500)).await;
    let headers = [("cache-control", "no-store"), ("etag", "\"1\"")];
    let headers: HeaderMap = headers
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .into_iter()
        .collect();
    emulator.script(vec![Fault::always(FaultKind::Headers(headers))]);
    let respect = ["--set", "freshness.origin_cache_control=respect"];
    let with = facts(&emulator, &respect).await;
    let quota = with["quota"]["x-ratelimit-user-api"].as_str().unwrap();
    assert!(quota.starts_with("Limit:500,"), "{quota}");
    assert_eq!(with["cache_control"], "no-store");
    assert_eq!(with["etag"], "stable");
    let cap = json!("cap");
    let expected = BTreeMap::from([("freshness.origin_cache_control", &cap)]);
    assert_eq!(changed(&with), expected);
    assert!(remarks(&with).contains("get_image is 50"), "{with}");

    let removed = [(
        HeaderName::from_static("etag"),
        HeaderValue::from_static(""),
    )];
    let removed = removed.into_iter().collect();
    emulator.script(vec![Fault::always(FaultKind::Headers(removed))]);
    assert_eq!(facts(&emulator, &[]).await["etag"], Value::Null);
}

#[tokio::test]
async fn an_item_that_differs_keeps_the_catalogue_from_answering() {
    let emulator = origin(|_| {}).await;
    let image = Store::id(1);
    let members = json!({ "Description": "otherwise", "New": 1 });
    let members = members.as_object().unwrap().clone();
    emulator.store().list_otherwise(&image, members);
    let facts = facts(&emulator, &["--image", &image]).await;
    assert_eq!(facts["image"], image);
    let differ = json!(["Description", "New"]);
    assert_eq!(
        facts["item_differences"],
        json!({ "false": differ, "true": differ })
    );
    let no = json!(false);
    assert_eq!(changed(&facts), BTreeMap::from([("catalogue.answer", &no)]));
}

#[tokio::test]
async fn the_largest_page_is_found() {
    // A quarter of them is official.
    let emulator = origin(|settings| settings.images = 480).await;
    let accepted = facts(&emulator, &[]).await;
    assert_eq!(changed(&accepted)["catalogue.page_size"], 200);
    emulator.store().limit_pages(70);
    let reduced = facts(&emulator, &[]).await;
    assert_eq!(changed(&reduced)["catalogue.page_size"], 70);
    assert_eq!(reduced["pages"][1]["items"], 70);
    emulator.store().limit_pages(0);
    let bad = |passed| {
        let (list, status) = (Action::ListImages, StatusCode::BAD_REQUEST);
        after(passed, list, status, "InvalidParameter")
    };
    emulator.script(vec![bad(1)]);
    let refused = facts(&emulator, &[]).await;
    assert_eq!(refused["pages"][1]["code"], "InvalidParameter");
    assert!(changed(&refused).is_empty(), "{refused}");
    emulator.script(vec![bad(0)]);
    let smaller = facts(&emulator, &[]).await;
    assert_eq!(changed(&smaller)["catalogue.page_size"], 20);
}

#[tokio::test]
async fn no_run_makes_more_calls_than_it_says() {
    let emulator = origin(|settings| settings.images = 8000).await;
    let facts = facts(&emulator, &[]).await;
    assert_eq!(facts["calls"], 11);
    assert_eq!(emulator.counts().requests, 11);
    assert_eq!(changed(&facts)["catalogue.page_size"], 1000);
}

#[tokio::test]
async fn the_clocks_are_compared() {
    let emulator = origin(|_| {}).await;
    for (minutes, remark) in [
        (0, ""),
        (3, "s behind the origin's"),
        (-3, "s ahead of the origin's"),
        // Beyond what signatures may be off: the first call is signed again.
        (40, "s behind the origin's"),
    ] {
        emulator.set_clock_offset(SignedDuration::from_mins(minutes));
        let facts = facts(&emulator, &[]).await;
        let offset = facts["clock_offset_ms"].as_i64().unwrap();
        let uncertainty = facts["clock_uncertainty_ms"].as_i64().unwrap();
        assert!((offset - minutes * 60_000).abs() <= uncertainty, "{facts}");
        let remarks = remarks(&facts);
        assert_eq!(remarks.is_empty(), minutes == 0, "{remarks}");
        assert!(remarks.contains(remark), "{remarks}");
    }
}

#[tokio::test]
async fn a_denial_names_the_action_that_is_missing() {
    for operation in [Action::ListImages, Action::GetImage] {
        let emulator = origin(|_| {}).await;
        let denied = after(0, operation, StatusCode::FORBIDDEN, "NoPermission");
        emulator.script(vec![denied]);
        let ended = probe(&emulator, &[]).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""));
        let action = format!("paiimage:{}", operation.as_str());
        for part in ["NoPermission", "RequestId", action.as_str(), "`policy`"] {
            assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
        }
    }
}

#[tokio::test]
async fn what_cannot_be_asked_ends_with_the_remedy() {
    let empty = origin(|settings| settings.images = 0).await;
    let filled = origin(|_| {}).await;
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("upstream.endpoint=http://{}", free.local_addr().unwrap());
    drop(free);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("old"), "").unwrap();
    for (emulator, arguments, code, remedy) in [
        (&empty, &[][..], 1, "--workspace"),
        (&filled, &["--workspace", "7"], 1, "list of workspace 7"),
        (
            &filled,
            &["--image", "image-none"],
            1,
            "no image image-none",
        ),
        (&filled, &["--set", &nobody], 1, "upstream.proxy"),
        (&filled, &["--image", "a/b"], 2, "letters, digits"),
        (
            &filled,
            &["--set", "upstream.kind=gateway"],
            2,
            "parent gateway",
        ),
        (
            &filled,
            &["--record", folder.path().to_str().unwrap()],
            2,
            "name a new folder",
        ),
    ] {
        let ended = probe(emulator, arguments).await;
        assert_eq!(ended.code, code, "{arguments:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "");
        assert!(
            ended.stderr.contains(remedy),
            "{arguments:?}: {}",
            ended.stderr
        );
    }
    let mut wrong = environment();
    let name = "ALIBABA_CLOUD_ACCESS_KEY_SECRET".to_owned();
    wrong.insert(name, "wrong-secret".to_owned());
    let settings = settings(&filled);
    let refused = run(&wrong, &[vec!["probe"], flags(&settings)].concat()).await;
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("`check`"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("wrong-secret") && !refused.stderr.contains(KEY_ID));
}

#[tokio::test]
async fn a_recording_has_every_answer_and_no_secret() {
    let emulator = origin(|_| {}).await;
    let folder = tempfile::tempdir().unwrap();
    let answers = folder.path().join("answers");
    let image = Store::id(3);
    let arguments = ["--image", &image, "--record", answers.to_str().unwrap()];
    let facts = facts(&emulator, &arguments).await;
    let files = fs::read_dir(&answers).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    assert_eq!(Value::from(files.len()), facts["calls"]);
    let own = emulator.store().get(&image).unwrap();
    let texts: Vec<_> = files
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    for text in &texts {
        for secret in [
            KEY_ID,
            KEY_SECRET,
            &image,
            &own.image_uri,
            &own.name,
            &own.user_id,
            "15945",
            "127.0.0.1",
        ] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }
    let first: Value = serde_json::from_str(&texts[0]).unwrap();
    assert_eq!(first["operation"], "GetImage");
    assert_eq!(first["image"], "image-1");
    assert_eq!(first["body"]["Accessibility"], "PRIVATE");
    assert_eq!(
        first["headers"]["x-acs-request-id"],
        first["body"]["RequestId"]
    );
    let last: Value = serde_json::from_str(texts.last().unwrap()).unwrap();
    assert_eq!(last["status"], 404);
    assert_eq!(last["body"]["Code"], "ImageNotFound");
}

#[tokio::test]
async fn an_emulator_answers_by_a_recording_as_the_origin_did() {
    let emulator = origin(|settings| settings.quota_per_second = Some(500)).await;
    let (id, other) = (Store::id(1), json!({ "Size": 1 }));
    emulator
        .store()
        .list_otherwise(&id, other.as_object().unwrap().clone());
    let (get, gone) = (Action::GetImage, StatusCode::BAD_REQUEST);
    let missing = after(BEFORE_THE_MISSING_IMAGE, get, gone, "ResourceNotFound");
    emulator.script(vec![missing]);
    let folder = tempfile::tempdir().unwrap();
    let answers = folder.path().join("answers");
    let answers = answers.to_str().unwrap();
    let seen = facts(&emulator, &["--image", &id, "--record", answers]).await;

    let replay = ["emulate", "--listen", "127.0.0.1:0", "--fixtures", answers];
    let (_replay, ports) = Process::serve(&environment(), &replay).await;
    let listen = ports["listen"].as_str().unwrap();
    let endpoint = format!("upstream.endpoint=http://{listen}");
    let [id, secret] = ["ID", "SECRET"].map(|part| format!("ALIBABA_CLOUD_ACCESS_KEY_{part}"));
    let key = [(id, "emulator-key"), (secret, "emulator-secret")];
    let key = key.map(|(name, value)| (name, value.to_owned())).into();
    let origin = ["--set", "upstream.allow_http=true", "--set", &endpoint];
    let image = [
        "--image",
        "image-1",
        "--workspace",
        "WorkspaceId-1",
        "--json",
    ];
    let replayed = run(&key, &[&["probe"][..], &origin, &image].concat()).await;
    assert_eq!(replayed.code, 0, "{}", replayed.stderr);
    let replayed: Value = serde_json::from_str(&replayed.stdout).unwrap();
    for fact in [
        "missing_image",
        "cache_control",
        "verbose_members",
        "item_differences",
        "pages",
        "settings",
    ] {
        assert_eq!(replayed[fact], seen[fact], "{fact}");
    }
    assert_eq!(replayed["item_differences"]["true"], json!(["Size"]));
    assert_eq!(replayed["missing_image"]["code"], "ResourceNotFound");
}
