//! Limits of the process: core dumps, open files, and the connections that these allow.

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// Forbids core dumps, so that a crash writes no secrets to disk, and keeps other processes of the same user from
/// reading this one's memory. A failure is logged.
pub fn forbid_core_dumps() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "core dumps could not be forbidden: a crash may write secrets to disk");
    }
}

/// Raises the soft limit of open files to the hard limit, and returns it; `None` for no limit. A failure is logged,
/// and the limit in force returned.
pub fn raise_file_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
    match raised {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files could not be raised");
            current
        }
    }
}

/// Returns the connections that the data port may hold under this limit of open files: at most `wanted`, and no
/// more than leaves the gateway its own descriptors, so that probes and calls to the origin always get one. A lower
/// number than wanted is logged with its remedy.
#[must_use]
pub fn connections_allowed(limit: Option<u64>, wanted: u32) -> u32 {
    let granted = limit.map_or(wanted, |limit| connections_within(limit, wanted));
    if granted < wanted {
        tracing::warn!(
            open_files = limit,
            max_connections = wanted,
            granted,
            "listen.max_connections is lowered to what the limit of open files leaves: raise that limit \
             (ulimit -n, LimitNOFILE) to max_connections + {RESERVED}"
        );
    }
    granted
}

/// Returns the connections that a limit of open files leaves: all but [`RESERVED`], or half of a limit that is
/// smaller than twice that.
fn connections_within(limit: u64, wanted: u32) -> u32 {
    let left = limit - RESERVED.min(limit / 2);
    u32::try_from(left).map_or(wanted, |left| left.min(wanted))
}

/// Descriptors for everything but the data port's connections: calls to the origin (256), the admin and observe
/// listeners (64 each), connections being refused (64), and files, timers, pipes and the shared cache.
const RESERVED: u64 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_keeps_descriptors_for_itself() {
        for (limit, wanted, granted) in [
            (1_048_576, 20_000, 20_000),
            (u64::MAX, 20_000, 20_000),
            (20_512, 20_000, 20_000),
            (20_511, 20_000, 19_999),
            (1024, 20_000, 512),
            (256, 20_000, 128),
            (1024, 100, 100),
        ] {
            assert_eq!(connections_within(limit, wanted), granted, "{limit}");
        }
    }
}
