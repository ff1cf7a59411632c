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

use super::named::{Covered, Header, Named};
use super::nonces::Room;
use super::{Client, Clients, Principal, Refused, WriteProof};
use crate::api::{self, Action};
use crate::peer::Peer;
use crate::signing::{self, Algorithm, Lines, WINDOW_SECONDS, hex, roa};

/// A request that was let in.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// Whom it speaks for.
    pub principal: Principal,
    /// What its body must be.
    pub body: BodyProof,
    /// What makes a signed write unique; nothing for a read, or where the connection vouches.
    pub write: Option<WriteProof>,
    /// Why its signature was passed over, where the key was not issued here and a client certificate
    /// decided.
    pub(super) foreign_key: Option<Refused>,
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
    /// [`Refused::Body`] if not.
    pub fn check(&self, body: &[u8]) -> Result<(), Refused> {
        match self {
            Self::Unsigned => Ok(()),
            Self::Hash(algorithm, signed) if *signed == hex(&algorithm.hash(body)) => Ok(()),
            Self::Hash(..) => Err(Refused::Body),
        }
    }
}

impl SignedIn {
    /// Where nobody signs in.
    #[must_use]
    pub const fn anonymous() -> Self {
        Self {
            principal: Principal::Anonymous,
            body: BodyProof::Unsigned,
            write: None,
            foreign_key: None,
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
const OPEN_TOKEN: &str = "a bearer token is taken only over TLS, loopback or a Unix socket";
/// Whoever changes the body on its way leaves this signature valid, on loopback too.
const OPEN_BODY: &str = "an ROA v2 signature does not cover the body, so a write with it is taken only over TLS or a Unix socket: sign with ACS3-HMAC-SHA256";
/// Keys of the cloud itself begin so.
const CLOUD_KEY: &str = "LTAI";

/// Tells who sends a request. `action` is what its path asks for, `Unknown` for no operation.
pub(super) fn sign_in(
    clients: &Clients,
    head: &Parts,
    peer: &Peer,
    action: Action,
    now: Timestamp,
) -> Result<SignedIn, Refused> {
    let named = Named::of(&head.headers);
    let credential = named
        .once(Header::Authorization)
        .map_err(|_| Refused::Unreadable("one Authorization header is"))?;
    let Some(credential) = credential else {
        return without_authorization(clients, &named, peer);
    };
    if let Some(token) = credential.strip_prefix("Bearer ") {
        return bearer(clients, token, peer);
    }
    let signed = if credential.starts_with("acs ") {
        by_roa(clients, (head, &named), peer, action, now, credential)
    } else {
        by_acs3(clients, (head, &named), action, now, credential)
    };
    signed.or_else(|refused| instead_by_certificate(clients, peer, refused))
}

/// Signs a client in by its certificate where its key was not issued here: an SDK cannot be kept from
/// signing, so it signs with some key even where the certificate is the credential.
fn instead_by_certificate(
    clients: &Clients,
    peer: &Peer,
    refused: Refused,
) -> Result<SignedIn, Refused> {
    let client = by_certificate(clients, peer)
        .filter(|_| matches!(refused, Refused::UnknownKey | Refused::CloudKey))
        .ok_or(refused)?;
    Ok(SignedIn {
        foreign_key: Some(refused),
        ..SignedIn::without_signature(client)
    })
}

fn by_certificate(clients: &Clients, peer: &Peer) -> Option<Arc<Client>> {
    peer.names.iter().find_map(|name| clients.by_name(name))
}

fn without_authorization(
    clients: &Clients,
    named: &Named<'_>,
    peer: &Peer,
) -> Result<SignedIn, Refused> {
    if let Some(token) = named.once(Header::BearerToken)? {
        return bearer(clients, token, peer);
    }
    if peer.names.is_empty() {
        return Err(Refused::NoCredential);
    }
    by_certificate(clients, peer)
        .map(SignedIn::without_signature)
        .ok_or(Refused::UnknownKey)
}

fn bearer(clients: &Clients, token: &str, peer: &Peer) -> Result<SignedIn, Refused> {
    if !peer.is_private() {
        return Err(Refused::Exposed(OPEN_TOKEN));
    }
    // Found by its hash: how long that takes tells nothing about a token that is known.
    let hash = digest::digest(&digest::SHA256, token.trim().as_bytes());
    clients
        .by_token(hash.as_ref())
        .map(SignedIn::without_signature)
        .ok_or(Refused::UnknownKey)
}

fn by_acs3(
    clients: &Clients,
    (head, named): (&Parts, &Named<'_>),
    action: Action,
    now: Timestamp,
    credential: &str,
) -> Result<SignedIn, Refused> {
    let authorization = signing::Authorization::parse(credential).map_err(|_| {
        Refused::Unreadable("ACS3-HMAC-SHA256 and ACS3-HMAC-SM3 are, with issued keys")
    })?;
    let client = known(clients, authorization.access_key_id)?;
    let covered = Covered::by(authorization.signed_headers);
    let signed = |header| covered.value(named, header);
    let (date, nonce) = (signed(Header::Date)?, signed(Header::Nonce)?);
    let hash = signed(Header::Hash)?;
    let date = check_date(parse_acs_date(date), now)?;
    check_version(signed(Header::Version)?)?;
    check_action(signed(Header::Action)?, action)?;
    check_token(client, named, || signed(Header::Token))?;
    let algorithm = authorization.algorithm;
    let body = if is_read(&head.method) {
        if hash != algorithm.empty_hash() {
            return Err(Refused::Body);
        }
        BodyProof::Unsigned
    } else {
        BodyProof::Hash(algorithm, hash.to_owned())
    };
    let target = (head.uri.path(), head.uri.query().unwrap_or(""));
    let lines = Lines::of_request(head);
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
    let signature = authorization.signature().ok_or(Refused::Mismatch)?;
    let signed = Signed {
        client,
        access_key_id: authorization.access_key_id,
        date,
        nonce: Some(nonce),
        signature: &signature,
        body,
    };
    signed.finish(genuine, head, action)
}

fn by_roa(
    clients: &Clients,
    (head, named): (&Parts, &Named<'_>),
    peer: &Peer,
    action: Action,
    now: Timestamp,
    credential: &str,
) -> Result<SignedIn, Refused> {
    let authorization = roa::Authorization::parse(credential)
        .map_err(|_| Refused::Unreadable("\"acs KEY:SIGNATURE\" is, with issued keys"))?;
    let client = known(clients, authorization.access_key_id)?;
    let is_unaltered = peer.encrypted || peer.address.is_none();
    if !is_unaltered && !is_read(&head.method) {
        return Err(Refused::Exposed(OPEN_BODY));
    }
    // Every x-acs- header is part of what this signature covers.
    let signed = |header| named.one(header);
    let date = httpdate::parse_http_date(signed(Header::HttpDate)?)
        .ok()
        .and_then(|date| Timestamp::try_from(date).ok());
    let date = check_date(date, now)?;
    // Older SDKs send neither: the method and the path decide, and both are signed.
    if let Some(version) = named.once(Header::Version)? {
        check_version(version)?;
    }
    if let Some(named) = named.once(Header::Action)? {
        check_action(named, action)?;
    }
    check_token(client, named, || signed(Header::Token))?;
    let nonce = named.once(Header::Nonce)?;
    if nonce.is_none() && action.is_write() {
        return Err(Refused::Unsigned(Header::Nonce.as_str()));
    }
    let target = (head.uri.path(), head.uri.query().unwrap_or(""));
    if !roa::is_unambiguous(target.1).map_err(|_| Refused::Mismatch)? {
        return Err(Refused::Ambiguous);
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
    let signature = authorization.signature().map_err(|_| Refused::Mismatch)?;
    let signed = Signed {
        client,
        access_key_id: authorization.access_key_id,
        date,
        nonce,
        signature: &signature,
        body: BodyProof::Unsigned,
    };
    signed.finish(genuine, head, action)
}

/// A request whose signature has been read.
struct Signed<'a> {
    client: &'a Arc<Client>,
    access_key_id: &'a str,
    date: Timestamp,
    nonce: Option<&'a str>,
    signature: &'a [u8],
    body: BodyProof,
}

impl Signed<'_> {
    /// Ends both ways to sign in. The nonce counts only for who has signed.
    fn finish(self, genuine: bool, head: &Parts, action: Action) -> Result<SignedIn, Refused> {
        if !genuine {
            return Err(Refused::Mismatch);
        }
        let Some(nonce) = self.nonce else {
            return Ok(self.signed_in(None));
        };
        self.note(head, nonce)?;
        let proof = action
            .is_write()
            .then(|| WriteProof::new(self.access_key_id, nonce, self.signature, self.date));
        Ok(self.signed_in(proof))
    }

    fn note(&self, head: &Parts, nonce: &str) -> Result<(), Refused> {
        let Some(nonces) = &self.client.nonces else {
            return Ok(());
        };
        let print = nonces.print(head, nonce, is_read(&head.method));
        if nonces.note(print, Instant::now())? == Room::Made
            && let Some(counted) = self.client.counted.get()
        {
            counted.nonce_dropped();
        }
        Ok(())
    }

    fn signed_in(self, write: Option<WriteProof>) -> SignedIn {
        SignedIn {
            body: self.body,
            write,
            ..SignedIn::without_signature(Arc::clone(self.client))
        }
    }
}

fn known<'a>(clients: &'a Clients, access_key_id: &str) -> Result<&'a Arc<Client>, Refused> {
    clients.by_key(access_key_id).ok_or({
        if access_key_id.starts_with(CLOUD_KEY) {
            Refused::CloudKey
        } else {
            Refused::UnknownKey
        }
    })
}

/// `2026-11-23T09:09:37Z`, to the second, as every SDK writes it.
fn parse_acs_date(text: &str) -> Option<Timestamp> {
    let plain = text.len() == 20 && text.ends_with('Z');
    text.parse().ok().filter(|_| plain)
}

fn check_date(date: Option<Timestamp>, now: Timestamp) -> Result<Timestamp, Refused> {
    let date = date.ok_or(Refused::BadDate)?;
    let off = now.as_second().abs_diff(date.as_second());
    if off <= WINDOW_SECONDS.unsigned_abs() {
        Ok(date)
    } else {
        Err(Refused::Expired)
    }
}

fn check_version(version: &str) -> Result<(), Refused> {
    if version == api::VERSION {
        Ok(())
    } else {
        Err(Refused::Version)
    }
}

fn check_action(named: &str, asked: Action) -> Result<(), Refused> {
    // A request for no operation is refused as such later.
    if asked == Action::Unknown || named == asked.as_str() {
        Ok(())
    } else {
        Err(Refused::Action)
    }
}

/// Whether a method has no body and changes nothing.
fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn check_token<'h>(
    client: &Client,
    named: &Named<'_>,
    sent: impl FnOnce() -> Result<&'h str, Refused>,
) -> Result<(), Refused> {
    let is_sent = named.has(Header::Token);
    match &client.token {
        None if !is_sent => Ok(()),
        None => Err(Refused::WrongToken),
        Some(_) if !is_sent => Err(Refused::NoToken),
        Some(token) => {
            verify_slices_are_equal(sent()?.as_bytes(), token.expose_secret().as_bytes())
                .map_err(|_| Refused::WrongToken)
        }
    }
}

#[cfg(test)]
mod tests;
