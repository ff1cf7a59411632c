//! Certificates that the other side must show.

use std::fs;
use std::io;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

use super::BuildError;

/// Trusts the given CA file alone, else the system's roots, else (an image without any) Mozilla's.
pub(crate) fn tls(ca_file: Option<&str>) -> Result<ClientConfig, BuildError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = || {
        ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
    };
    if let Some(path) = ca_file {
        return Ok(builder()?
            .with_root_certificates(read_roots(path)?)
            .with_no_client_auth());
    }
    match builder()?.with_platform_verifier() {
        Ok(builder) => Ok(builder.with_no_client_auth()),
        Err(error) => {
            tracing::info!(%error, "no system roots to trust; using Mozilla's");
            let roots = webpki_roots::TLS_SERVER_ROOTS.to_vec();
            Ok(builder()?
                .with_root_certificates(RootCertStore { roots })
                .with_no_client_auth())
        }
    }
}

fn read_roots(path: &str) -> Result<RootCertStore, BuildError> {
    let bad = |reason: String| BuildError::CaFile {
        path: path.to_owned(),
        reason,
    };
    let pem = fs::read(path).map_err(|error: io::Error| bad(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(bad("it holds no certificate in PEM form".to_owned()));
    }
    Ok(roots)
}
