//! Completions and man pages: one for each command that the documentation lists.

use std::fs;

use pai_image_gateway::environment::Environment;

use crate::support::run;

/// The commands in the table of docs/commands.md.
fn commands() -> Vec<&'static str> {
    let rows = include_str!("../../../docs/commands.md").lines();
    let names = rows.filter_map(|row| row.strip_prefix("| [`"));
    let names: Vec<_> = names.map(|row| row.split('`').next().unwrap()).collect();
    assert!(names.len() > 15, "{names:?}");
    names
}

#[tokio::test]
async fn each_command_has_a_man_page() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man/man1");
    let written = run(
        &Environment::new(),
        &["docs", "man", pages.to_str().unwrap()],
    )
    .await;
    assert_eq!(written.code, 0, "{}", written.stderr);
    for command in commands() {
        let name = command.replace(' ', "-");
        let page = fs::read_to_string(pages.join(format!("pai-image-gateway-{name}.1"))).unwrap();
        assert!(
            page.starts_with(".ie") && page.contains(".SH SYNOPSIS"),
            "{command}"
        );
        assert!(page.contains("Examples:"), "{command}");
    }
}

#[tokio::test]
async fn each_shell_completes_each_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&Environment::new(), &["completions", shell]).await;
        assert_eq!(script.code, 0, "{}", script.stderr);
        for command in commands() {
            let word = command.split(' ').next_back().unwrap();
            assert!(script.stdout.contains(word), "{shell}: {command}");
        }
    }
}
