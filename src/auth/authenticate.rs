//! Who sends a request: every form a credential comes in.
//!
//! The order of the checks decides what a request with two faults hears: form, key, what must be
//! signed, date, version, operation, token, signature, and last the nonce, so that a refused request
//! uses up none.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use http::Method;
use http::request::Parts;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::headers::{AuthHeaders, Header, SignedHeaders};
use super::nonces::Capacity;
use super::{AuthError, Client, Clients, Principal, WriteProof};
use crate::api::{self, Action};
use crate::peer::Peer;
use crate::signing::{self, Algorithm, RequestHeaders, WINDOW_SECONDS, hex, roa};

/// A request that was let in.
#[derive(Debug, Clone)]
pub struct Authenticated {
    /// Whom it speaks for.
    pub principal: Principal,
    /// What its body must be.
    pub body: BodyProof,
    /// What makes a signed write unique; nothing for a read, or where the connection vouches.
    pub write: Option<WriteProof>,
    /// Why its signature was passed over, where the key was not issued here and a client certificate
    /// decided.
    pub(super) ignored_signature: Option<AuthError>,
}

/// What was signed about a body that has not been read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyProof {
    /// Nothing: the connection vouches for it, or there is none.
    Unsigned,
    /// Its hash by the signature's algorithm, in lower-case hexadecimal.
    Hash(Algorithm, String),
}

impl BodyProof {
    /// Whether this is the body that was signed.
    ///
    /// # Errors
    /// [`AuthError::Body`] if not.
    pub fn check(&self, body: &[u8]) -> Result<(), AuthError> {
        match self {
            Self::Unsigned => Ok(()),
            Self::Hash(algorithm, signed) if *signed == hex(&algorithm.hash(body)) => Ok(()),
            Self::Hash(..) => Err(AuthError::Body),
        }
    }
}

impl Authenticated {
    /// Where nobody signs in.
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

/// Why a bearer token is refused.
const EXPOSED_TOKEN: &str = "a bearer token is taken only over TLS, loopback or a Unix socket";
/// Whoever changes the body on its way leaves this signature valid, on loopback too.
const EXPOSED_BODY: &str = "an ROA v2 signature does not cover the body, so a write with it is taken only over TLS or a Unix socket: sign with ACS3-HMAC-SHA256";
/// Keys of the cloud itself begin so.
const CLOUD_KEY_PREFIX: &str = "LTAI";

/// Tells who sends a request. `action` is what its path asks for, `Unknown` for no operation.
pub(super) fn authenticate(
    clients: &Clients,
    head: &Parts,
    peer: &Peer,
    action: Action,
    now: Timestamp,
) -> Result<Authenticated, AuthError> {
    let headers = AuthHeaders::find(&head.headers);
    let credential = headers
        .optional(Header::Authorization)
        .map_err(|_| AuthError::Unreadable("one Authorization header is"))?;
    let Some(credential) = credential else {
        return without_authorization(clients, &headers, peer);
    };
    if let Some(token) = credential.strip_prefix("Bearer ") {
        return by_bearer_token(clients, token, peer);
    }
    let signed = if credential.starts_with("acs ") {
        by_roa(clients, (head, &headers), peer, action, now, credential)
    } else {
        by_acs3(clients, (head, &headers), action, now, credential)
    };
    signed.or_else(|refused| certificate_instead(clients, peer, refused))
}

/// Signs a client in by its certificate where its key was not issued here: an SDK cannot be kept from
/// signing, so it signs with some key even where the certificate is the credential.
fn certificate_instead(
    clients: &Clients,
    peer: &Peer,
    refused: AuthError,
) -> Result<Authenticated, AuthError> {
    let client = by_certificate(clients, peer)
        .filter(|_| matches!(refused, AuthError::UnknownKey | AuthError::CloudKey))
        .ok_or(refused)?;
    Ok(Authenticated {
        ignored_signature: Some(refused),
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
    // Found by its hash: how long that takes tells nothing about a token that is known.
    let hash = digest::digest(&digest::SHA256, token.trim().as_bytes());
    clients
        .by_token(hash.as_ref())
        .map(Authenticated::without_signature)
        .ok_or(AuthError::UnknownKey)
}

fn by_acs3(
    clients: &Clients,
    (head, headers): (&Parts, &AuthHeaders<'_>),
    action: Action,
    now: Timestamp,
    credential: &str,
) -> Result<Authenticated, AuthError> {
    let authorization = signing::Authorization::parse(credential).map_err(|_| {
        AuthError::Unreadable("ACS3-HMAC-SHA256 and ACS3-HMAC-SM3 are, with issued keys")
    })?;
    let client = client_of_key(clients, authorization.access_key_id)?;
    let covered = SignedHeaders::parse(authorization.signed_headers);
    let signed = |header| covered.value(headers, header);
    let (date, nonce) = (signed(Header::Date)?, signed(Header::Nonce)?);
    let hash = signed(Header::Hash)?;
    let date = check_date(parse_acs_date(date), now)?;
    check_version(signed(Header::Version)?)?;
    check_action(signed(Header::Action)?, action)?;
    check_token(client, headers, || signed(Header::Token))?;
    let algorithm = authorization.algorithm;
    let body = if is_read(&head.method) {
        if hash != algorithm.empty_hash() {
            return Err(AuthError::Body);
        }
        BodyProof::Unsigned
    } else {
        BodyProof::Hash(algorithm, hash.to_owned())
    };
    let target = (head.uri.path(), head.uri.query().unwrap_or(""));
    let lines = RequestHeaders::of_request(head);
    let genuine = client.keys.iter().any(|key| {
        signing::verify(
            head.method.as_str(),
            target,
            &lines,
            hash,
            &authorization,
            key,
        )
        .is_ok()
    });
    let signature = authorization.signature().ok_or(AuthError::Mismatch)?;
    let request = SignedRequest {
        client,
        access_key_id: authorization.access_key_id,
        date,
        nonce: Some(nonce),
        signature: &signature,
        body,
    };
    request.finish(genuine, head, action)
}

fn by_roa(
    clients: &Clients,
    (head, headers): (&Parts, &AuthHeaders<'_>),
    peer: &Peer,
    action: Action,
    now: Timestamp,
    credential: &str,
) -> Result<Authenticated, AuthError> {
    let authorization = roa::RoaAuthorization::parse(credential)
        .map_err(|_| AuthError::Unreadable("\"acs KEY:SIGNATURE\" is, with issued keys"))?;
    let client = client_of_key(clients, authorization.access_key_id)?;
    let is_unaltered = peer.encrypted || peer.address.is_none();
    if !is_unaltered && !is_read(&head.method) {
        return Err(AuthError::Exposed(EXPOSED_BODY));
    }
    // Every x-acs- header is part of what this signature covers.
    let signed = |header| headers.required(header);
    let date = httpdate::parse_http_date(signed(Header::HttpDate)?)
        .ok()
        .and_then(|date| Timestamp::try_from(date).ok());
    let date = check_date(date, now)?;
    // Older SDKs send neither: the method and the path decide, and both are signed.
    if let Some(version) = headers.optional(Header::Version)? {
        check_version(version)?;
    }
    if let Some(name) = headers.optional(Header::Action)? {
        check_action(name, action)?;
    }
    check_token(client, headers, || signed(Header::Token))?;
    let nonce = headers.optional(Header::Nonce)?;
    if nonce.is_none() && action.is_write() {
        return Err(AuthError::Unsigned(Header::Nonce.as_str()));
    }
    let target = (head.uri.path(), head.uri.query().unwrap_or(""));
    if !roa::is_unambiguous(target.1).map_err(|_| AuthError::Mismatch)? {
        return Err(AuthError::Ambiguous);
    }
    let has_body = head.method == Method::POST;
    let genuine = client.keys.iter().any(|key| {
        roa::verify(
            head.method.as_str(),
            target,
            &head.headers,
            has_body,
            &authorization,
            key,
        )
        .is_ok()
    });
    let signature = authorization.signature().map_err(|_| AuthError::Mismatch)?;
    let request = SignedRequest {
        client,
        access_key_id: authorization.access_key_id,
        date,
        nonce,
        signature: &signature,
        body: BodyProof::Unsigned,
    };
    request.finish(genuine, head, action)
}

/// A request whose signature has been read.
struct SignedRequest<'a> {
    client: &'a Arc<Client>,
    access_key_id: &'a str,
    date: Timestamp,
    nonce: Option<&'a str>,
    signature: &'a [u8],
    body: BodyProof,
}

impl SignedRequest<'_> {
    /// Ends both ways to sign in. The nonce counts only for who has signed.
    fn finish(
        self,
        genuine: bool,
        head: &Parts,
        action: Action,
    ) -> Result<Authenticated, AuthError> {
        if !genuine {
            return Err(AuthError::Mismatch);
        }
        let Some(nonce) = self.nonce else {
            return Ok(self.authenticated(None));
        };
        self.record_nonce(head, nonce)?;
        let proof = action
            .is_write()
            .then(|| WriteProof::new(self.access_key_id, nonce, self.signature, self.date));
        Ok(self.authenticated(proof))
    }

    fn record_nonce(&self, head: &Parts, nonce: &str) -> Result<(), AuthError> {
        let Some(nonces) = &self.client.nonces else {
            return Ok(());
        };
        let fingerprint = nonces.fingerprint(head, nonce, is_read(&head.method));
        if nonces.record(fingerprint, Instant::now())? == Capacity::Evicted
            && let Some(metrics) = self.client.metrics.get()
        {
            metrics.nonce_dropped();
        }
        Ok(())
    }

    fn authenticated(self, write: Option<WriteProof>) -> Authenticated {
        Authenticated {
            body: self.body,
            write,
            ..Authenticated::without_signature(Arc::clone(self.client))
        }
    }
}

fn client_of_key<'a>(
    clients: &'a Clients,
    access_key_id: &str,
) -> Result<&'a Arc<Client>, AuthError> {
    clients.by_key(access_key_id).ok_or({
        if access_key_id.starts_with(CLOUD_KEY_PREFIX) {
            AuthError::CloudKey
        } else {
            AuthError::UnknownKey
        }
    })
}

/// `2026-11-23T09:09:37Z`, to the second, as every SDK writes it.
fn parse_acs_date(text: &str) -> Option<Timestamp> {
    let plain = text.len() == 20 && text.ends_with('Z');
    text.parse().ok().filter(|_| plain)
}

fn check_date(date: Option<Timestamp>, now: Timestamp) -> Result<Timestamp, AuthError> {
    let date = date.ok_or(AuthError::BadDate)?;
    let off = now.as_second().abs_diff(date.as_second());
    if off <= WINDOW_SECONDS.unsigned_abs() {
        Ok(date)
    } else {
        Err(AuthError::Expired)
    }
}

fn check_version(version: &str) -> Result<(), AuthError> {
    if version == api::VERSION {
        Ok(())
    } else {
        Err(AuthError::Version)
    }
}

fn check_action(name: &str, asked: Action) -> Result<(), AuthError> {
    // A request for no operation is refused as such later.
    if asked == Action::Unknown || name == asked.as_str() {
        Ok(())
    } else {
        Err(AuthError::Action)
    }
}

/// Whether a method has no body and changes nothing.
fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn check_token<'h>(
    client: &Client,
    headers: &AuthHeaders<'_>,
    sent: impl FnOnce() -> Result<&'h str, AuthError>,
) -> Result<(), AuthError> {
    let is_sent = headers.has(Header::Token);
    match &client.token {
        None if !is_sent => Ok(()),
        None => Err(AuthError::WrongToken),
        Some(_) if !is_sent => Err(AuthError::NoToken),
        Some(token) => {
            verify_slices_are_equal(sent()?.as_bytes(), token.expose_secret().as_bytes())
                .map_err(|_| AuthError::WrongToken)
        }
    }
}

#[cfg(test)]
mod tests;
