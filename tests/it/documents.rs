//! What the documents say of the code.

use std::fs;
use std::path::Path;

/// Every source file below a folder, as one text.
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

#[test]
fn each_test_that_the_threat_table_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    for folder in ["src", "tests"] {
        sources(&root.join(folder), &mut text);
    }
    let mut named = 0;
    let rows = include_str!("../../SECURITY.md")
        .lines()
        .filter(|line| line.starts_with("| A "));
    for row in rows {
        let shown_by = row.rsplit(" | ").next().unwrap();
        for name in shown_by.split('`').skip(1).step_by(2) {
            let known = match name.rsplit("::").next().unwrap() {
                function if function.contains('_') => {
                    text.contains(&format!("fn {function}("))
                        || text.contains(&format!("def {function}("))
                }
                module => text.contains(&format!("mod {module};")) || module.contains('/'),
            };
            assert!(known, "no test is called {name}");
            named += 1;
        }
    }
    assert!(named > 15, "{named}");
}
