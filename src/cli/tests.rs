//! The help of every command: examples that parse, and a page that the repository holds.

use clap::{Command, CommandFactory as _, Parser as _};

use super::Cli;

/// Splits an example as a shell does, up to a redirection or a comment.
fn words(line: &str) -> Vec<String> {
    let line = line.split(" > ").next().unwrap_or(line);
    let line = line.split(" < ").next().unwrap_or(line);
    let mut words = Vec::new();
    for (at, part) in line.split('\'').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// Calls a function with each command that a person can find, and its name.
fn walk(command: &Command, name: &str, each: &mut impl FnMut(&str, &Command)) {
    each(name, command);
    for command in command.get_subcommands() {
        if !command.is_hide_set() && command.get_name() != "help" {
            walk(command, &format!("{name} {}", command.get_name()), each);
        }
    }
}

#[test]
fn each_command_has_examples_that_parse() {
    let mut seen = 0;
    walk(
        &Cli::command(),
        "pai-image-gateway",
        &mut |name, command| {
            let help = command.get_after_help().map(ToString::to_string);
            let help = help.unwrap_or_default();
            let mut lines = help.lines();
            assert_eq!(lines.next(), Some("Examples:"), "{name}");
            let examples: Vec<_> = lines.collect();
            assert!(!examples.is_empty(), "{name}");
            for example in examples {
                assert!(
                    example.starts_with(&format!("  {name}")),
                    "{name}: {example}"
                );
                let parsed = Cli::try_parse_from(words(example));
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
                seen += 1;
            }
            assert!(command.get_about().is_some(), "{name} has no description");
        },
    );
    assert!(seen > 30, "{seen}");
}

#[test]
fn the_arguments_are_declared_without_contradictions() {
    Cli::command().debug_assert();
}

#[cfg(feature = "emulator")]
#[test]
fn the_pages_in_the_repository_are_the_generated_ones() {
    use super::docs::Docs;
    for (page, text) in [
        (Docs::Commands, include_str!("../../docs/commands.md")),
        (Docs::Emulator, include_str!("../../docs/emulator.md")),
    ] {
        assert_eq!(text, page.page(), "{page:?} is stale: just docs");
    }
}
