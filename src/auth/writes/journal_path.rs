//! Default path of the journal of write nonces.

use std::path::{Path, PathBuf};

/// Returns the path of the journal: the configured one; else beside the snapshot; else in systemd's state folder,
/// `$STATE_DIRECTORY`; else beside the clients' file, whose folder is writable where `client add` is used.
#[must_use]
pub fn journal_path(
    set: Option<&str>,
    snapshot: Option<&str>,
    state_folder: Option<&str>,
    clients_file: &str,
) -> PathBuf {
    let beside = |path: &str| PathBuf::from(format!("{path}.write-nonces"));
    let folder = state_folder.and_then(|folders| folders.split(':').next());
    set.map(PathBuf::from)
        .or_else(|| snapshot.map(beside))
        .or_else(|| folder.map(|folder| Path::new(folder).join("write-nonces")))
        .unwrap_or_else(|| beside(clients_file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_place_that_is_known_is_taken() {
        let clients = "/etc/pai/clients.toml";
        let path_of = |set, snapshot, state| journal_path(set, snapshot, state, clients);
        let all = (Some("/a/journal"), Some("/b/images"), Some("/c:/d"));
        assert_eq!(path_of(all.0, all.1, all.2), Path::new("/a/journal"));
        assert_eq!(
            path_of(None, all.1, all.2),
            Path::new("/b/images.write-nonces")
        );
        assert_eq!(path_of(None, None, all.2), Path::new("/c/write-nonces"));
        let last = Path::new("/etc/pai/clients.toml.write-nonces");
        assert_eq!(path_of(None, None, None), last);
    }
}
