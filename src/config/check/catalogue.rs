//! Rules for the `[catalogue]` settings.

use std::collections::HashSet;

use crate::cache::catalogue::Config;

/// Greatest page that a walk may ask for.
const MAX_PAGE: u32 = 1000;

pub(super) fn check(catalogue: &Config, rule: &mut impl FnMut(&str, bool, &str)) {
    let mut known = HashSet::new();
    rule(
        "catalogue.workspaces",
        catalogue
            .workspaces
            .iter()
            .all(|id| is_id(id) && known.insert(id)),
        "write each workspace's id once, such as [\"15945\"]",
    );
    rule(
        "catalogue.interval",
        catalogue.interval.0.as_millis() > 0,
        "write a duration above 0, such as \"30s\"",
    );
    rule(
        "catalogue.page_size",
        (1..=MAX_PAGE).contains(&catalogue.page_size),
        "write a number from 1 to 1000, such as 50",
    );
    rule(
        "catalogue.max_bytes",
        catalogue.max_bytes.0 > 0,
        "write a size above 0, such as \"64MiB\"",
    );
}

fn is_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 64
        && id
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}
