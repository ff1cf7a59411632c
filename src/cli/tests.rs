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

/// Returns the command lines of this program in a document's shell blocks: each a line that begins with its name.
fn lines_of(document: &str) -> Vec<String> {
    let blocks = document.split("\n```").skip(1).step_by(2);
    let shell = blocks.filter_map(|block| {
        let (language, text) = block.split_once('\n')?;
        matches!(language, "sh" | "bash").then(|| text.replace("\\\n", " "))
    });
    let lines = shell.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
    lines
        .filter(|line| line.trim_start().starts_with("pai-image-gateway "))
        .collect()
}

/// Cuts off the comment, the next command of a pipe or list, and what only a shell replaces.
fn first_command(line: &str) -> String {
    let mut line = line.trim();
    for end in [" # ", " | ", " && ", " & ", "; ", " >", " 2>", " <"] {
        line = line.split(end).next().unwrap_or(line);
    }
    line.replace('"', "'")
}

#[test]
fn each_command_line_in_the_documents_parses() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = std::fs::read_dir(root.join("docs")).unwrap();
    let pages = pages.map(|page| page.unwrap().path());
    let mut seen = 0;
    for page in pages.chain([root.join("README.md")]) {
        if page.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        for line in lines_of(&std::fs::read_to_string(&page).unwrap()) {
            let command = first_command(&line);
            let parsed = Cli::try_parse_from(words(&command));
            let why = parsed.err().map(|error| error.to_string());
            assert_eq!(why, None, "{}: {command}", page.display());
            seen += 1;
        }
    }
    assert!(seen > 15, "{seen}");
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
