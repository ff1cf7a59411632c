//! docs/commands.md: every command with its arguments and examples, the exit codes, and the fields of `--json`.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command, CommandFactory as _};

use super::json_fields::JSON_FIELDS;
use crate::cli::{Cli, Exit};

const HEAD: &str = "\
# Commands

<!-- Printed by `pai-image-gateway docs commands`. -->

`pai-image-gateway COMMAND --help` prints the same text for one command; `pai-image-gateway completions SHELL` prints a \
script for its completion by bash, elvish, fish, PowerShell or zsh. The release's archive has man pages in `man/man1`.

Results go to standard output, remarks and errors to standard error. An error names the argument, setting or address \
that it is about, and the remedy. Colours are used by the log and by `--help` alone, on a terminal, and not if \
`NO_COLOR` has a value.

";

const JSON: &str = "\
## JSON

`--json` prints one line of JSON: one object, with `status --watch` one each time, with `resolve` one for each image. \
These fields stay; others may be added. `null` stands for a value that does not exist. An error leaves standard output \
empty and is text on standard error, like without `--json`; the problems that `check` and `healthcheck` look for are \
results.

";

/// Renders the page.
pub(super) fn page() -> String {
    let mut root = Cli::command();
    root.build();
    let mut commands = Vec::new();
    collect(&root, "", &mut commands);
    let mut page = HEAD.to_owned();
    page += "| command | purpose |\n|---|---|\n";
    // Writing to a String cannot fail.
    for (name, command) in &commands {
        let anchor = format!("pai-image-gateway-{}", name.replace(' ', "-"));
        let _ = writeln!(page, "| [`{name}`](#{anchor}) | {} |", about(command));
    }
    page += "\n## Exit codes\n\n| code | meaning |\n|---|---|\n";
    for exit in Exit::ALL {
        let _ = writeln!(page, "| {} | {} |", exit as u8, exit.meaning());
    }
    page.push('\n');
    page += JSON;
    page += "| command | field | meaning |\n|---|---|---|\n";
    for (command, field, meaning) in JSON_FIELDS {
        let _ = writeln!(page, "| `{command}` | `{field}` | {meaning} |");
    }
    for (name, command) in &commands {
        page += &section(name, command);
    }
    page
}

/// Collects the commands that do something, in the order of `--help`; hidden ones are left out.
fn collect<'a>(parent: &'a Command, prefix: &str, found: &mut Vec<(String, &'a Command)>) {
    for command in parent.get_subcommands() {
        if command.is_hide_set() || command.get_name() == "help" {
            continue;
        }
        let name = format!("{prefix}{}", command.get_name());
        if command.has_subcommands() {
            collect(command, &format!("{name} "), found);
        } else {
            found.push((name, command));
        }
    }
}

fn about(command: &Command) -> String {
    let about = command.get_about();
    one_line(&about.map(ToString::to_string).unwrap_or_default())
}

fn section(name: &str, command: &Command) -> String {
    let long = command.get_long_about().or(command.get_about());
    let mut text = format!(
        "\n## pai-image-gateway {name}\n\n{}\n\n",
        long.map(ToString::to_string).unwrap_or_default().trim()
    );
    let shown = command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set() && argument.get_id() != "help");
    let mut rows = shown.map(row).peekable();
    if rows.peek().is_some() {
        text += "| argument | meaning |\n|---|---|\n";
        text.extend(rows);
        text.push('\n');
    }
    let examples = command.get_after_help().map(ToString::to_string);
    let examples = examples.unwrap_or_default();
    let examples = examples.lines().skip(1).map(str::trim_start);
    let examples: String = examples.flat_map(|line| [line, "\n"]).collect();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "```sh\n{examples}```");
    text
}

fn row(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let takes_value = !matches!(argument.get_action(), ArgAction::SetTrue);
    let value = names.first().filter(|_| takes_value);
    let spelling = match (argument.get_long(), value) {
        (Some(long), Some(value)) => format!("--{long} {value}"),
        (Some(long), None) => format!("--{long}"),
        (None, value) => value.map_or(argument.get_id().to_string(), ToString::to_string),
    };
    let mut meaning = argument
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let defaults = argument.get_default_values().iter();
    let defaults: Vec<_> = defaults.map(|value| value.to_string_lossy()).collect();
    let default = defaults.join(",");
    if takes_value && !default.is_empty() {
        meaning += &format!(" [default: {default}]");
    }
    let choices = argument.get_possible_values();
    if takes_value && !choices.is_empty() {
        let choices: Vec<_> = choices.iter().map(|choice| choice.get_name()).collect();
        meaning += &format!(" [one of: {}]", choices.join(", "));
    }
    format!(
        "| `{spelling}` | {} |\n",
        one_line(&meaning).replace('|', "\\|")
    )
}

fn one_line(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('*', "\\*")
}
