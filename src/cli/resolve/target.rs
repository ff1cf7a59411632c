//! Gateway to send the request to, and the credential to send.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::Args;
use http::Uri;
use http::uri::Scheme;
use secrecy::{ExposeSecret as _, SecretString};

use crate::config::Settings;
use crate::server::Address;
use crate::signing::Credentials;
use crate::transport::{Endpoint, ServerIdentity};

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
    pub(super) place: Endpoint,
    /// Value of the `Host` header, which the signature covers.
    pub(super) host: String,
    pub(super) tls: Option<ServerIdentity>,
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
        let is_tls = *scheme == Scheme::HTTPS;
        ensure!(
            (is_tls || *scheme == Scheme::HTTP)
                && url.query().is_none()
                && !authority.as_str().contains('@'),
            "{form}"
        );
        let name = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority
            .port_u16()
            .unwrap_or(if is_tls { 443 } else { 80 });
        let tls = is_tls.then(|| ServerIdentity {
            name: name.clone(),
            ca_file: self.ca_file.clone(),
        });
        Ok(DataEndpoint {
            place: Endpoint::Tcp(name, port),
            host: authority.to_string(),
            tls,
        })
    }
}

impl DataEndpoint {
    fn plain(address: Address) -> Self {
        let (place, host) = match address {
            Address::Tcp(address) => (
                Endpoint::Tcp(address.ip().to_string(), address.port()),
                address.to_string(),
            ),
            Address::Unix(path, _) => (Endpoint::Unix(path), "localhost".to_owned()),
        };
        Self {
            place,
            host,
            tls: None,
        }
    }

    /// Tells whether the connection is private: a Unix socket, loopback or TLS.
    fn is_private(&self) -> bool {
        match &self.place {
            Endpoint::Unix(_) => true,
            Endpoint::Tcp(name, _) => {
                let is_loopback = |ip: std::net::IpAddr| ip.is_loopback();
                self.tls.is_some() || name == "localhost" || name.parse().is_ok_and(is_loopback)
            }
        }
    }
}

impl fmt::Display for DataEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
            Endpoint::Tcp(..) => f.write_str(&self.host),
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
        assert!(matches!(&server.place, Endpoint::Tcp(name, 443) if name == "gateway.example"));
        assert_eq!(server.host, "gateway.example");
        assert!(server.is_private());
        let server = at("http://[::1]:8080/").unwrap();
        assert!(matches!(&server.place, Endpoint::Tcp(name, 8080) if name == "::1"));
        assert!(server.is_private() && server.tls.is_none());
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
