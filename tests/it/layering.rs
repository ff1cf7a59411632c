//! Directions between the modules of `src`, and the promises of single modules, checked against the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Each module and those that it may use, from the ground up. A row names only modules of rows above it, so the table
/// has no cycle. `emulator` is a crate, which the gateway itself must not reach.
const ALLOWED: &str = "
    emulator:
    observability:
    upstream: observability
    cache: observability upstream
    auth: cache observability
    shared_cache: cache observability upstream
    admin: auth cache observability shared_cache upstream
    response: auth cache observability upstream
    gateway: auth cache observability response shared_cache upstream
    config: admin auth cache gateway observability shared_cache upstream
    app: admin auth cache config gateway observability shared_cache upstream
    cli: admin app auth cache config emulator gateway observability shared_cache upstream
";

/// Names in `crate::…` of crates that every module may use.
const CRATES: [&str; 13] = [
    "api",
    "signing",
    "clock",
    "credentials",
    "bounded_read",
    "environment",
    "error_chain",
    "private_file",
    "units",
    "body",
    "peer",
    "server",
    "transport",
];

/// Pure code that does not know the runtime or HTTP connections either.
const BELOW_THE_RUNTIME: [&str; 15] = [
    "crates/pai-api",
    "crates/aliyun-auth/algorithm",
    "crates/aliyun-auth/authorization",
    "crates/aliyun-auth/canonical",
    "crates/aliyun-auth/headers",
    "crates/aliyun-auth/hex",
    "crates/aliyun-auth/identity",
    "crates/aliyun-auth/key",
    "crates/aliyun-auth/path_encodings",
    "crates/aliyun-auth/roa",
    "crates/aliyun-auth/rpc",
    "crates/aliyun-auth/sign",
    "crates/aliyun-auth/verify",
    "crates/host/units",
    "observability/outcome",
];

#[test]
fn each_module_uses_only_modules_below_it() {
    let allowed = BTreeMap::from_iter(rows());
    let mut wrong = BTreeSet::new();
    for source in sources().iter().filter(|source| !source.is_root()) {
        let Some(allowed) = allowed.get(source.module()) else {
            continue;
        };
        for used in source.uses() {
            if used != source.module() && !allowed.contains(&used) && !CRATES.contains(&used) {
                wrong.insert(format!("{} uses {used}", source.name));
            }
        }
    }
    assert!(wrong.is_empty(), "not in ALLOWED: {wrong:#?}");
}

#[test]
fn the_table_has_a_row_for_each_module_and_no_cycle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let declared = code_of(&fs::read_to_string(root).unwrap());
    let mut declared: BTreeSet<_> = declared
        .lines()
        .filter_map(|line| {
            line.trim_start_matches("pub ")
                .strip_prefix("mod ")?
                .strip_suffix(';')
        })
        .collect();
    declared.insert("emulator");
    let rows = rows();
    assert_eq!(
        BTreeSet::from_iter(rows.iter().map(|(module, _)| *module)),
        declared
    );
    for (at, (module, allowed)) in rows.iter().enumerate() {
        for used in allowed {
            let is_above = rows[..at].iter().any(|(above, _)| above == used);
            assert!(
                is_above,
                "{module} may use {used}, whose row must be above its own"
            );
        }
    }
}

#[test]
fn the_table_allows_nothing_that_no_file_needs() {
    let sources = sources();
    for (module, allowed) in rows() {
        let files = sources.iter().filter(|source| source.module() == module);
        let used: BTreeSet<_> = files.flat_map(Source::uses).collect();
        for name in allowed {
            assert!(used.contains(name), "{module} does not use {name} any more");
        }
    }
}

#[test]
fn pure_modules_have_no_clock_no_randomness_and_no_io() {
    let impure = [
        "::now()",
        "fastrand::",
        "tokio::spawn",
        "std::fs",
        "std::env",
        "async fn",
    ];
    let pure = [
        "upstream/via",
        "cache/freshness",
        "cache/explain",
        "upstream/classify",
        "upstream/breaker",
        "upstream/freshness",
        "upstream/pace",
        "upstream/parent/freshness",
        "shared_cache/clock",
        "shared_cache/lease",
        "shared_cache/key_names",
        "shared_cache/invalidation_state",
        "shared_cache/log",
        "shared_cache/outbox",
        "shared_cache/watermarks",
        "shared_cache/value",
        "gateway/directives",
        "auth/kubernetes/keys",
        "auth/kubernetes/token",
    ];
    assert_eq!(containing(&pure, &impure), [""; 0]);
    assert_eq!(containing(&BELOW_THE_RUNTIME, &impure), [""; 0]);
    assert_eq!(
        containing(&BELOW_THE_RUNTIME, &["tokio::", "hyper::"]),
        [""; 0]
    );
}

#[test]
fn the_environment_is_read_in_one_place() {
    let sources = sources();
    let readers = sources
        .iter()
        .filter(|source| source.code.contains("env::var"));
    let readers: Vec<_> = readers.map(|source| source.name.as_str()).collect();
    assert_eq!(readers, ["cli"]);
}

/// Splits [`ALLOWED`] into rows: a module and those that it may use.
fn rows() -> Vec<(&'static str, Vec<&'static str>)> {
    let rows = ALLOWED
        .lines()
        .filter_map(|line| line.trim().split_once(':'));
    rows.map(|(module, allowed)| (module, allowed.split_whitespace().collect()))
        .collect()
}

/// Lists the files of some modules that contain one of these texts.
fn containing(modules: &[&str], texts: &[&str]) -> Vec<String> {
    let sources = sources();
    let mut found = Vec::new();
    for module in modules {
        let inside = format!("{module}/");
        let mut files = sources
            .iter()
            .filter(|source| source.name == *module || source.name.starts_with(&inside))
            .peekable();
        assert!(files.peek().is_some(), "there is no {module}");
        for source in files {
            let has = |text: &&&str| source.code.contains(**text);
            let text = texts.iter().find(has);
            found.extend(text.map(|text| format!("{} has {text}", source.name)));
        }
    }
    found
}

/// Source file without comments and unit tests.
struct Source {
    /// Path below `src`, without `.rs`; `crates/NAME/…` for a file of another crate.
    name: String,
    code: String,
}

impl Source {
    fn module(&self) -> &str {
        self.name.split('/').next().unwrap()
    }

    fn is_root(&self) -> bool {
        ["lib", "main"].contains(&self.name.as_str())
    }

    /// Lists the modules at the crate's root that the file names: by paths from `crate`, or by as many `super` as lead
    /// there.
    fn uses(&self) -> BTreeSet<&str> {
        let supers = "super::".repeat(self.name.split('/').count());
        let mut names = BTreeSet::new();
        for root in ["crate::", &supers] {
            for (at, _) in self.code.match_indices(root) {
                let before = self.code[..at].chars().next_back();
                if !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                    names.extend(first_names(&self.code[at + root.len()..]));
                }
            }
        }
        // An inner module names its parents too, and imports all of them with `*`.
        names.retain(|name| !name.is_empty() && *name != "super");
        names
    }
}

/// Returns the first name of a path, or each first name in a group such as `{a::b, c::{d, e}}`.
fn first_names(path: &str) -> Vec<&str> {
    let name = |text: &str| -> usize {
        text.find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(text.len())
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![&path[..name(path)]];
    };
    let (mut depth, mut start, mut names) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let item = group[start..at].trim_start();
                names.push(&item[..name(item)]);
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn paths_and_groups_of_paths_are_read() {
    assert_eq!(first_names("a::b;"), ["a"]);
    assert_eq!(
        first_names("{a::{b, c}, d,\n    e::f};\nuse g::h;"),
        ["a", "d", "e"]
    );
    let source = Source {
        name: "one/two".to_owned(),
        code:
            "use super::super::three::X; use super::four; $crate::five!() super::super::super::six"
                .to_owned(),
    };
    assert_eq!(source.uses(), BTreeSet::from(["five", "three"]));
}

/// Reads every source file of the repository but those of unit tests.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src"), root.join("crates")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_test = ["tests", "tests.rs", "testing.rs"]
                .iter()
                .any(|name| path.ends_with(name));
            if path.is_dir() && !is_test {
                folders.push(path);
            } else if path.extension().is_some_and(|name| name == "rs") && !is_test {
                let name = path.strip_prefix(root).unwrap().with_extension("");
                let name = name.to_str().unwrap().replace("/src/", "/");
                found.push(Source {
                    name: name.strip_prefix("src/").unwrap_or(&name).to_owned(),
                    code: code_of(&fs::read_to_string(&path).unwrap()),
                });
            }
        }
    }
    found
}

/// Drops the module of unit tests at the end, and every line that is a comment.
fn code_of(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}
