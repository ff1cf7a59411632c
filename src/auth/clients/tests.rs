use tempfile::TempDir;

use super::*;

fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in [("a.secret", "one\n"), ("b.secret", "two"), ("empty", "\n")] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn nonces() -> Arc<Nonces> {
    Nonces::new(&Config::default())
}

fn problems(text: &str) -> Vec<String> {
    let folder = folder();
    Clients::parse(text, folder.path(), &nonces(), None)
        .map_or_else(|InvalidClients(bad)| bad, |_| Vec::new())
}

const SCHEDULER: &str = r#"
[[client]]
name = "scheduler"
access_key_id = "GWSCHEDULER"
access_key_secret_file = ["a.secret", "b.secret"]
permissions = ["get", "list", "resolve", "refresh"]
workspaces = ["15945"]
users = ["155770209999998921"]
official = true
misses_per_second = 20
"#;

#[test]
fn the_documented_client_is_read() {
    let folder = folder();
    let clients = Clients::parse(SCHEDULER, folder.path(), &nonces(), None).unwrap();
    let client = clients.by_key("GWSCHEDULER").unwrap();
    assert_eq!((client.name.as_str(), client.keys.len()), ("scheduler", 2));
    assert!(client.grant.official && client.grant.workspaces.contains("15945"));
    assert!(!client.grant.workspaces.contains("1"));
    assert_eq!(clients.secret_files().len(), 2);
    assert!(!format!("{clients:?}").contains("one"));
}

#[test]
fn each_mistake_is_reported_and_no_value_is_quoted() {
    let client = |line: &str| {
        format!(
            "[[client]]\nname = \"c\"\naccess_key_id = \"K\"\naccess_key_secret_file = \"a.secret\"\npermissions = [\"get\"]\n{line}"
        )
    };
    for (text, expected) in [
        ("client = 1".to_owned(), "[[client]]"),
        (
            "[[client]]\nname = \"hunter2\nx".to_owned(),
            "line 3 is not TOML",
        ),
        ("[other]".to_owned(), "\"other\" is unknown"),
        (
            client("access_key_secret = \"hunter2\""),
            "access_key_secret_file",
        ),
        (client("workspace = [\"hunter2\"]"), "nearest is workspaces"),
        (client("workspaces = \"hunter2\""), "workspaces"),
        (client("workspaces = [15945]"), "in quotes"),
        (client("users = [\"*\", \"hunter2\"]"), "users"),
        (client("official = \"hunter2\""), "official"),
        (client("misses_per_second = 0"), "misses_per_second"),
        (client("requests_per_second = 1.5"), "requests_per_second"),
        (client("bearer_sha256 = \"hunter2\""), "bearer_sha256"),
        (
            client("security_token_file = \"hunter2\""),
            "security_token_file",
        ),
        (client("security_token_file = \"empty\""), "empty"),
        (client("mtls_name = []"), "mtls_name"),
        (client("service_account = []"), "service_account"),
        (client("service_account = \"hunter2\""), "namespace/name"),
        (
            client("service_account = \"a/hunter2/x\""),
            "namespace/name",
        ),
        (
            client("service_account = \"a:b/hunter2\""),
            "namespace/name",
        ),
        (client("service_account = \"/hunter2\""), "namespace/name"),
        (client("service_account = \"Hunter2/x\""), "namespace/name"),
        (
            client("service_account = \"a.b/hunter2\""),
            "namespace/name",
        ),
        (
            "[[client]]\nname = \"c\"\npermissions = [\"get\"]".to_owned(),
            "no way to sign in",
        ),
        (
            "[[client]]\nname = \"c\"\naccess_key_id = \"K\"\npermissions = [\"get\"]".to_owned(),
            "goes with",
        ),
        (
            "[[client]]\nname = \"anonymous\"\nmtls_name = \"m\"\npermissions = [\"get\"]"
                .to_owned(),
            "name",
        ),
        (
            "[[client]]\nname = \"c\"\nmtls_name = \"m\"\npermissions = [\"hunter2\"]".to_owned(),
            "permissions",
        ),
        (
            "[[client]]\nname = \"c\"\nmtls_name = \"m\"".to_owned(),
            "permissions",
        ),
        (client("") + &client(""), "another client's too"),
    ] {
        let bad = problems(&text).join("\n");
        assert!(bad.contains(expected), "{text}: {bad}");
        assert!(!bad.contains("hunter2"), "{bad}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let bad = problems("[[client]]\nname = \"\"\nusers = 1\n[[client]]\nofficial = 2\n");
    assert!(bad.len() >= 6, "{bad:?}");
}

#[test]
fn a_client_that_stays_keeps_nonces_and_budgets() {
    let (folder, memory) = (folder(), nonces());
    let load = |text: &str, before| Clients::parse(text, folder.path(), &memory, before).unwrap();
    let old = load(SCHEDULER, None);
    let same = load(SCHEDULER, Some(&old));
    let other = load(
        &SCHEDULER
            .replace("GWSCHEDULER", "GWNEW")
            .replace("20", "30"),
        Some(&old),
    );
    let shares = |new: &Clients| {
        let (one, two) = (&old.by_name["scheduler"], &new.by_name["scheduler"]);
        (
            one.nonces
                .as_ref()
                .unwrap()
                .is(two.nonces.as_ref().unwrap()),
            Arc::ptr_eq(&one.misses, &two.misses),
        )
    };
    assert_eq!(
        (shares(&same), shares(&other)),
        ((true, true), (false, false))
    );
    // Nonces go by key, whatever its client is called.
    let renamed = load(&SCHEDULER.replace("\"scheduler\"", "\"other\""), Some(&old));
    let of = |clients: &Clients| clients.by_key["GWSCHEDULER"].nonces.clone().unwrap();
    assert!(of(&old).is(&of(&renamed)));
}

#[test]
fn a_service_account_is_one_clients_and_needs_an_issuer() {
    let client = |name: &str, accounts: &str| {
        format!(
            "[[client]]\nname = \"{name}\"\nservice_account = {accounts}\npermissions = [\"get\"]\n"
        )
    };
    let text = client("pods", r#"["training/scheduler", "training/job.v2"]"#);
    let clients = Clients::parse(&text, Path::new(""), &nonces(), None).unwrap();
    for (account, name) in [
        ("training:scheduler", Some("pods")),
        ("training:job.v2", Some("pods")),
        ("training/scheduler", None),
        ("other:scheduler", None),
    ] {
        let found = clients.by_service_account(account);
        assert_eq!(
            found.as_ref().map(|client| client.name.as_str()),
            name,
            "{account}"
        );
    }
    assert_eq!(clients.check_service_accounts(true), Ok(()));
    let Err(InvalidClients(bad)) = clients.check_service_accounts(false) else {
        panic!("nothing verifies its tokens")
    };
    assert!(
        bad[0].contains("\"pods\"") && bad[0].contains("auth.kubernetes.issuer"),
        "{bad:?}"
    );
    let twice = text + &client("others", r#""training/scheduler""#);
    assert!(problems(&twice)[0].contains("service_account is another client's too"));
}

/// The example beside the settings, as an operator would copy it.
#[test]
fn the_example_file_is_sound() {
    let folder = folder();
    std::fs::write(folder.path().join("scheduler.secret"), "secret").unwrap();
    let text = include_str!("../../../config/clients.toml");
    let clients = Clients::parse(text, folder.path(), &nonces(), None).unwrap();
    assert_eq!(clients.names().count(), 2);
}
