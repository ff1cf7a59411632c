//! Certificate, key and roots become what rustls shakes hands with, or a list of what is wrong.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::{Config, LoadedTls, expiry};
use host::bounded_read;

/// A file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFileError {
    /// The setting that names it.
    pub key: &'static str,
    /// Problem of the file, and its remedy.
    pub remedy: String,
}

/// Every file that cannot be used; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFileErrors(pub Vec<TlsFileError>);

impl fmt::Display for TlsFileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, TlsFileError { key, remedy }) in self.0.iter().enumerate() {
            let between = if index == 0 { "" } else { "; " };
            write!(f, "{between}{key}: {remedy}")?;
        }
        Ok(())
    }
}

impl std::error::Error for TlsFileErrors {}

const CERT_FILE: &str = "listen.tls.cert_file";
const KEY_FILE: &str = "listen.tls.key_file";
const CLIENT_CA_FILE: &str = "listen.tls.client_ca_file";

/// Reads the files that the settings name.
///
/// # Errors
/// [`TlsFileErrors`], all of them at once.
pub fn read(config: &Config) -> Result<LoadedTls, TlsFileErrors> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut bad = Vec::new();
    let chain = noted(chain(config.cert_file.as_deref()), &mut bad);
    let key = noted(key(config.key_file.as_deref(), &provider), &mut bad);
    let verifier = noted(
        verifier(config.client_ca_file.as_deref(), &provider),
        &mut bad,
    );
    let (Some(chain), Some(key), Some(verifier)) = (chain, key, verifier) else {
        return Err(TlsFileErrors(bad));
    };
    let not_after = chain.first().and_then(expiry::not_after);
    let config = build(provider, chain, key, verifier).map_err(|bad| TlsFileErrors(vec![bad]))?;
    Ok(LoadedTls {
        config: Arc::new(config),
        not_after,
    })
}

fn build(
    provider: Arc<CryptoProvider>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    verifier: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig, TlsFileError> {
    let certified = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_client_cert_verifier(verifier)
                .with_single_cert(chain, key)
        });
    let mut config = certified.map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => TlsFileError {
            key: KEY_FILE,
            remedy: format!(
                "the key is not that of the first certificate in {CERT_FILE}: name files that belong together"
            ),
        },
        error => bad(CERT_FILE, &error, "name a file whose first certificate is the server's own"),
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn chain(path: Option<&str>) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let Some(path) = path else {
        return Err(missing(CERT_FILE, KEY_FILE));
    };
    certificates(CERT_FILE, path)
}

/// A key's file is never quoted, not even what is wrong with it.
fn key(
    path: Option<&str>,
    provider: &CryptoProvider,
) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    let Some(path) = path else {
        return Err(missing(KEY_FILE, CERT_FILE));
    };
    let unusable = || {
        TlsFileError {
        key: KEY_FILE,
        remedy: "the file holds no private key in PEM form that can be used: name one with an unencrypted PKCS#8, PKCS#1 or SEC1 key".to_owned(),
    }
    };
    let key = PrivateKeyDer::from_pem_slice(&content(KEY_FILE, path)?).map_err(|_| unusable())?;
    match provider.key_provider.load_private_key(key.clone_key()) {
        Ok(_) => Ok(key),
        Err(_) => Err(unusable()),
    }
}

/// A client may come without a certificate, since it may authenticate by other means; one that it shows must
/// be of these roots.
fn verifier(
    path: Option<&str>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsFileError> {
    let Some(path) = path else {
        return Ok(WebPkiClientVerifier::no_client_auth());
    };
    let remedy = "name a file with the certificates of your clients' CA";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(CLIENT_CA_FILE, path)? {
        roots
            .add(certificate)
            .map_err(|error| bad(CLIENT_CA_FILE, &error, remedy))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| bad(CLIENT_CA_FILE, &error, remedy))
}

fn certificates(
    key: &'static str,
    path: &str,
) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let pem = content(key, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(TlsFileError {
            key,
            remedy: "the file holds no certificate in PEM form, or a broken one: name one that starts with -----BEGIN CERTIFICATE-----".to_owned(),
        }),
    }
}

fn content(key: &'static str, path: &str) -> Result<Vec<u8>, TlsFileError> {
    bounded_read::read(Path::new(path)).map_err(|error| TlsFileError {
        key,
        remedy: format!(
            "the file it names cannot be read ({error}): name one that this user may read"
        ),
    })
}

fn missing(key: &'static str, other: &str) -> TlsFileError {
    TlsFileError {
        key,
        remedy: format!("TLS needs it beside {other}: name both"),
    }
}

fn bad(key: &'static str, error: &dyn fmt::Display, remedy: &str) -> TlsFileError {
    TlsFileError {
        key,
        remedy: format!("{error}: {remedy}"),
    }
}

fn noted<T>(read: Result<T, TlsFileError>, bad: &mut Vec<TlsFileError>) -> Option<T> {
    read.map_err(|problem| bad.push(problem)).ok()
}
