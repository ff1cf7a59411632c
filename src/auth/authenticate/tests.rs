use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, Request};
use tempfile::TempDir;

use super::signature::EXPOSED_BODY;
use super::*;
use crate::auth::Config;
use crate::auth::nonces::Nonces;
use crate::observability::metrics::Metrics;
use crate::signing::roa::string_to_sign as roa_text;
use crate::signing::{Credentials, UnsignedRequest, sign};
use crate::units::ByteSize;

const CLIENTS: &str = r#"
[[client]]
name = "plain"
access_key_id = "GWPLAIN"
access_key_secret_file = "secret"
permissions = ["get"]

[[client]]
name = "temporary"
access_key_id = "GWTEMP"
access_key_secret_file = "secret"
security_token_file = "token"
permissions = ["get"]

[[client]]
name = "bearer"
bearer_sha256 = "4c5dc9b7708905f77f5e5d16316b5dfb425e68cb326dcd55a860e90a7707031e"
permissions = ["get"]

[[client]]
name = "job"
mtls_name = "spiffe://example.com/job"
permissions = ["get"]
"#;
const IMAGE: &str = "/api/v1/images/image-1";

fn clients() -> Clients {
    clients_within(&Config::default())
}

fn clients_within(config: &Config) -> Clients {
    let folder = TempDir::new().unwrap();
    for (name, text) in [("secret", "the-secret"), ("token", "the-token")] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let nonces = Nonces::new(config);
    Clients::parse(CLIENTS, folder.path(), &nonces, None).unwrap()
}

fn now() -> Timestamp {
    "2026-11-23T09:09:37Z".parse().unwrap()
}

/// A connection over TCP, by TLS or not, with these names in its certificate.
fn tcp(encrypted: bool, names: &[&str]) -> Peer {
    Peer {
        address: Some("10.0.0.1:1".parse().unwrap()),
        encrypted,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn head(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

/// A request signed by ACS3.
struct Acs3<'a> {
    method: Method,
    action: Action,
    key: &'a str,
    token: Option<&'a str>,
    date: Timestamp,
    body: &'static [u8],
}

impl Acs3<'_> {
    fn head(&self) -> Parts {
        let draft = UnsignedRequest {
            method: self.method.clone(),
            host: "gateway.example".to_owned(),
            path: IMAGE.to_owned(),
            query: String::new(),
            action: self.action.as_str(),
            version: crate::api::VERSION,
            body: Bytes::from_static(self.body),
        };
        let credentials = Credentials {
            access_key_id: self.key.to_owned(),
            access_key_secret: "the-secret".into(),
            security_token: self.token.map(Into::into),
        };
        let signed = sign(&draft, &credentials, self.date, "nonce");
        let pairs: Vec<_> = signed.iter().map(|(n, v)| (*n, v.as_str())).collect();
        head(self.method.as_str(), IMAGE, &pairs)
    }
}

fn get() -> Acs3<'static> {
    Acs3 {
        method: Method::GET,
        action: Action::GetImage,
        key: "GWPLAIN",
        token: None,
        date: now(),
        body: b"",
    }
}

fn enter(
    clients: &Clients,
    head: &Parts,
    peer: &Peer,
    action: Action,
) -> Result<Authenticated, AuthError> {
    let issued = Issued {
        clients,
        service_accounts: None,
    };
    authenticate(issued, head, peer, action, now())
}

/// The name that a request is let in by, at a gateway that has seen none before.
fn name(head: &Parts, peer: &Peer, action: Action) -> Result<String, AuthError> {
    let authenticated = enter(&clients(), head, peer, action)?;
    Ok(authenticated.principal.name().to_owned())
}

fn named(head: &Parts) -> Result<String, AuthError> {
    name(head, &tcp(false, &[]), Action::GetImage)
}

fn changed(name: &'static str, value: &str) -> Parts {
    let mut head = get().head();
    head.headers
        .insert(name, HeaderValue::from_str(value).unwrap());
    head
}

#[test]
fn a_signed_read_is_authenticated_and_uses_its_nonce() {
    let (clients, peer) = (clients(), tcp(false, &[]));
    let mut head = get().head();
    let authenticated = enter(&clients, &head, &peer, Action::GetImage).unwrap();
    assert_eq!(authenticated.principal.name(), "plain");
    assert_eq!(authenticated.body, BodyProof::Unsigned);
    assert!(authenticated.write.is_none() && authenticated.ignored_signature.is_none());
    head.headers
        .insert("x-unsigned", HeaderValue::from_static("1"));
    let again = enter(&clients, &head, &peer, Action::GetImage);
    assert_eq!(again.err(), Some(AuthError::NonceUsed));
}

#[test]
fn a_nonce_that_gives_way_to_another_is_counted() {
    let config = Config {
        // There is room for one nonce.
        nonces_max_bytes: ByteSize(200),
        ..Config::default()
    };
    let (clients, metrics) = (clients_within(&config), Metrics::new());
    metrics.expose_authentication(AuthError::REASONS);
    clients.register_metrics(&metrics);
    let other = Acs3 {
        key: "GWTEMP",
        token: Some("the-token"),
        ..get()
    };
    for (head, dropped) in [(get().head(), 0), (other.head(), 1)] {
        enter(&clients, &head, &tcp(false, &[]), Action::GetImage).unwrap();
        let line = format!("\npai_gateway_nonces_dropped_total {dropped}\n");
        assert!(metrics.render().contains(&line), "{line}");
    }
}

#[test]
fn a_signed_write_tells_its_body_and_may_not_come_again() {
    let (clients, peer) = (clients(), tcp(false, &[]));
    for (method, action) in [
        (Method::POST, Action::AddImage),
        (Method::PUT, Action::PublishImage),
    ] {
        let write = Acs3 {
            method,
            action,
            body: b"{}",
            ..get()
        };
        let authenticated = enter(&clients, &write.head(), &peer, action);
        if action == Action::PublishImage {
            assert_eq!(authenticated.err(), Some(AuthError::NonceUsed));
            continue;
        }
        let authenticated = authenticated.unwrap();
        assert_eq!(authenticated.write.map(|proof| proof.date), Some(now()));
        assert_eq!(authenticated.body.check(b"{}"), Ok(()));
        assert_eq!(authenticated.body.check(b"{ }"), Err(AuthError::Body));
        let again = enter(&clients, &write.head(), &peer, action);
        assert_eq!(again.err(), Some(AuthError::NonceUsed));
    }
}

#[test]
fn each_thing_that_is_signed_is_checked() {
    for (header, value, refused) in [
        ("x-acs-date", "2026-11-23T09:09:37.5Z", AuthError::BadDate),
        ("x-acs-date", "2026-11-23 09:09:37Z", AuthError::Mismatch),
        ("x-acs-date", "20261123T09:09:37+00", AuthError::BadDate),
        ("x-acs-date", "2026-11-23T09:24:38Z", AuthError::Expired),
        ("x-acs-date", "2026-11-23T08:54:36Z", AuthError::Expired),
        ("x-acs-date", "2026-11-23T09:09:38Z", AuthError::Mismatch),
        ("x-acs-version", "2014-05-26", AuthError::Version),
        ("x-acs-action", "RemoveImage", AuthError::Action),
        ("x-acs-content-sha256", "00", AuthError::Body),
        ("x-acs-signature-nonce", "other", AuthError::Mismatch),
        ("host", "other.example", AuthError::Mismatch),
        (
            "authorization",
            "Basic eDp5",
            AuthError::Unreadable("ACS3-HMAC-SHA256 and ACS3-HMAC-SM3 are, with issued keys"),
        ),
    ] {
        assert_eq!(
            named(&changed(header, value)),
            Err(refused),
            "{header}: {value}"
        );
    }
    let other = changed("x-acs-action", "RemoveImage");
    let unknown = name(&other, &tcp(false, &[]), Action::Unknown);
    assert_eq!(
        unknown,
        Err(AuthError::Mismatch),
        "no operation is refused as such later"
    );
    for seconds in [-900, 900] {
        let date = now() + jiff::SignedDuration::from_secs(seconds);
        assert_eq!(
            named(&Acs3 { date, ..get() }.head()),
            Ok("plain".to_owned())
        );
    }
    let of_head = Acs3 {
        method: Method::HEAD,
        ..get()
    }
    .head();
    assert_eq!(named(&of_head), Ok("plain".to_owned()));
}

#[test]
fn a_token_goes_with_its_key_alone() {
    for (key, token, expected) in [
        ("GWPLAIN", None, Ok("plain")),
        ("GWPLAIN", Some("the-token"), Err(AuthError::WrongToken)),
        ("GWTEMP", None, Err(AuthError::NoToken)),
        ("GWTEMP", Some("the-token"), Ok("temporary")),
        ("GWTEMP", Some("another"), Err(AuthError::WrongToken)),
    ] {
        let head = Acs3 {
            key,
            token,
            ..get()
        }
        .head();
        assert_eq!(named(&head), expected.map(str::to_owned), "{key} {token:?}");
    }
}

#[test]
fn a_certificate_decides_only_beside_a_key_that_was_not_issued_here() {
    let job = tcp(true, &["other.example", "spiffe://example.com/job"]);
    let stranger = tcp(true, &["other.example"]);
    for (key, peer, expected) in [
        ("LTAI5tReal", &job, Ok("job")),
        ("GWNOBODY", &job, Ok("job")),
        ("GWPLAIN", &job, Ok("plain")),
        ("LTAI5tReal", &stranger, Err(AuthError::CloudKey)),
        ("GWNOBODY", &stranger, Err(AuthError::UnknownKey)),
    ] {
        let head = Acs3 { key, ..get() }.head();
        assert_eq!(
            name(&head, peer, Action::GetImage),
            expected.map(str::to_owned),
            "{key}"
        );
    }
    let forged = changed("host", "other.example");
    assert_eq!(
        name(&forged, &job, Action::GetImage),
        Err(AuthError::Mismatch)
    );
    let foreign = Acs3 {
        key: "LTAI5tReal",
        ..get()
    }
    .head();
    let authenticated = enter(&clients(), &foreign, &job, Action::GetImage).unwrap();
    assert_eq!(authenticated.ignored_signature, Some(AuthError::CloudKey));
}

#[test]
fn without_a_signature_a_token_or_the_certificate_decides() {
    let [open, tls] = [false, true].map(|encrypted| tcp(encrypted, &[]));
    let job = tcp(true, &["spiffe://example.com/job"]);
    let stranger = tcp(true, &["other.example"]);
    let by = |header: (&str, &str), peer: &Peer| {
        name(&head("GET", IMAGE, &[header]), peer, Action::GetImage)
    };
    let nothing = ("accept", "*/*");
    assert_eq!(by(nothing, &tls), Err(AuthError::NoCredential));
    assert_eq!(by(nothing, &job), Ok("job".to_owned()));
    assert_eq!(by(nothing, &stranger), Err(AuthError::UnknownKey));
    for (header, prefix) in [("authorization", "Bearer "), ("x-acs-bearer-token", "")] {
        let [good, bad] = ["test-token", "another"].map(|token| format!("{prefix}{token}"));
        assert_eq!(by((header, &good), &tls), Ok("bearer".to_owned()));
        assert_eq!(
            by((header, &good), &Peer::default()),
            Ok("bearer".to_owned())
        );
        assert_eq!(by((header, &bad), &tls), Err(AuthError::UnknownKey));
        assert_eq!(
            by((header, &good), &open),
            Err(AuthError::Exposed(EXPOSED_TOKEN))
        );
    }
}

/// A request signed by ROA v2 for `signed`, and sent as `target`.
fn roa(method: &str, (signed, target): (&str, &str), headers: &[(&str, &str)]) -> Parts {
    let mut all = vec![("date", "Mon, 23 Nov 2026 09:09:37 GMT"), ("accept", "*/*")];
    all.extend(headers);
    let mut head = head(method, target, &all);
    let text = roa_text(method, &head.headers, "", signed);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"the-secret");
    let signature = BASE64_STANDARD.encode(hmac::sign(&key, text.as_bytes()));
    let authorization = format!("acs GWPLAIN:{signature}").parse().unwrap();
    head.headers.insert("authorization", authorization);
    head
}

#[test]
fn an_older_signature_is_accepted_on_a_connection_that_nobody_can_change() {
    let (open, tls, unix) = (tcp(false, &[]), tcp(true, &[]), Peer::default());
    let image = (IMAGE, IMAGE);
    let nonce = ("x-acs-signature-nonce", "n");
    let typed = ("content-type", "text/plain");
    let (read, write) = (Action::GetImage, Action::AddImage);
    let exposed = Err(AuthError::Exposed(EXPOSED_BODY));
    let no_nonce = Err(AuthError::Unsigned("x-acs-signature-nonce"));
    for (method, target, headers, peer, action, expected) in [
        ("GET", image, &[][..], &open, read, Ok("plain")),
        ("GET", image, &[nonce], &open, read, Ok("plain")),
        ("GET", image, &[typed], &open, read, Ok("plain")),
        (
            "GET",
            (IMAGE, "/api/v1/images/other"),
            &[],
            &open,
            read,
            Err(AuthError::Mismatch),
        ),
        (
            "GET",
            ("/a?b=c&d=e", "/a?b=c%26d%3De"),
            &[],
            &open,
            read,
            Err(AuthError::Ambiguous),
        ),
        (
            "GET",
            image,
            &[("x-acs-version", "2014-05-26")],
            &open,
            read,
            Err(AuthError::Version),
        ),
        (
            "GET",
            image,
            &[("x-acs-action", "RemoveImage")],
            &open,
            read,
            Err(AuthError::Action),
        ),
        (
            "GET",
            image,
            &[("x-acs-security-token", "t")],
            &open,
            read,
            Err(AuthError::WrongToken),
        ),
        ("POST", image, &[nonce], &open, write, exposed),
        ("POST", image, &[nonce], &tls, write, Ok("plain")),
        ("POST", image, &[nonce], &unix, write, Ok("plain")),
        (
            "POST",
            image,
            &[nonce, typed],
            &tls,
            write,
            Err(AuthError::Mismatch),
        ),
        ("POST", image, &[], &tls, write, no_nonce),
    ] {
        let outcome = name(&roa(method, target, headers), peer, action);
        assert_eq!(
            outcome,
            expected.map(str::to_owned),
            "{method} {target:?} {headers:?}"
        );
    }
    let clients = clients();
    let head = roa("POST", image, &[nonce]);
    assert!(enter(&clients, &head, &tls, write).unwrap().write.is_some());
    let again = enter(&clients, &head, &tls, write);
    assert_eq!(again.err(), Some(AuthError::NonceUsed));
}
