//! Who sends a request: every form a credential comes in.
//!
//! The order of the checks decides what a request with two faults hears: form, key, what must be
//! signed, date, version, operation, token, signature, and last the nonce, so that a refused request
//! uses up none.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use http::request::Parts;
use http::{Method, header};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::nonces::Room;
use super::{Client, Clients, Principal, Refused};
use crate::api::{self, Action};
use crate::peer::Peer;
use crate::signing::{self, Lines, WINDOW_SECONDS, hex, pieces, roa};

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
    let lines = Lines::of(&head.headers);
    let credential = once(&lines, header::AUTHORIZATION.as_str())
        .map_err(|_| Refused::Unreadable("one Authorization header is"))?;
    let Some(credential) = credential else {
        return without_authorization(clients, &lines, peer);
    };
    if let Some(token) = credential.strip_prefix("Bearer ") {
        bearer(clients, token, peer)
    } else if credential.starts_with("acs ") {
        by_roa(clients, (head, &lines), peer, action, now, credential)
    } else {
        by_acs3(clients, (head, &lines), action, now, credential)
    }
}

fn without_authorization(
    clients: &Clients,
    lines: &Lines<'_>,
    peer: &Peer,
) -> Result<SignedIn, Refused> {
    if let Some(token) = once(lines, "x-acs-bearer-token")? {
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
    (head, lines): (&Parts, &Lines<'_>),
    action: Action,
    now: Timestamp,
    credential: &str,
) -> Result<SignedIn, Refused> {
    let authorization = signing::Authorization::parse(credential)
        .map_err(|_| Refused::Unreadable("ACS3-HMAC-SHA256 is, with issued keys"))?;
    let client = known(clients, authorization.access_key_id)?;
    let covered = Covered::by(authorization.signed_headers);
    let signed = |name| covered.value(lines, name);
    let (date, nonce) = (signed(DATE)?, signed(NONCE)?);
    let hash = signed(HASH)?;
    check_date(parse_acs_date(date), now)?;
    check_call(signed(VERSION)?, signed(ACTION)?, action)?;
    check_token(client, lines, || signed(TOKEN))?;
    let body = if head.method == Method::GET {
        if hash != EMPTY_HASH {
            return Err(Refused::Body);
        }
        BodyProof::Unsigned
    } else {
        BodyProof::Sha256(hash.to_owned())
    };
    let target = (head.uri.path(), head.uri.query().unwrap_or(""));
    let genuine = client.keys.iter().any(|key| {
        signing::verify(
            head.method.as_str(),
            target,
            lines,
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
    (head, lines): (&Parts, &Lines<'_>),
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
    let signed = |name| once(lines, name)?.ok_or(Refused::Unsigned(name));
    let date = httpdate::parse_http_date(signed("date")?)
        .ok()
        .and_then(|date| Timestamp::try_from(date).ok());
    check_date(date, now)?;
    check_call(signed(VERSION)?, signed(ACTION)?, action)?;
    check_token(client, lines, || signed(TOKEN))?;
    let nonce = signed(NONCE)?;
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

const DATE: &str = "x-acs-date";
const NONCE: &str = "x-acs-signature-nonce";
const ACTION: &str = "x-acs-action";
const VERSION: &str = "x-acs-version";
const HASH: &str = "x-acs-content-sha256";
const TOKEN: &str = "x-acs-security-token";

/// The headers that an ACS3 signature covers, of those that it must cover.
struct Covered([(&'static str, bool); 6]);

impl Covered {
    fn by(signed_headers: &str) -> Self {
        let mut covered = [DATE, NONCE, ACTION, VERSION, HASH, TOKEN].map(|name| (name, false));
        for signed in pieces(signed_headers, b';').filter(|name| name.starts_with("x-acs-")) {
            for (name, is_covered) in &mut covered {
                *is_covered |= *name == signed;
            }
        }
        Self(covered)
    }

    /// The one value of a header that must be covered.
    fn value<'h>(&self, lines: &Lines<'h>, name: &'static str) -> Result<&'h str, Refused> {
        if self.0.contains(&(name, true)) {
            once(lines, name)?.ok_or(Refused::Unsigned(name))
        } else {
            Err(Refused::Unsigned(name))
        }
    }
}

/// The value of a header that may be there once.
fn once<'h>(lines: &Lines<'h>, name: &'static str) -> Result<Option<&'h str>, Refused> {
    let mut values = lines.values(name);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => std::str::from_utf8(value.as_bytes())
            .ok()
            .filter(|text| text.is_ascii())
            .map(|text| Some(text.trim_ascii()))
            .ok_or(Refused::Unsigned(name)),
        (Some(_), Some(_)) => Err(Refused::Unsigned(name)),
    }
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
    lines: &Lines<'_>,
    sent: impl FnOnce() -> Result<&'h str, Refused>,
) -> Result<(), Refused> {
    let is_sent = lines.values(TOKEN).next().is_some();
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
