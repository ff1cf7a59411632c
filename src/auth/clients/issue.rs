//! Issue of an access key to a new client: generated, written beside the clients' file, and added to it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use toml::Value;
use toml_edit::DocumentMut;

use super::fields;
use super::file::{ClientsFile, EditError, position, tables};
use crate::auth::Permission;
use crate::private_file::copy_access;

/// New client for the clients' file.
#[derive(Debug, Default)]
pub struct NewClient {
    /// Name, unique in the file.
    pub name: String,
    /// Permitted operations.
    pub permissions: Vec<Permission>,
    /// Workspaces whose images it may view, or `*`.
    pub workspaces: Vec<String>,
    /// Users whose PRIVATE images in those workspaces it may view, or `*`.
    pub users: Vec<String>,
    /// May view PUBLIC images without a workspace.
    pub official: bool,
    /// Limit of requests; unlimited without one.
    pub requests_per_second: Option<u32>,
    /// Limit of misses; the default without one.
    pub misses_per_second: Option<u32>,
}

/// Issued access key. The secret is stored in its file alone, so the caller must show it now or never.
pub struct IssuedKey {
    /// AccessKeyId for the client's SDK.
    pub access_key_id: String,
    /// AccessKeySecret for the client's SDK.
    pub secret: SecretString,
    /// File with the secret, of mode 0600.
    pub secret_file: PathBuf,
}

impl NewClient {
    /// Generates a key, writes its secret beside the clients' file and adds the client to the end of that. A running
    /// gateway reloads the file by itself.
    ///
    /// # Errors
    /// [`EditError`]; the files are then as before.
    pub fn issue(&self, file: &mut ClientsFile) -> Result<IssuedKey, EditError> {
        if !fields::is_name(&self.name) {
            return Err(EditError::Name);
        }
        let is_known = |document: &mut DocumentMut| {
            let known = tables(document, &file.path);
            known.is_ok_and(|tables| position(tables, &self.name).is_ok())
        };
        if is_known(&mut file.document()?) {
            return Err(EditError::Exists(self.name.clone()));
        }
        let file_name = format!("{}.secret", self.name);
        let issued = IssuedKey {
            access_key_id: format!("GW{}", draw(20)?.to_ascii_uppercase()),
            secret: draw_secret()?,
            secret_file: file.beside(&file_name),
        };
        issued
            .write_secret(None)
            .map_err(EditError::at(&issued.secret_file))?;
        let table = self.table(&issued.access_key_id, &file_name);
        if let Err(error) = file.save(format!("{}{table}", file.text)) {
            fs::remove_file(&issued.secret_file).map_err(EditError::at(&issued.secret_file))?;
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
    /// Writes the secret to its file, which must not exist, with the mode and owner of another secret's file if there is
    /// one: the gateway may run as another user than this command.
    pub(super) fn write_secret(&self, like: Option<&Path>) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.secret_file)?;
        let write = |file: &mut File| {
            if let Some(like) = like.and_then(|like| fs::metadata(like).ok()) {
                copy_access(file, &like)?;
            }
            writeln!(file, "{}", self.secret.expose_secret())?;
            file.sync_all()
        };
        write(&mut file).inspect_err(|_| drop(fs::remove_file(&self.secret_file)))
    }
}

/// Generates the secret of an access key.
pub(super) fn draw_secret() -> Result<SecretString, EditError> {
    Ok(SecretString::from(draw(40)?))
}

/// Generates random letters and digits, uniformly distributed.
fn draw(length: usize) -> Result<String, EditError> {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut drawn = String::with_capacity(length);
    while drawn.len() < length {
        let mut bytes = [0; 64];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| EditError::Random)?;
        let fair = bytes
            .into_iter()
            // Bytes from 248 (4 × 62) on are skipped, because they would favour the first letters.
            .filter(|byte| *byte < 248)
            .map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
        drawn.extend(fair.take(length - drawn.len()));
    }
    Ok(drawn)
}
