//! SHA256withRSA: the signature of an RPC request by a key pair instead of a secret. The string to sign
//! is that of [`rpc`](super).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

/// The value of the `SignatureMethod` parameter.
pub const METHOD: &str = "SHA256withRSA";

/// The value of the `SignatureType` parameter.
pub const TYPE: &str = "PRIVATEKEY";

/// Why a key cannot sign; never the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No private key in PEM form was found.
    #[error("it has no private key in PEM form (-----BEGIN PRIVATE KEY-----)")]
    NoPem,
    /// A private key was found but is not one of RSA, or not of 2048 to 8192 bits.
    #[error("it is no RSA key of 2048 to 8192 bits, in PKCS#8 or PKCS#1 and without a pass phrase")]
    NoRsa,
    /// The key did not sign.
    #[error("it does not sign")]
    Unsigned,
}

/// The value of the `Signature` parameter.
///
/// # Errors
/// When the key, in PEM form, cannot sign.
pub fn signature(string_to_sign: &str, private_key: &str) -> Result<String, KeyError> {
    let key = PrivateKeyDer::from_pem_slice(private_key.as_bytes()).map_err(|_| KeyError::NoPem)?;
    let pair = match &key {
        PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
        _ => return Err(KeyError::NoRsa),
    };
    let pair = pair.map_err(|_| KeyError::NoRsa)?;
    let mut signature = vec![0; pair.public_modulus_len()];
    let text = string_to_sign.as_bytes();
    pair.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        text,
        &mut signature,
    )
    .map_err(|_| KeyError::Unsigned)?;
    Ok(STANDARD.encode(signature))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    fn pem(label: &str, der: &[u8]) -> String {
        let text = STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    }

    #[test]
    fn the_public_key_verifies_what_either_form_signs() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let pkcs8 = pair.as_der().unwrap();
        // The inner key stands behind a head of 26 bytes.
        let (pkcs8, pkcs1) = (pkcs8.as_ref(), &pkcs8.as_ref()[26..]);
        let public =
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref());
        for text in [pem("PRIVATE KEY", pkcs8), pem("RSA PRIVATE KEY", pkcs1)] {
            let signed = STANDARD
                .decode(signature("GET&%2F&a", &text).unwrap())
                .unwrap();
            public.verify(b"GET&%2F&a", &signed).unwrap();
            public.verify(b"GET&%2F&b", &signed).unwrap_err();
        }
    }

    #[test]
    fn what_is_no_rsa_key_is_refused_without_being_quoted() {
        assert_eq!(signature("", "hunter2"), Err(KeyError::NoPem));
        let broken = pem("PRIVATE KEY", b"hunter2");
        assert_eq!(signature("", &broken), Err(KeyError::NoRsa));
        let broken = pem("EC PRIVATE KEY", b"hunter2");
        assert_eq!(signature("", &broken), Err(KeyError::NoRsa));
        let broken = pem("ENCRYPTED PRIVATE KEY", b"hunter2");
        assert!(signature("", &broken).is_err());
    }
}
