//! What the process asks of the kernel for itself.

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// Keeps the kernel from writing this process's memory, and the secrets in it, to a core file, and
/// other processes of the same user from reading it.
pub fn forbid_core_dumps() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "core dumps could not be forbidden: a crash may write secrets to disk");
    }
}

/// Lets this process open as many files as it may, and warns when that is too few for `connections`.
pub fn raise_file_limit(connections: u32) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    ) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    let (granted, wanted) = (maximum.or(current), u64::from(connections) + 512);
    if granted.is_some_and(|granted| granted < wanted) {
        tracing::warn!(
            granted,
            wanted,
            "too few open files allowed for listen.max_connections: raise the limit (ulimit -n)"
        );
    }
}
