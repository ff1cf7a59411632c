//! Options of a server.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// The way that clients reach it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Listen {
    /// A free port on loopback.
    #[default]
    Port,
    /// Its Unix socket only.
    Socket,
}

/// Data that it has after a restart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Persistence {
    #[default]
    Nothing,
    /// The data of the last SAVE.
    Snapshots,
    /// Every command, on disk before it is answered.
    Log,
}

/// PEM files of its certificate and key, and of the authority.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) authority: PathBuf,
}

/// Options of a server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) listen: Listen,
    /// Address of its port; loopback by default.
    pub(crate) host: Option<Ipv4Addr>,
    pub(crate) persistence: Persistence,
    /// Files for TLS; the port then accepts only TLS.
    pub(crate) tls: Option<Files>,
    /// Password of the default user.
    pub(crate) password: Option<String>,
    /// Lines of an ACL file; a user for the tests' own commands is added.
    pub(crate) users: Option<String>,
    /// Maximum of memory, as `2mb`, and the eviction policy.
    pub(crate) max_memory: Option<(String, String)>,
    /// True for a node of a cluster.
    pub(crate) cluster: bool,
    /// A file of directives, which the other options override.
    pub(crate) file: Option<PathBuf>,
    /// Further directives, by name and value.
    pub(crate) more: Vec<(String, String)>,
}

impl Options {
    pub(super) fn host(&self) -> Ipv4Addr {
        self.host.unwrap_or(Ipv4Addr::LOCALHOST)
    }

    /// Adds a directive, by name and value.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.more.push((name.to_owned(), value.to_owned()));
    }

    /// Arguments of AUTH for the tests' own commands.
    pub(super) fn sign_in(&self) -> Vec<&str> {
        match (&self.users, &self.password) {
            (Some(_), _) => vec![OPERATOR, OPERATOR],
            (None, Some(password)) => vec![password],
            (None, None) => Vec::new(),
        }
    }

    /// Writes the configuration files.
    pub(super) fn write(&self, folder: &Path) {
        if let Some(users) = &self.users {
            let lines = format!("{}\n{OPERATOR_LINE}\n", users.trim_end());
            fs::write(folder.join("users.acl"), lines).unwrap();
        }
    }

    pub(super) fn arguments(&self, folder: &Path, port: u16) -> Vec<String> {
        let file = |name: &str| folder.join(name).display().to_string();
        let given = self.file.iter().map(|file| file.display().to_string());
        let mut arguments: Vec<_> = given.collect();
        let mut set = |name: &str, value: &str| {
            arguments.extend([format!("--{name}"), value.to_owned()]);
        };
        set("bind", &self.host().to_string());
        set("unixsocket", &file("socket"));
        let port = port.to_string();
        match &self.tls {
            None => set("port", &port),
            Some(files) => {
                set("port", "0");
                set("tls-port", &port);
                set("tls-cert-file", &files.certificate.display().to_string());
                set("tls-key-file", &files.key.display().to_string());
                set("tls-ca-cert-file", &files.authority.display().to_string());
                set("tls-auth-clients", "no");
            }
        }
        if self.file.is_none() {
            set("save", "");
        }
        if self.persistence == Persistence::Log {
            set("appendonly", "yes");
            set("appendfsync", "always");
        }
        if let Some(password) = &self.password {
            set("requirepass", password);
        }
        if self.users.is_some() {
            set("aclfile", &file("users.acl"));
        }
        if let Some((bytes, policy)) = &self.max_memory {
            set("maxmemory", bytes);
            set("maxmemory-policy", policy);
        }
        if self.cluster {
            set("cluster-enabled", "yes");
        }
        for (name, value) in &self.more {
            set(name, value);
        }
        arguments
    }
}

/// Name and password of the user for the tests' own commands, if users are given.
const OPERATOR: &str = "operator-of-tests";
const OPERATOR_LINE: &str = "user operator-of-tests on >operator-of-tests ~* &* +@all";
