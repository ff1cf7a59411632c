//! Gateway to send the request to, and the credential to send.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::Args;
use http::Uri;
use http::uri::Scheme;
use secrecy::{ExposeSecret as _, SecretString};

use crate::config::Settings;
use crate::server::Address;
use crate::signing::Credentials;

#[derive(Debug, Args)]
pub(super) struct Target {
    /// Data port of the gateway: an IP address and port, or unix:PATH [default: as in its settings].
    #[arg(long, value_name = "ADDR", conflicts_with = "url")]
    address: Option<String>,
    /// Data port as a URL, http:// or https://, without a path.
    #[arg(long, value_name = "URL")]
    url: Option<Uri>,
    /// PEM file of root certificates to trust for https://, instead of the system's.
    #[arg(long, value_name = "FILE", requires = "url")]
    ca_file: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct CredentialArgs {
    /// Access key id that the gateway's operator issued, where auth.mode is "required".
    #[arg(long, value_name = "ID", requires = "access_key_secret_file")]
    access_key_id: Option<String>,
    /// File with the key's secret.
    #[arg(long, value_name = "FILE", requires = "access_key_id")]
    access_key_secret_file: Option<PathBuf>,
    /// File with the security token of the key, if it has one.
    #[arg(long, value_name = "FILE", requires = "access_key_id")]
    security_token_file: Option<PathBuf>,
    /// File with a bearer token to send instead of a signature.
    #[arg(long, value_name = "FILE", conflicts_with = "access_key_id")]
    bearer_file: Option<PathBuf>,
}

/// Data port of a gateway, as the command connects to it.
#[derive(Debug)]
pub(super) struct DataEndpoint {
    /// `http://` or `https://`, and the host.
    pub(super) base: String,
    /// Value of the `Host` header, which the signature covers.
    pub(super) host: String,
    /// Unix socket to connect to instead of the host.
    pub(super) unix: Option<PathBuf>,
    /// PEM file of roots to trust instead of the system's.
    pub(super) ca_file: Option<String>,
}

/// Credential of the client. It does not implement `Debug`, since it holds secrets.
pub(super) enum ClientCredential {
    Key(Credentials),
    Bearer(SecretString),
}

impl Target {
    /// Returns the gateway that the arguments, or else the settings, select.
    ///
    /// # Errors
    /// A malformed address, or settings with TLS: a certificate needs a name, so `--url`.
    pub(super) fn server(
        &self,
        settings: anyhow::Result<Settings>,
    ) -> anyhow::Result<DataEndpoint> {
        if let Some(url) = &self.url {
            return self.at(url);
        }
        let address = match &self.address {
            Some(text) => Address::parse(text, text.strip_prefix("unix:"), 0).ok_or_else(|| {
                anyhow!("--address: write an IP address and a port, or unix:PATH")
            })?,
            None => {
                let listen = settings?.listen;
                ensure!(
                    !listen.tls.is_on(),
                    "the data port speaks TLS: say by which name, --url https://NAME:PORT"
                );
                let address = listen.address();
                address.context("listen.address: write an IP address and a port")?
            }
        };
        Ok(DataEndpoint::plain(address))
    }

    fn at(&self, url: &Uri) -> anyhow::Result<DataEndpoint> {
        let form = "--url: write http:// or https://, a name and perhaps a port, and no path";
        let (Some(scheme), Some(authority), "/") = (url.scheme(), url.authority(), url.path())
        else {
            bail!("{form}");
        };
        ensure!(
            (*scheme == Scheme::HTTPS || *scheme == Scheme::HTTP)
                && url.query().is_none()
                && !authority.as_str().contains('@'),
            "{form}"
        );
        Ok(DataEndpoint {
            base: format!("{scheme}://{authority}"),
            host: authority.to_string(),
            unix: None,
            ca_file: self.ca_file.clone(),
        })
    }
}

impl DataEndpoint {
    fn plain(address: Address) -> Self {
        let (host, unix) = match address {
            Address::Tcp(address) => (address.to_string(), None),
            Address::Unix(path, _) => ("localhost".to_owned(), Some(path)),
        };
        Self {
            base: format!("http://{host}"),
            host,
            unix,
            ca_file: None,
        }
    }

    /// Tells whether the connection is private: a Unix socket, loopback or TLS.
    fn is_private(&self) -> bool {
        let is_loopback = |name: &str| {
            let bare = name.trim_matches(['[', ']']);
            name == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        };
        self.unix.is_some()
            || self.base.starts_with("https:")
            || self
                .base
                .parse::<Uri>()
                .is_ok_and(|base| base.host().is_some_and(is_loopback))
    }
}

impl fmt::Display for DataEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.unix {
            Some(path) => write!(f, "unix:{}", path.display()),
            None => f.write_str(&self.host),
        }
    }
}

impl CredentialArgs {
    /// Reads the credential from its files; `None` where no argument names one.
    ///
    /// # Errors
    /// A file that cannot be read or is empty, or a bearer token that would cross the network in the clear.
    pub(super) fn read(&self, server: &DataEndpoint) -> anyhow::Result<Option<ClientCredential>> {
        if let Some(file) = &self.bearer_file {
            ensure!(
                server.is_private(),
                "--bearer-file: a token is sent only to https://, loopback or a Unix socket: on a plain connection anybody on the way could use it"
            );
            return Ok(Some(ClientCredential::Bearer(secret(file)?)));
        }
        let (Some(id), Some(file)) = (&self.access_key_id, &self.access_key_secret_file) else {
            return Ok(None);
        };
        let token = self.security_token_file.as_deref().map(secret);
        Ok(Some(ClientCredential::Key(Credentials {
            access_key_id: id.clone(),
            access_key_secret: secret(file)?,
            security_token: token.transpose()?,
        })))
    }
}

/// Reads a secret from a file, without the white space around it.
fn secret(file: &Path) -> anyhow::Result<SecretString> {
    let text: SecretString = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read {}", file.display()))?
        .into();
    let trimmed = text.expose_secret().trim();
    ensure!(!trimmed.is_empty(), "{} is empty", file.display());
    Ok(trimmed.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str) -> anyhow::Result<DataEndpoint> {
        let target = Target {
            address: None,
            url: Some(url.parse().unwrap()),
            ca_file: None,
        };
        target.server(Err(anyhow!("no settings")))
    }

    #[test]
    fn a_url_names_a_port_and_nothing_else() {
        let server = at("https://gateway.example").unwrap();
        assert_eq!(server.base, "https://gateway.example");
        assert_eq!(server.host, "gateway.example");
        assert!(server.is_private());
        let server = at("http://[::1]:8080/").unwrap();
        assert_eq!(server.base, "http://[::1]:8080");
        assert!(server.is_private());
        assert!(!at("http://gateway.example:8080").unwrap().is_private());
        for bad in [
            "gateway:8080",
            "ftp://g",
            "http://g/api",
            "http://g?x=1",
            "http://u:p@g",
        ] {
            assert!(at(bad).is_err(), "{bad}");
        }
    }
}
