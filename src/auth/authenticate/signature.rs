//! Authentication by a signature: ACS3, and the older ROA v2.
//!
//! The order of the checks decides the error of a request with two faults: key, signed headers, date, version,
//! operation, token, signature, and last the nonce, so that a rejected request uses up none.

use std::ops::Range;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::Method;
use http::request::Parts;
use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::Offset;
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::{Authenticated, BodyProof};
use crate::api::{self, Action};
use crate::auth::headers::{AuthHeaders, Header, SignedHeaders};
use crate::auth::nonces::Capacity;
use crate::auth::{AuthError, Client, Clients, WriteProof};
use crate::peer::Peer;
use crate::signing::{self, RequestHeaders, WINDOW_SECONDS, roa};

/// Detail of [`AuthError::Exposed`] for ROA v2. A person in the middle who changes the body leaves this signature
/// valid, and other users of the host can be in the middle of a loopback connection.
pub(super) const EXPOSED_BODY: &str = "an ROA v2 signature does not cover the body, so a write with it is taken only over TLS or a Unix socket: sign with ACS3-HMAC-SHA256";
/// Prefix of access key ids that the cloud itself issues.
const CLOUD_KEY_PREFIX: &str = "LTAI";

/// Request with an `Authorization` header, and the state that its signature is checked against.
pub(super) struct SignedRequest<'a> {
    pub(super) clients: &'a Clients,
    pub(super) head: &'a Parts,
    pub(super) all: &'a RequestHeaders<'a>,
    /// Those among them that authentication reads.
    pub(super) headers: &'a AuthHeaders<'a>,
    /// Operation of the request's path; `Unknown` if there is none.
    pub(super) action: Action,
    pub(super) now: Timestamp,
}

/// Signature of a request whose client and date are known and valid.
struct Signature<'a> {
    client: &'a Arc<Client>,
    access_key_id: &'a str,
    date: Timestamp,
    /// Absent only for a read by ROA v2.
    nonce: Option<&'a str>,
    bytes: &'a [u8],
    body: BodyProof,
}

impl SignedRequest<'_> {
    /// Authenticates by an ACS3 signature.
    pub(super) fn by_acs3(&self, credential: &str) -> Result<Authenticated, AuthError> {
        let authorization = signing::Authorization::parse(credential).map_err(|_| {
            AuthError::Unreadable("ACS3-HMAC-SHA256 and ACS3-HMAC-SM3 are, with issued keys")
        })?;
        let client = self.client_of_key(authorization.access_key_id)?;
        let covered = SignedHeaders::parse(authorization.signed_headers);
        let signed = |header| covered.value(self.headers, header);
        let (date, nonce) = (signed(Header::Date)?, signed(Header::Nonce)?);
        let hash = signed(Header::Hash)?;
        let date = check_date(parse_acs_date(date), self.now)?;
        check_version(signed(Header::Version)?)?;
        check_action(signed(Header::Action)?, self.action)?;
        check_token(client, self.headers, || signed(Header::Token))?;
        let algorithm = authorization.algorithm;
        let body = if is_read(&self.head.method) {
            if hash != algorithm.empty_hash() {
                return Err(AuthError::Body);
            }
            BodyProof::Unsigned
        } else {
            BodyProof::Hash(algorithm, hash.to_owned())
        };
        let (method, target) = (self.head.method.as_str(), self.target());
        // During a rotation a client has two secrets.
        let genuine = client.keys.iter().any(|key| {
            signing::verify(method, target, self.all, hash, &authorization, key).is_ok()
        });
        let bytes = authorization.signature().ok_or(AuthError::Mismatch)?;
        let signature = Signature {
            client,
            access_key_id: authorization.access_key_id,
            date,
            nonce: Some(nonce),
            bytes: &bytes,
            body,
        };
        self.finish(signature, genuine)
    }

    /// Authenticates by an ROA v2 signature. It does not cover the body, so a write needs a connection that nobody
    /// else can alter.
    pub(super) fn by_roa(&self, credential: &str, peer: &Peer) -> Result<Authenticated, AuthError> {
        let authorization = roa::RoaAuthorization::parse(credential)
            .map_err(|_| AuthError::Unreadable("\"acs KEY:SIGNATURE\" is, with issued keys"))?;
        let client = self.client_of_key(authorization.access_key_id)?;
        let method = &self.head.method;
        let is_unaltered = peer.encrypted || peer.address.is_none();
        if !is_unaltered && !is_read(method) {
            return Err(AuthError::Exposed(EXPOSED_BODY));
        }
        // The signature covers every x-acs- header, so none needs to be listed.
        let signed = |header| self.headers.required(header);
        let date = httpdate::parse_http_date(signed(Header::HttpDate)?)
            .ok()
            .and_then(|date| Timestamp::try_from(date).ok());
        let date = check_date(date, self.now)?;
        // Older SDKs send neither. Method and path then decide, and both are signed.
        if let Some(version) = self.headers.optional(Header::Version)? {
            check_version(version)?;
        }
        if let Some(name) = self.headers.optional(Header::Action)? {
            check_action(name, self.action)?;
        }
        check_token(client, self.headers, || signed(Header::Token))?;
        let nonce = self.headers.optional(Header::Nonce)?;
        if nonce.is_none() && self.action.is_write() {
            return Err(AuthError::Unsigned(Header::Nonce.as_str()));
        }
        let target = self.target();
        if !roa::is_unambiguous(target.1).map_err(|_| AuthError::Mismatch)? {
            return Err(AuthError::Ambiguous);
        }
        let (has_body, headers) = (method == Method::POST, &self.head.headers);
        let genuine = client.keys.iter().any(|key| {
            roa::verify(
                method.as_str(),
                target,
                headers,
                has_body,
                &authorization,
                key,
            )
            .is_ok()
        });
        let bytes = authorization.signature().map_err(|_| AuthError::Mismatch)?;
        let signature = Signature {
            client,
            access_key_id: authorization.access_key_id,
            date,
            nonce,
            bytes: &bytes,
            body: BodyProof::Unsigned,
        };
        self.finish(signature, genuine)
    }

    /// Records the nonce of a genuine signature; one that is not genuine must not use up a client's nonce.
    fn finish(&self, signature: Signature<'_>, genuine: bool) -> Result<Authenticated, AuthError> {
        if !genuine {
            return Err(AuthError::Mismatch);
        }
        let mut write = None;
        if let Some(nonce) = signature.nonce {
            self.record_nonce(signature.client, nonce)?;
            let (id, date) = (signature.access_key_id, signature.date);
            let is_write = self.action.is_write();
            let proof = || Box::new(WriteProof::new(id, nonce, signature.bytes, date));
            write = is_write.then(proof);
        }
        Ok(Authenticated {
            body: signature.body,
            write,
            ..Authenticated::without_signature(Arc::clone(signature.client))
        })
    }

    fn record_nonce(&self, client: &Client, nonce: &str) -> Result<(), AuthError> {
        let Some(nonces) = &client.nonces else {
            return Ok(());
        };
        let fingerprint = nonces.fingerprint(self.head, nonce, is_read(&self.head.method));
        if nonces.record(fingerprint, Instant::now())? == Capacity::Evicted
            && let Some(metrics) = client.metrics.get()
        {
            metrics.nonce_dropped();
        }
        Ok(())
    }

    fn client_of_key(&self, access_key_id: &str) -> Result<&Arc<Client>, AuthError> {
        self.clients.by_key(access_key_id).ok_or({
            if access_key_id.starts_with(CLOUD_KEY_PREFIX) {
                AuthError::CloudKey
            } else {
                AuthError::UnknownKey
            }
        })
    }

    /// Returns path and query, still percent-encoded.
    fn target(&self) -> (&str, &str) {
        let uri = &self.head.uri;
        (uri.path(), uri.query().unwrap_or(""))
    }
}

/// Parses a date such as `2026-11-23T09:09:37Z`; every SDK writes this form, in whole seconds.
fn parse_acs_date(text: &str) -> Option<Timestamp> {
    let plain = text.len() == 20 && text.ends_with('Z');
    parse_plain_date(text).or_else(|| text.parse().ok().filter(|_| plain))
}

/// Parses exactly that form; a third of the work of a parser of all forms.
fn parse_plain_date(text: &str) -> Option<Timestamp> {
    let text: &[u8; 20] = text.as_bytes().try_into().ok()?;
    let marks = [
        (4, b'-'),
        (7, b'-'),
        (10, b'T'),
        (13, b':'),
        (16, b':'),
        (19, b'Z'),
    ];
    if marks.iter().any(|(at, mark)| text[*at] != *mark) {
        return None;
    }
    let number = |range: Range<usize>| {
        text[range].iter().try_fold(0_i16, |number, digit| {
            digit
                .is_ascii_digit()
                .then(|| number * 10 + i16::from(digit - b'0'))
        })
    };
    let small = |at: usize| i8::try_from(number(at..at + 2)?).ok();
    let date = Date::new(number(0..4)?, small(5)?, small(8)?).ok()?;
    let time = Time::new(small(11)?, small(14)?, small(17)?, 0).ok()?;
    Offset::UTC.to_timestamp(date.to_datetime(time)).ok()
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

fn check_action(name: &str, requested: Action) -> Result<(), AuthError> {
    // A request without an operation is rejected later, as an unknown route.
    if requested == Action::Unknown || name == requested.as_str() {
        Ok(())
    } else {
        Err(AuthError::Action)
    }
}

/// Returns whether requests of a method have no body and change nothing.
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
