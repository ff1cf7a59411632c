//! `client list`, `rotate` and `remove`: changes to the clients file, and their effect on a running gateway.

use std::fs;
use std::path::Path;

use pai_image_gateway::emulator::Store;
use pai_image_gateway::environment::Environment;

use crate::support::signed::{Guarded, Signer};
use crate::support::{Finished, eventually, path, run};

/// Runs `client` with these words and a clients file.
async fn client(file: &Path, words: &[&str]) -> Finished {
    let file = ["--file", file.to_str().unwrap()];
    run(
        &Environment::new(),
        &[&["client"][..], words, &file].concat(),
    )
    .await
}

/// The secret that a command printed.
fn secret(finished: &Finished) -> String {
    let line = finished
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("AccessKeySecret"));
    line.unwrap().trim().to_owned()
}

async fn is_accepted(guarded: &Guarded, signer: &Signer) -> bool {
    guarded.get(signer, &path(&Store::id(1))).await.status == 200
}

#[tokio::test]
async fn both_secrets_are_valid_from_rotation_to_finish() {
    let guarded = Guarded::usual().await;
    let file = guarded.folder.path().join("clients.toml");
    let added = client(&file, &["add", "trainer", "--workspaces", "15945"]).await;
    let id = added
        .stdout
        .lines()
        .next()
        .unwrap()
        .replace("AccessKeyId", "");
    let old = Signer::new(id.trim(), &secret(&added));
    eventually("the key is accepted", async || {
        is_accepted(&guarded, &old).await
    })
    .await;

    let rotated = client(&file, &["rotate", "trainer"]).await;
    assert_eq!(rotated.code, 0, "{}", rotated.stderr);
    assert!(
        rotated.stdout.contains("client rotate trainer --finish"),
        "{}",
        rotated.stdout
    );
    let new = Signer::new(id.trim(), &secret(&rotated));
    eventually("the new secret is accepted", async || {
        is_accepted(&guarded, &new).await
    })
    .await;
    assert!(is_accepted(&guarded, &old).await);
    let again = client(&file, &["rotate", "trainer"]).await;
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("--finish"), "{}", again.stderr);

    let finished = client(&file, &["rotate", "trainer", "--finish"]).await;
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    eventually("the old secret is refused", async || {
        !is_accepted(&guarded, &old).await
    })
    .await;
    assert!(is_accepted(&guarded, &new).await);
    assert!(!guarded.folder.path().join("trainer.secret").exists());
}

#[tokio::test]
async fn a_revoked_secret_is_replaced_at_once() {
    let guarded = Guarded::usual().await;
    let file = guarded.folder.path().join("clients.toml");
    let revoked = client(&file, &["rotate", "chief", "--revoke"]).await;
    assert_eq!(revoked.code, 0, "{}", revoked.stderr);
    let new = Signer::new("GWCHIEF", &secret(&revoked));
    eventually("the new secret is accepted", async || {
        is_accepted(&guarded, &new).await
    })
    .await;
    assert!(!is_accepted(&guarded, &Signer::chief()).await);
}

#[tokio::test]
async fn a_removed_client_is_refused_and_no_other() {
    let guarded = Guarded::usual().await;
    let file = guarded.folder.path().join("clients.toml");
    assert!(is_accepted(&guarded, &Signer::team()).await);
    let removed = client(&file, &["remove", "team"]).await;
    assert_eq!(removed.code, 0, "{}", removed.stderr);
    eventually("it is refused", async || {
        !is_accepted(&guarded, &Signer::team()).await
    })
    .await;
    assert!(is_accepted(&guarded, &Signer::frugal()).await);
    // Other clients have the same secret's file.
    assert!(guarded.folder.path().join("team.secret").exists());
}

const COMMENTED: &str = "\
# Clients of the gateway.

# The trainer of the vision team.
[[client]]
name = \"trainer\"   # not its host
access_key_id = 'GWTRAINER'
access_key_secret_file = \"trainer.secret\" # mode 0600
permissions = [ \"get\" ]

# Schedulers

[[client]]
name = \"scheduler\"
access_key_id = \"GWSCHEDULER\"
access_key_secret_file = \"scheduler.secret\"
permissions = [\"resolve\"]
# The end.
";

fn commented() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["trainer.secret", "scheduler.secret"] {
        fs::write(folder.path().join(name), "of-a-test\n").unwrap();
    }
    fs::write(folder.path().join("clients.toml"), COMMENTED).unwrap();
    folder
}

#[tokio::test]
async fn the_rest_of_the_file_stays_as_it_was_written() {
    let folder = commented();
    let file = folder.path().join("clients.toml");
    assert_eq!(client(&file, &["rotate", "trainer"]).await.code, 0);
    let rotated = COMMENTED.replace(
        "\"trainer.secret\" #",
        "[\"trainer.2.secret\", \"trainer.secret\"] #",
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), rotated);
    assert_eq!(
        client(&file, &["rotate", "trainer", "--finish"]).await.code,
        0
    );
    let finished = COMMENTED.replace("\"trainer.secret\" #", "\"trainer.2.secret\" #");
    assert_eq!(fs::read_to_string(&file).unwrap(), finished);

    assert_eq!(client(&file, &["remove", "trainer"]).await.code, 0);
    let left = fs::read_to_string(&file).unwrap();
    for kept in ["# Clients of the gateway.", "# Schedulers", "# The end."] {
        assert!(left.contains(kept), "{kept}\n{left}");
    }
    assert!(
        !left.contains("vision") && !left.contains("trainer"),
        "{left}"
    );
    let mut files: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, ["clients.toml", "scheduler.secret"]);
}

#[tokio::test]
async fn a_mistake_says_how_to_go_on_and_changes_nothing() {
    let folder = commented();
    let file = folder.path().join("clients.toml");
    assert_eq!(client(&file, &["remove", "trainer"]).await.code, 0);
    let before = fs::read_to_string(&file).unwrap();
    for (words, remedy) in [
        (&["remove", "scheduler"][..], "add another client first"),
        (&["remove", "trainer"], "client list"),
        (&["rotate", "trainer"], "client list"),
        (
            &["rotate", "scheduler", "--finish"],
            "client rotate scheduler",
        ),
        (&["add", "scheduler"], "client rotate scheduler"),
    ] {
        let refused = client(&file, words).await;
        assert_eq!(refused.code, 1, "{words:?}");
        assert!(
            refused.stderr.contains(remedy),
            "{words:?}: {}",
            refused.stderr
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), before, "{words:?}");
    }
    let missing = client(&folder.path().join("none.toml"), &["list"]).await;
    assert_eq!(missing.code, 1);
    assert!(missing.stderr.contains("--file"), "{}", missing.stderr);
}

#[tokio::test]
async fn the_list_shows_no_secret() {
    let folder = commented();
    let file = folder.path().join("clients.toml");
    let listed = client(&file, &["list"]).await;
    assert_eq!(listed.code, 0, "{}", listed.stderr);
    for part in ["NAME", "trainer", "GWSCHEDULER", "resolve"] {
        assert!(listed.stdout.contains(part), "{}", listed.stdout);
    }
    assert!(!listed.stdout.contains("of-a-test"));
}
