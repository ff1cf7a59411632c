//! TLS of outbound connections: the certificate authorities that servers are verified against.

use std::fmt::Display;
use std::fs;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

use super::BuildError;

/// Builds a configuration that trusts the CA file alone, or without one the system's roots, or Mozilla's in a container
/// image that has none.
pub(super) fn tls(ca_file: Option<&str>) -> Result<ClientConfig, BuildError> {
    let roots = ca_file.map(read_roots).transpose()?;
    Ok(trust(roots)?.with_no_client_auth())
}

/// Begins a client's configuration that trusts these roots alone, or without any the system's, or Mozilla's.
pub fn trust(
    roots: Option<RootCertStore>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, BuildError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = || {
        ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
    };
    if let Some(roots) = roots {
        return Ok(builder()?.with_root_certificates(roots));
    }
    match builder()?.with_platform_verifier() {
        Ok(builder) => Ok(builder),
        Err(error) => {
            tracing::info!(%error, "no system roots to trust; using Mozilla's");
            let roots = webpki_roots::TLS_SERVER_ROOTS.to_vec();
            Ok(builder()?.with_root_certificates(RootCertStore { roots }))
        }
    }
}

fn read_roots(path: &str) -> Result<RootCertStore, BuildError> {
    let pem = fs::read(path).map_err(|error| bad(path, &error))?;
    roots(path, &pem)
}

/// Parses the certificates of a PEM file; `path` serves errors alone.
///
/// # Errors
/// [`BuildError::CaFile`] where it contains none, or a malformed one.
pub fn roots(path: &str, pem: &[u8]) -> Result<RootCertStore, BuildError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| bad(path, &error))?;
        roots.add(certificate).map_err(|error| bad(path, &error))?;
    }
    if roots.is_empty() {
        return Err(bad(path, &"it contains no certificate in PEM form"));
    }
    Ok(roots)
}

fn bad(path: &str, reason: &dyn Display) -> BuildError {
    BuildError::CaFile {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
