//! Rules of the `[resolve]` settings: bounds of a request, and room for its whole response.

use crate::gateway::ResolveConfig;
use crate::units::HumanDuration;

/// Bytes that a response needs for each id at least.
const MIN_ANSWER_PER_ID: u64 = 1024;
/// Longest deadline of one Resolve; the command's own timeout between two lines is longer.
const MAX_DEADLINE: HumanDuration = HumanDuration::secs(600);

/// Checks the section's bounds, and that a whole response fits for the largest request.
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
        !resolve.deadline.0.is_zero() && resolve.deadline <= MAX_DEADLINE,
        "write a duration above 0 and at most \"10m\", such as \"30s\"",
    );
    rule(
        "resolve.max_answer",
        resolve.max_answer.0 >= u64::from(resolve.max_ids) * MIN_ANSWER_PER_ID,
        "write at least 1KiB for each of resolve.max_ids",
    );
}
