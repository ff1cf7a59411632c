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
use super::kubernetes::{ServiceAccounts, is_jwt};
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

/// Credentials that the operator has issued or accepts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Issued<'a> {
    pub(super) clients: &'a Clients,
    /// Verifier of tokens that a cluster issues; `None` where none is accepted.
    pub(super) service_accounts: Option<&'a ServiceAccounts>,
}

/// Authenticates a request by its head. `action` is the operation of its path, `Unknown` if there is none.
pub(super) fn authenticate(
    issued: Issued<'_>,
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
        return without_authorization(issued, &headers, peer, now);
    };
    if let Some(token) = credential.strip_prefix("Bearer ") {
        return by_bearer_token(issued, token, peer, now);
    }
    let clients = issued.clients;
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
    issued: Issued<'_>,
    headers: &AuthHeaders<'_>,
    peer: &Peer,
    now: Timestamp,
) -> Result<Authenticated, AuthError> {
    if let Some(token) = headers.optional(Header::BearerToken)? {
        return by_bearer_token(issued, token, peer, now);
    }
    if peer.names.is_empty() {
        return Err(AuthError::NoCredential);
    }
    by_certificate(issued.clients, peer)
        .map(Authenticated::without_signature)
        .ok_or(AuthError::UnknownKey)
}

fn by_bearer_token(
    issued: Issued<'_>,
    token: &str,
    peer: &Peer,
    now: Timestamp,
) -> Result<Authenticated, AuthError> {
    if !peer.is_private() {
        return Err(AuthError::Exposed(EXPOSED_TOKEN));
    }
    // Looked up by its hash, so that the duration of the search reveals nothing about issued tokens.
    let token = token.trim();
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    if let Some(client) = issued.clients.by_token(&hash) {
        return Ok(Authenticated::without_signature(client));
    }
    match issued.service_accounts.filter(|_| is_jwt(token)) {
        Some(accounts) => accounts
            .client(token, hash, issued.clients, now)
            .map(Authenticated::without_signature)
            .map_err(AuthError::Token),
        None => Err(AuthError::UnknownKey),
    }
}

#[cfg(test)]
mod tests;
