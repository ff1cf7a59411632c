//! A session's key for an RSA key pair, which the vendor has on its Japanese site alone.
//!
//! The vendor's present credentials libraries sign this request with HMAC-SHA1 under the text of the
//! private key, which a server that knows the public key cannot check. What is sent here is the request
//! of its older SDKs, with a real signature: `SHA256withRSA`, and the key's id as `PublicKeyId` too.

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::SourceError;
use super::answer::Grant;
use super::client::Client;
use super::context::read;
use super::sts::{Sts, timestamp};
use crate::signing::rpc::{self, Parameters, rsa};

/// A key pair, and who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyPair {
    pub(super) public_key_id: String,
    pub(super) private_key_file: String,
    pub(super) sts: Sts,
}

const WHO: &str = "STS (GenerateSessionAccessKey)";

impl KeyPair {
    /// Reads the private key and asks for a session's key.
    pub(super) async fn load(&self, client: &Client) -> Result<Grant, SourceError> {
        let key = read("private_key_file", &self.private_key_file).await?;
        let key = SecretString::from(key);
        let signed = |now| {
            let nonce = format!("{:032x}", fastrand::u128(..));
            self.signed(&key, now, nonce)
        };
        let object = self.sts.answer(WHO, signed, client).await?;
        Grant::session(WHO, object.get("SessionAccessKey"))
    }

    fn signed(
        &self,
        key: &SecretString,
        now: Timestamp,
        nonce: String,
    ) -> Result<Parameters, SourceError> {
        let mut parameters = vec![
            ("Action", "GenerateSessionAccessKey".to_owned()),
            ("Format", "JSON".to_owned()),
            ("Version", "2015-04-01".to_owned()),
            ("DurationSeconds", "3600".to_owned()),
            ("PublicKeyId", self.public_key_id.clone()),
            ("SignatureMethod", rsa::METHOD.to_owned()),
            ("SignatureType", rsa::TYPE.to_owned()),
            ("SignatureVersion", "1.0".to_owned()),
            ("Timestamp", timestamp(now)),
            ("SignatureNonce", nonce),
            ("AccessKeyId", self.public_key_id.clone()),
        ];
        let pairs = parameters
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        let text = rpc::string_to_sign("GET", pairs);
        let signature =
            rsa::signature(&text, key.expose_secret()).map_err(|error| SourceError::Profile {
                path: self.private_key_file.clone(),
                problem: error.to_string(),
            })?;
        parameters.push(("Signature", signature));
        Ok(parameters)
    }
}
