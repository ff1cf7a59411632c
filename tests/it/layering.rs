//! The dependencies that ARCHITECTURE.md permits, compared with the sources.

use std::fs;
use std::path::{Path, PathBuf};

/// Every source file of the product, and `crates/NAME/…` of the others, with its text before its tests.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src"), root.join("crates")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            let is_test = path.ends_with("tests.rs")
                || path.components().any(|part| part.as_os_str() == "tests");
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|name| name == "rs") && !is_test {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap().to_owned();
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                let name = name.strip_prefix("src/").unwrap_or(name);
                found.push((name.replace("/src/", "/"), code));
            }
        }
    }
    found
}

/// The files that break a rule: those in `part` that contain one of `never`.
fn breaches(part: &[&str], never: &[&str]) -> Vec<String> {
    let is_in = |name: &str| {
        part.iter()
            .any(|part| name == format!("{part}.rs") || name.starts_with(&format!("{part}/")))
    };
    let sources = sources();
    assert!(
        sources.iter().any(|(name, _)| is_in(name)),
        "{part:?} is nowhere"
    );
    let guilty = |(name, code): &(String, String)| {
        let found = never.iter().find(|word| code.contains(**word))?;
        is_in(name).then(|| format!("{name} has {found}"))
    };
    sources.iter().filter_map(guilty).collect()
}

#[test]
fn the_cache_and_the_origin_do_not_know_each_other() {
    assert_eq!(
        breaches(
            &["cache"],
            &["crate::upstream", "crate::gateway", "crate::response"]
        ),
        [""; 0]
    );
    assert_eq!(
        breaches(
            &["upstream"],
            &["crate::cache", "crate::gateway", "crate::response"]
        ),
        [""; 0]
    );
}

#[test]
fn what_is_pure_knows_no_clock_no_chance_and_no_io() {
    let impure = [
        "::now()",
        "fastrand::",
        "tokio::spawn",
        "std::fs",
        "std::env",
        "async fn",
    ];
    let pure = [
        "crates/pai-api",
        "crates/aliyun-auth",
        "units",
        "observability/outcome",
        "upstream/via",
        "cache/freshness",
        "cache/explain",
        "cache/parent",
        "upstream/classify",
        "breaker",
        "shared_cache/clock",
        "shared_cache/lease",
        "shared_cache/key_names",
        "shared_cache/invalidation_state",
        "shared_cache/log",
        "shared_cache/outbox",
        "shared_cache/watermarks",
        "shared_cache/value",
        "gateway/directives",
    ];
    assert_eq!(breaches(&pure, &impure), [""; 0]);
    assert_eq!(
        breaches(
            &[
                "crates/pai-api",
                "crates/aliyun-auth",
                "units",
                "observability/outcome"
            ],
            &["tokio::", "hyper::"]
        ),
        [""; 0]
    );
}

#[test]
fn only_the_edges_know_the_settings_as_a_whole_and_the_emulator() {
    let parts = [
        "cache",
        "upstream",
        "credentials",
        "gateway",
        "server",
        "admin",
        "observability/metrics",
        "response",
        "observability/traces",
    ];
    assert_eq!(
        breaches(
            &parts,
            &[
                "crate::config",
                "crate::app",
                "crate::cli",
                "crate::emulator"
            ]
        ),
        [""; 0]
    );
    assert_eq!(
        breaches(&["app"], &["crate::emulator", "crate::cli"]),
        [""; 0]
    );
}

#[test]
fn what_all_stand_on_knows_none_of_them() {
    let parts = [
        "crate::cache",
        "crate::upstream",
        "crate::credentials",
        "crate::gateway",
        "crate::server",
    ];
    assert_eq!(
        breaches(
            &[
                "observability/metrics",
                "observability/outcome",
                "observability/top_images",
                "transport",
            ],
            &parts
        ),
        [""; 0]
    );
    assert_eq!(
        breaches(&["credentials"], &["crate::upstream", "crate::cache"]),
        [""; 0]
    );
    assert_eq!(
        breaches(
            &["observability/traces"],
            &["crate::upstream", "crate::cache", "crate::gateway"]
        ),
        [""; 0]
    );
    let above = ["crate::upstream", "crate::gateway", "crate::response"];
    assert_eq!(breaches(&["shared_cache"], &above), [""; 0]);
    assert_eq!(
        breaches(&["cache", "breaker"], &["crate::shared_cache"]),
        [""; 0]
    );
}

#[test]
fn the_environment_is_read_in_one_place() {
    let readers = breaches(
        &[
            "admin",
            "crates/pai-api",
            "crates/aliyun-auth",
            "app",
            "cache",
            "cli",
            "config",
            "credentials",
            "gateway",
            "server",
            "observability/traces",
            "upstream",
        ],
        &["std::env::var"],
    );
    assert_eq!(readers, ["cli.rs has std::env::var"]);
}
