//! `client add`: makes a key that authenticates.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use pai_image_gateway::emulator::Store;
use pai_image_gateway::environment::Environment;

use crate::support::signed::{Guarded, Signer};
use crate::support::{eventually, path, run};

#[tokio::test]
async fn a_new_client_is_accepted_without_a_restart() {
    let guarded = Guarded::usual().await;
    let file = guarded.folder.path().join("clients.toml");
    let before = fs::read_to_string(&file).unwrap();
    let file = file.to_str().unwrap();
    let add = ["client", "add", "trainer", "--file", file];
    let grant = ["--permissions", "get,list", "--workspaces", "15945"];
    let added = run(&Environment::new(), &[&add[..], &grant].concat()).await;
    assert_eq!(added.code, 0, "{}", added.stderr);
    let printed = |what: &str| {
        let line = added
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix(what));
        line.unwrap().trim().to_owned()
    };
    let (id, secret) = (printed("AccessKeyId"), printed("AccessKeySecret"));
    assert!(id.starts_with("GW") && id.len() == 22 && secret.len() == 40);
    let after = fs::read_to_string(file).unwrap();
    assert!(after.starts_with(&before) && !after.contains(&secret));
    let kept = guarded.folder.path().join("trainer.secret");
    assert_eq!(fs::read_to_string(&kept).unwrap().trim(), secret);
    assert_eq!(
        fs::metadata(&kept).unwrap().permissions().mode() & 0o777,
        0o600
    );

    let trainer = Signer::new(&id, &secret);
    eventually("the new client is accepted", async || {
        guarded.get(&trainer, &path(&Store::id(1))).await.status == 200
    })
    .await;
    // Workspace 20817.
    assert_eq!(
        guarded.get(&trainer, &path(&Store::id(2))).await.status,
        404
    );
}

#[tokio::test]
async fn a_client_that_cannot_be_added_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clients.toml");
    let add = async |more: &[&str]| {
        let command = ["client", "add", "--file", file.to_str().unwrap()];
        run(&Environment::new(), &[&command[..], more].concat()).await
    };
    assert_eq!(add(&["one"]).await.code, 0);
    let before = fs::read_to_string(&file).unwrap();
    let files = || fs::read_dir(folder.path()).unwrap().count();
    for (more, remedy) in [
        (&["one"][..], "client rotate one"),
        (&["../two"], "the client's name"),
        (&["anonymous"], "the client's name"),
        (&["two", "--permissions", "all"], "resolve"),
        (&["two", "--misses-per-second", "0"], "from 1 up"),
        (&["two", "--workspaces", "1,*"], "[\"*\"] alone"),
    ] {
        let refused = add(more).await;
        assert_ne!(refused.code, 0, "{more:?}");
        assert!(refused.stderr.contains(remedy), "{}", refused.stderr);
        assert_eq!(fs::read_to_string(&file).unwrap(), before);
        assert_eq!(files(), 2, "{more:?}");
    }
}
