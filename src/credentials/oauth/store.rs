//! Writing a sign-in back to the command line's file.
//!
//! Every other profile and field stays as it is; only the order of keys does not: objects are written
//! with their keys sorted. The file is replaced whole, by a rename, with its mode and owner kept, and
//! under the lock that the vendor's own tools take.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize as _;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value, json};

use super::SignIn;
use crate::credentials::answer::text;

/// A profile in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::credentials) struct Store {
    pub(in crate::credentials) path: String,
    pub(in crate::credentials) profile: String,
}

/// The lock is tried so often, and so long apart.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(50);

impl Store {
    /// Writes the sign-in into the profile. The error is in our own words: no text of the file.
    pub(super) async fn write(&self, sign_in: &SignIn) -> Result<(), String> {
        // Nobody is waited for without end.
        for _ in 0..TRIES {
            let (store, fields) = (self.clone(), fields(sign_in));
            let written = tokio::task::spawn_blocking(move || store.replace(fields));
            match written.await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(TryLockError::WouldBlock)) => tokio::time::sleep(PAUSE).await,
                Ok(Err(TryLockError::Error(error))) => return Err(error.to_string()),
                Err(_) => return Err("the write broke off".to_owned()),
            }
        }
        Err("another program keeps the file locked".to_owned())
    }

    fn replace(&self, fields: Map<String, Value>) -> Result<(), TryLockError> {
        // What a link points to is written, not the link.
        let path = Path::new(&self.path)
            .canonicalize()
            .map_err(TryLockError::Error)?;
        let locked = File::open(&path).map_err(TryLockError::Error)?;
        locked.try_lock()?;
        self.rewrite(&path, &locked, fields)
            .map_err(TryLockError::Error)
    }

    fn rewrite(&self, path: &Path, locked: &File, fields: Map<String, Value>) -> io::Result<()> {
        let mut file = serde_json::from_slice::<Value>(&std::fs::read(path)?)
            .map_err(|_| io::Error::other("the file is no JSON any more"))?;
        let profile = self
            .find(&mut file)
            .ok_or_else(|| io::Error::other("the file has no such OAuth profile any more"))?;
        profile.extend(fields);
        let text = written(&file)?;
        let temporary = beside(path);
        let placed = place(&temporary, path, locked, &text);
        if placed.is_err() {
            drop(std::fs::remove_file(&temporary));
        }
        placed
    }

    fn find<'a>(&self, file: &'a mut Value) -> Option<&'a mut Map<String, Value>> {
        let profiles = file.get_mut("profiles")?.as_array_mut()?;
        let is_ours = |profile: &&mut Value| {
            text(profile, "name").as_deref() == Some(&self.profile)
                && text(profile, "mode").as_deref() == Some("OAuth")
        };
        profiles.iter_mut().find(is_ours)?.as_object_mut()
    }
}

/// The sign-in in the vendor's words.
fn fields(sign_in: &SignIn) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut put = |key: &str, value: Value| drop(fields.insert(key.to_owned(), value));
    let plain = |secret: &SecretString| json!(secret.expose_secret());
    let tokens = &sign_in.tokens;
    if let Some(access) = &tokens.access {
        put("oauth_access_token", plain(access));
        put("oauth_access_token_expire", json!(tokens.expires));
    }
    if let Some(refresh) = &tokens.refresh {
        put("oauth_refresh_token", plain(refresh));
    }
    if let Some(grant) = &sign_in.grant {
        let key = &grant.credentials;
        put("access_key_id", json!(key.access_key_id));
        put("access_key_secret", plain(&key.access_key_secret));
        put("sts_token", json!(key.security_token.as_ref().map(plain)));
        let ends = grant.expires.map(|at| at.as_second());
        put("sts_expiration", json!(ends));
    }
    fields
}

/// The file's text, indented as the vendor does.
fn written(file: &Value) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut serializer =
        Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"    "));
    file.serialize(&mut serializer)?;
    Ok(text)
}

/// A new name in the same folder.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".tmp-{:016x}", fastrand::u64(..)));
    PathBuf::from(name)
}

fn place(temporary: &Path, path: &Path, old: &File, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary)?;
    file.write_all(text)?;
    let was = old.metadata()?;
    let is = file.metadata()?;
    if (was.uid(), was.gid()) != (is.uid(), is.gid()) {
        // Else its owner could not read it any more.
        fchown(&file, Some(was.uid()), Some(was.gid()))?;
    }
    file.set_permissions(Permissions::from_mode(was.mode() & 0o777))?;
    file.sync_all()?;
    std::fs::rename(temporary, path)
}
