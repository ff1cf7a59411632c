//! The `Authorization` header of ACS3.

use super::headers::{split, split_once};
use super::hex::unhex;
use super::{Algorithm, VerifyError};

/// Parsed value of an `Authorization` header. The signature in it is not verified yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authorization<'a> {
    /// Algorithm of the signature.
    pub algorithm: Algorithm,
    /// Id of the access key.
    pub access_key_id: &'a str,
    /// Names of the signed headers, separated by `;`.
    pub signed_headers: &'a str,
    signature: Option<[u8; 32]>,
}

impl<'a> Authorization<'a> {
    /// Parses the value of a header. Each field must occur exactly once.
    ///
    /// # Errors
    /// [`VerifyError::Unreadable`] for another algorithm or another form.
    pub fn parse(header: &'a str) -> Result<Self, VerifyError> {
        let (name, fields) = split_once(header, b' ').ok_or(VerifyError::Unreadable)?;
        let mut known = Algorithm::ALL.into_iter();
        let algorithm = known
            .find(|algorithm| algorithm.as_str() == name)
            .ok_or(VerifyError::Unreadable)?;
        let (mut id, mut headers, mut signature) = (None, None, None);
        for field in split(fields, b',') {
            let (name, value) = split_once(field.trim(), b'=').ok_or(VerifyError::Unreadable)?;
            let slot = match name {
                "Credential" => &mut id,
                "SignedHeaders" => &mut headers,
                "Signature" => &mut signature,
                _ => return Err(VerifyError::Unreadable),
            };
            if slot.replace(value).is_some() {
                return Err(VerifyError::Unreadable);
            }
        }
        match (id, headers, signature) {
            (Some(access_key_id), Some(signed_headers), Some(signature)) => Ok(Self {
                algorithm,
                access_key_id,
                signed_headers,
                signature: unhex(signature),
            }),
            _ => Err(VerifyError::Unreadable),
        }
    }

    /// Returns the decoded signature; `None` unless it is 64 hexadecimal digits. Upper and lower case decode to the
    /// same bytes, so a record of used signatures cannot be evaded by changing case.
    #[must_use]
    pub const fn signature(&self) -> Option<[u8; 32]> {
        self.signature
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorization_headers_are_read_strictly() {
        let good = "ACS3-HMAC-SHA256 Credential=AK,SignedHeaders=host;x-acs-date,Signature=00";
        let parsed = Authorization::parse(good).unwrap();
        assert_eq!(
            (
                parsed.access_key_id,
                parsed.signed_headers,
                parsed.signature
            ),
            ("AK", "host;x-acs-date", None)
        );
        assert_eq!(parsed.algorithm, Algorithm::Sha256);
        let sm3 = good.replace("SHA256", "SM3");
        let parsed = Authorization::parse(&sm3).unwrap();
        assert_eq!(parsed.algorithm, Algorithm::Sm3);
        for bad in [
            "",
            "ACS3-RSA-SHA256 Credential=AK,SignedHeaders=host,Signature=00",
            "ACS3-HMAC-SHA256Credential=AK,SignedHeaders=host,Signature=00",
            "ACS3-HMAC-SHA256 Credential=AK,SignedHeaders=host",
            "ACS3-HMAC-SHA256 Credential=AK,Credential=B,SignedHeaders=host,Signature=00",
            "ACS3-HMAC-SHA256 Credential=AK,SignedHeaders=host,Signature=00,X=1",
            "acs AK:c2ln",
        ] {
            assert_eq!(
                Authorization::parse(bad),
                Err(VerifyError::Unreadable),
                "{bad}"
            );
        }
    }
}
