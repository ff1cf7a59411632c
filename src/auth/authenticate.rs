//! Authentication of a request, by any form of credential.
//!
//! An `Authorization` header decides first: a bearer token, or a [`signature`]. Without one, a client certificate
//! does. The certificate also decides if the signature is by a key that this gateway did not issue, because an SDK
//! signs every request, with some key.

mod signature;

use std::sync::Arc;

use aws_lc_rs::digest;
use http::request::Parts;
use jiff::Timestamp;

use super::headers::{AuthHeaders, Header};
use super::{AuthError, Client, Clients, Principal, WriteProof};
use crate::api::Action;
use crate::peer::Peer;
use crate::signing::{Algorithm, RequestHeaders, hex};
use signature::SignedRequest;

/// Result of a successful authentication.
#[derive(Debug, Clone)]
pub struct Authenticated {
    /// Principal that the request acts for.
    pub principal: Principal,
    /// Requirement on the request's body, to be checked once it has arrived.
    pub body: BodyProof,
    /// Identity of a signed write, which makes a repetition detectable; `None` for a read, and where the connection
    /// itself authenticates the client.
    /// Boxed, because nearly every request is a read.
    pub write: Option<Box<WriteProof>>,
    /// Error of a signature that was ignored in favour of the client certificate.
    pub(super) ignored_signature: Option<AuthError>,
}

/// Signed statement about a body that has not been read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyProof {
    /// No statement: the connection protects the body, or there is none.
    Unsigned,
    /// Hash of the body by the signature's algorithm, in lower-case hexadecimal.
    Hash(Algorithm, String),
}

impl BodyProof {
    /// Checks that a body is the one that was signed.
    ///
    /// # Errors
    /// [`AuthError::Body`] if its hash differs.
    pub fn check(&self, body: &[u8]) -> Result<(), AuthError> {
        match self {
            Self::Unsigned => Ok(()),
            Self::Hash(algorithm, signed) if *signed == hex(&algorithm.hash(body)) => Ok(()),
            Self::Hash(..) => Err(AuthError::Body),
        }
    }
}

impl Authenticated {
    /// Returns the result for a gateway without authentication.
    #[must_use]
    pub const fn anonymous() -> Self {
        Self {
            principal: Principal::Anonymous,
            body: BodyProof::Unsigned,
            write: None,
            ignored_signature: None,
        }
    }

    fn without_signature(client: Arc<Client>) -> Self {
        Self {
            principal: Principal::Client(client),
            ..Self::anonymous()
        }
    }
}

/// Detail of [`AuthError::Exposed`] for a bearer token.
const EXPOSED_TOKEN: &str = "a bearer token is taken only over TLS, loopback or a Unix socket";

/// Authenticates a request by its head. `action` is the operation of its path, `Unknown` if there is none.
pub(super) fn authenticate(
    clients: &Clients,
    head: &Parts,
    peer: &Peer,
    action: Action,
    now: Timestamp,
) -> Result<Authenticated, AuthError> {
    let all = RequestHeaders::of_request(head);
    let headers = AuthHeaders::find(&all);
    let credential = headers
        .optional(Header::Authorization)
        .map_err(|_| AuthError::Unreadable("one Authorization header is"))?;
    let Some(credential) = credential else {
        return without_authorization(clients, &headers, peer);
    };
    if let Some(token) = credential.strip_prefix("Bearer ") {
        return by_bearer_token(clients, token, peer);
    }
    let request = SignedRequest {
        clients,
        head,
        all: &all,
        headers: &headers,
        action,
        now,
    };
    let signed = if credential.starts_with("acs ") {
        request.by_roa(credential, peer)
    } else {
        request.by_acs3(credential)
    };
    signed.or_else(|error| certificate_instead(clients, peer, error))
}

/// Authenticates by the client certificate after a signature by a key that this gateway did not issue. Any other
/// error of the signature stands.
fn certificate_instead(
    clients: &Clients,
    peer: &Peer,
    error: AuthError,
) -> Result<Authenticated, AuthError> {
    let client = by_certificate(clients, peer)
        .filter(|_| matches!(error, AuthError::UnknownKey | AuthError::CloudKey))
        .ok_or(error)?;
    Ok(Authenticated {
        ignored_signature: Some(error),
        ..Authenticated::without_signature(client)
    })
}

fn by_certificate(clients: &Clients, peer: &Peer) -> Option<Arc<Client>> {
    peer.names
        .iter()
        .find_map(|name| clients.by_certificate_name(name))
}

fn without_authorization(
    clients: &Clients,
    headers: &AuthHeaders<'_>,
    peer: &Peer,
) -> Result<Authenticated, AuthError> {
    if let Some(token) = headers.optional(Header::BearerToken)? {
        return by_bearer_token(clients, token, peer);
    }
    if peer.names.is_empty() {
        return Err(AuthError::NoCredential);
    }
    by_certificate(clients, peer)
        .map(Authenticated::without_signature)
        .ok_or(AuthError::UnknownKey)
}

fn by_bearer_token(
    clients: &Clients,
    token: &str,
    peer: &Peer,
) -> Result<Authenticated, AuthError> {
    if !peer.is_private() {
        return Err(AuthError::Exposed(EXPOSED_TOKEN));
    }
    // Looked up by its hash, so that the duration of the search reveals nothing about issued tokens.
    let hash = digest::digest(&digest::SHA256, token.trim().as_bytes());
    clients
        .by_token(hash.as_ref())
        .map(Authenticated::without_signature)
        .ok_or(AuthError::UnknownKey)
}

#[cfg(test)]
mod tests;
