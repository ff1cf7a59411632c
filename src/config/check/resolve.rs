//! What must hold of the `[resolve]` settings.

use crate::gateway::ResolveConfig;
use crate::units::HumanDuration;

/// What an answer needs for each id at least, in bytes.
const LEAST: u64 = 1024;
/// Nobody waits for longer.
const LONGEST: HumanDuration = HumanDuration::secs(600);

/// Every rule of the section.
pub(super) fn check(resolve: &ResolveConfig, rule: &mut impl FnMut(&str, bool, &str)) {
    rule(
        "resolve.max_ids",
        (1..=10_000).contains(&resolve.max_ids),
        "write a number from 1 to 10000",
    );
    rule(
        "resolve.concurrency",
        (1..=1000).contains(&resolve.concurrency),
        "write a number from 1 to 1000",
    );
    rule(
        "resolve.deadline",
        !resolve.deadline.0.is_zero() && resolve.deadline <= LONGEST,
        "write a duration above 0 and at most \"10m\", such as \"30s\"",
    );
    rule(
        "resolve.max_answer",
        resolve.max_answer.0 >= u64::from(resolve.max_ids) * LEAST,
        "write at least 1KiB for each of resolve.max_ids",
    );
}
