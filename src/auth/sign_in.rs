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
use super::{Client, Clients, Principal, Refused};
use crate::api::{self, Action};
use crate::peer::Peer;
use crate::signing::{self, Lines, WINDOW_SECONDS, hex, roa};

/// A request that was let in.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// Whom it speaks for.
    pub principal: Principal,
    /// What its body must be.
    pub body: BodyProof,
}

/// What was signed about a body that has not been read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyProof {
    /// Nothing: the connection vouches for it, or there is none.
    Unsigned,
    /// Its SHA-256, in lower-case hexadecimal.
    Sha256(String),
}

impl BodyProof {
    /// Whether this is the body that was signed.
    ///
    /// # Errors
    /// [`Refused::Body`] if not.
    pub fn check(&self, body: &[u8]) -> Result<(), Refused> {
        match self {
            Self::Unsigned => Ok(()),
            Self::Sha256(signed)
                if *signed == hex(digest::digest(&digest::SHA256, body).as_ref()) =>
            {
                Ok(())
            }
            Self::Sha256(_) => Err(Refused::Body),
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
        }
    }

    fn without_signature(client: Arc<Client>) -> Self {
        Self {
            principal: Principal::Client(client),
            ..Self::anonymous()
        }
    }
}

/// SHA-256 of nothing, as every SDK sends it for a request without a body.
const EMPTY_HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
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
        bearer(clients, token, peer)
    } else if credential.starts_with("acs ") {
        by_roa(clients, (head, &named), peer, action, now, credential)
    } else {
        by_acs3(clients, (head, &named), action, now, credential)
    }
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
    let known = peer.names.iter().find_map(|name| clients.by_name(name));
    known
        .map(SignedIn::without_signature)
        .ok_or(Refused::UnknownKey)
}

fn bearer(clients: &Clients, token: &str, peer: &Peer) -> Result<SignedIn, Refused> {
    if !peer.is_private() {
        return Err(Refused::Exposed("a bearer token"));
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
    let authorization = signing::Authorization::parse(credential)
        .map_err(|_| Refused::Unreadable("ACS3-HMAC-SHA256 is, with issued keys"))?;
    let client = known(clients, authorization.access_key_id)?;
    let covered = Covered::by(authorization.signed_headers);
    let signed = |header| covered.value(named, header);
    let (date, nonce) = (signed(Header::Date)?, signed(Header::Nonce)?);
    let hash = signed(Header::Hash)?;
    check_date(parse_acs_date(date), now)?;
    check_call(signed(Header::Version)?, signed(Header::Action)?, action)?;
    check_token(client, named, || signed(Header::Token))?;
    let body = if head.method == Method::GET {
        if hash != EMPTY_HASH {
            return Err(Refused::Body);
        }
        BodyProof::Unsigned
    } else {
        BodyProof::Sha256(hash.to_owned())
    };
    let target = (head.uri.path(), head.uri.query().unwrap_or(""));
    let lines = Lines::of(&head.headers);
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
    finish(client, genuine, head, nonce, body)
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
    if head.method != Method::GET && !(peer.encrypted || peer.address.is_none()) {
        return Err(Refused::Exposed(
            "a write whose signature does not cover its body",
        ));
    }
    // Every x-acs- header is part of what this signature covers.
    let signed = |header| named.one(header);
    let date = httpdate::parse_http_date(signed(Header::HttpDate)?)
        .ok()
        .and_then(|date| Timestamp::try_from(date).ok());
    check_date(date, now)?;
    check_call(signed(Header::Version)?, signed(Header::Action)?, action)?;
    check_token(client, named, || signed(Header::Token))?;
    let nonce = signed(Header::Nonce)?;
    let target = (head.uri.path(), head.uri.query().unwrap_or(""));
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
    finish(client, genuine, head, nonce, BodyProof::Unsigned)
}

/// What both signatures end with; the nonce counts only for who has signed.
fn finish(
    client: &Arc<Client>,
    genuine: bool,
    head: &Parts,
    nonce: &str,
    body: BodyProof,
) -> Result<SignedIn, Refused> {
    if !genuine {
        return Err(Refused::Mismatch);
    }
    let print = client.nonces.print(head, nonce);
    if client.nonces.note(print, Instant::now())? == Room::Made
        && let Some(counted) = client.counted.get()
    {
        counted.nonce_dropped();
    }
    Ok(SignedIn {
        principal: Principal::Client(Arc::clone(client)),
        body,
    })
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

fn check_date(date: Option<Timestamp>, now: Timestamp) -> Result<(), Refused> {
    let date = date.ok_or(Refused::BadDate)?;
    let off = now.as_second().abs_diff(date.as_second());
    if off <= WINDOW_SECONDS.unsigned_abs() {
        Ok(())
    } else {
        Err(Refused::Expired)
    }
}

fn check_call(version: &str, named: &str, asked: Action) -> Result<(), Refused> {
    if version != api::VERSION {
        return Err(Refused::Version);
    }
    // What is no operation is told so later.
    if asked != Action::Unknown && named != asked.as_str() {
        return Err(Refused::Action);
    }
    Ok(())
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
