//! A key for a new client: drawn, written beside the clients' file, and added to that.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use toml::Value;

use super::{Clients, InvalidClients, fields};
use crate::auth::Permission;
use crate::auth::nonces::Nonces;

/// Who is to be let in, and to what.
#[derive(Debug, Default)]
pub struct NewClient {
    /// What it is called.
    pub name: String,
    /// What it may do.
    pub permissions: Vec<Permission>,
    /// Whose images it sees, or `*`.
    pub workspaces: Vec<String>,
    /// Whose PRIVATE images it sees within those workspaces, or `*`.
    pub users: Vec<String>,
    /// Whether it sees PUBLIC images without a workspace.
    pub official: bool,
    /// Its budgets; without them there is no limit.
    pub requests_per_second: Option<u32>,
    /// Of what must be fetched.
    pub misses_per_second: Option<u32>,
}

/// A key as it was issued. Nothing but its secret's file keeps the secret.
pub struct IssuedKey {
    /// What the client's SDK calls AccessKeyId.
    pub access_key_id: String,
    /// What it calls AccessKeySecret.
    pub secret: SecretString,
    /// The file it is in, of mode 0600.
    pub secret_file: PathBuf,
}

/// Why no key was issued. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The name is no name.
    #[error("the client's name: {}", fields::NAMES)]
    Name,
    /// The file would not be sound with the new client, or is not sound now.
    #[error(transparent)]
    Clients(#[from] InvalidClients),
    /// A file could not be written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

impl NewClient {
    /// Draws a key, writes its secret beside the clients' file and adds the client to it. A running
    /// gateway finds it there by itself.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn issue(&self, clients_file: &Path) -> Result<IssuedKey, IssueError> {
        if !fields::is_name(&self.name) {
            return Err(IssueError::Name);
        }
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| IssueError::File { path, error }
        };
        let known = match std::fs::read_to_string(clients_file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(at(clients_file))?,
        };
        let file_name = format!("{}.secret", self.name);
        let issued = IssuedKey {
            access_key_id: format!("GW{}", draw(20)?.to_ascii_uppercase()),
            secret: SecretString::from(draw(40)?),
            secret_file: clients_file.with_file_name(&file_name),
        };
        issued.write_secret().map_err(at(&issued.secret_file))?;
        let table = self.table(&issued.access_key_id, &file_name);
        let folder = clients_file.parent().unwrap_or(Path::new(""));
        let added = Clients::parse(
            &format!("{known}{table}"),
            folder,
            &Nonces::new(&crate::auth::Config::default()),
            None,
        )
        .map_err(IssueError::from)
        .and_then(|_| append(clients_file, &table).map_err(at(clients_file)));
        if let Err(error) = added {
            std::fs::remove_file(&issued.secret_file).map_err(at(&issued.secret_file))?;
            return Err(error);
        }
        Ok(issued)
    }

    fn table(&self, access_key_id: &str, secret_file: &str) -> String {
        let list = |words: Vec<String>| Value::Array(words.into_iter().map(Value::from).collect());
        let granted = self.permissions.iter().map(|word| word.as_str().to_owned());
        let budget = |rate: Option<u32>| rate.map(|rate| Value::Integer(rate.into()));
        let lists = |words: &[String]| (!words.is_empty()).then(|| list(words.to_vec()));
        let lines = [
            ("name", Some(Value::from(self.name.as_str()))),
            ("access_key_id", Some(Value::from(access_key_id))),
            ("access_key_secret_file", Some(Value::from(secret_file))),
            ("permissions", Some(list(granted.collect()))),
            ("workspaces", lists(&self.workspaces)),
            ("users", lists(&self.users)),
            ("official", self.official.then_some(Value::Boolean(true))),
            ("requests_per_second", budget(self.requests_per_second)),
            ("misses_per_second", budget(self.misses_per_second)),
        ];
        let lines = lines
            .into_iter()
            .filter_map(|(key, value)| Some(format!("{key} = {}\n", value?)));
        format!("\n[[client]]\n{}", lines.collect::<String>())
    }
}

impl IssuedKey {
    fn write_secret(&self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.secret_file)?;
        writeln!(file, "{}", self.secret.expose_secret())?;
        file.sync_all()
    }
}

/// At once, so that whoever reads meanwhile finds the table whole or not at all.
fn append(clients_file: &Path, table: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .append(true)
        .create(true)
        .mode(0o640)
        .open(clients_file)?;
    file.write_all(table.as_bytes())?;
    file.sync_all()
}

/// So many letters and digits, each as likely as any other.
fn draw(length: usize) -> Result<String, IssueError> {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut drawn = String::with_capacity(length);
    while drawn.len() < length {
        let mut bytes = [0; 64];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| IssueError::Random)?;
        let fair = bytes
            .into_iter()
            // The multiples of 62 below 256 end there.
            .filter(|byte| *byte < 248)
            .map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
        drawn.extend(fair.take(length - drawn.len()));
    }
    Ok(drawn)
}
