//! Tests, files and headings that the documents name exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders with sources of tests; a folder that is not there is skipped.
const SOURCES: [&str; 3] = ["src", "tests", "crates"];

/// Folders whose files the documents name by path.
const NAMED: [&str; 9] = [
    "src/", "crates/", "tests/", "benches/", "deploy/", "docs/", "config/", "fuzz/", ".ci/",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust and Python file below a folder, as one text.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_source = path
            .extension()
            .is_some_and(|extension| extension == "rs" || extension == "py");
        if path.is_dir() && !path.ends_with("node_modules") {
            sources(&path, text);
        } else if is_source {
            *text += &fs::read_to_string(&path).unwrap();
        }
    }
}

/// The documents and their texts.
fn documents() -> Vec<(PathBuf, String)> {
    let folders = [root().to_owned(), root().join("docs")];
    let files = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    files
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect()
}

/// The text between backticks, outside of code blocks.
fn quoted(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    prose
        .flat_map(|part| part.split('`').skip(1).step_by(2))
        .collect()
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading
            .chars()
            .filter(|letter| letter.is_alphanumeric() || "-_ ".contains(*letter));
        kept.collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn each_test_that_the_documents_name_exists() {
    let mut text = String::new();
    for folder in SOURCES.map(|folder| root().join(folder)) {
        if folder.exists() {
            sources(&folder, &mut text);
        }
    }
    let threats = include_str!("../../SECURITY.md")
        .lines()
        .skip_while(|line| !line.starts_with("| threat |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .flat_map(|row| quoted(row.rsplit(" | ").next().unwrap()));
    // A test's name is a sentence; settings and metrics have fewer words or a prefix.
    let is_test = |name: &&str| {
        let is_name = name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        is_name && name.matches('_').count() > 3 && !name.starts_with("pai_gateway_")
    };
    let guarantees = quoted(include_str!("../../README.md"))
        .into_iter()
        .filter(is_test);
    let names: Vec<_> = threats.chain(guarantees).collect();
    for name in &names {
        let last = name.rsplit("::").next().unwrap();
        let is_function = ["fn", "def"]
            .iter()
            .any(|keyword| text.contains(&format!("{keyword} {last}(")));
        let is_module = text.contains(&format!("mod {last};"));
        let known = is_function || is_module || last.contains('/');
        assert!(known, "no test is called {name}");
    }
    assert!(names.len() > 50, "{}", names.len());
}

#[test]
fn each_link_and_path_in_the_documents_leads_somewhere() {
    let mut broken = Vec::new();
    for (document, text) in documents() {
        let name = document.strip_prefix(root()).unwrap().display();
        let prose: String = text.split("```").step_by(2).collect();
        let links = prose
            .split("](")
            .skip(1)
            .map(|rest| rest.split(')').next().unwrap());
        for link in links.filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => document.clone(),
                path => document.with_file_name(path),
            };
            let has_anchor = || anchors(&fs::read_to_string(&target).unwrap()).contains(anchor);
            if !target.exists() || (!anchor.is_empty() && !has_anchor()) {
                broken.push(format!("{name}: {link}"));
            }
        }
        for path in quoted(&text) {
            let is_path = NAMED.iter().any(|folder| path.starts_with(folder))
                && !path.contains(['*', '…', ' ']);
            if is_path && !root().join(path).exists() {
                broken.push(format!("{name}: {path}"));
            }
        }
    }
    assert_eq!(broken, [""; 0]);
}

/// A walkthrough names each function with its file: `name` (`path`).
#[test]
fn each_function_in_the_walkthroughs_exists() {
    let text = include_str!("../../ARCHITECTURE.md");
    let mut named = 0;
    for (at, separator) in text.match_indices("` (`") {
        let name = text[..at].rsplit('`').next().unwrap();
        let path = text[at + separator.len()..].split('`').next().unwrap();
        if !path.ends_with(".rs") {
            continue;
        }
        let file = fs::read_to_string(root().join(path)).unwrap_or_default();
        let is_there = ["(", "<"]
            .iter()
            .any(|end| file.contains(&format!("fn {name}{end}")));
        assert!(is_there, "{path} has no function {name}");
        named += 1;
    }
    assert!(named > 30, "{named}");
}

#[test]
fn each_file_of_the_mutation_testing_exists() {
    let files: Vec<_> = include_str!("../../.cargo/mutants.toml")
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\","))
        .filter(|file| file.ends_with(".rs"))
        .collect();
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        assert!(root().join(file).exists(), "{file}");
    }
}
