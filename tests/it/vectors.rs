//! Signatures made by the vendor's own SDKs; this project computed none of them.

use http::{HeaderMap, HeaderName, HeaderValue};
use pai_image_gateway::api::{Action, Query, VERSION};
use pai_image_gateway::signing::{
    Algorithm, Authorization, Credentials, RequestHeaders, UnsignedRequest, VerifyError,
    VerifyingKey, authorization, canonical_request, hex, roa, sign, string_to_sign, verify,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vector {
    name: String,
    algorithm: String,
    method: String,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body_hex: String,
    payload_hash: String,
    access_key_id: String,
    access_key_secret: String,
    canonical_request: Option<String>,
    string_to_sign: Option<String>,
    authorization: String,
    wire_targets: Option<WireTargets>,
    #[serde(default)]
    diverges: bool,
}

#[derive(Deserialize)]
struct WireTargets {
    python_sync_requests: String,
    python_async_aiohttp: String,
}

impl Vector {
    fn all() -> Vec<Self> {
        let python: Vec<Self> = serde_json::from_str(include_str!("../vectors/acs3.json")).unwrap();
        let node: Vec<Self> =
            serde_json::from_str(include_str!("../vectors/acs3_node.json")).unwrap();
        assert_eq!((python.len(), node.len()), (44, 7));
        python.into_iter().chain(node).collect()
    }

    fn credentials(&self) -> Credentials {
        let token = self
            .headers
            .iter()
            .find(|(name, _)| name == "x-acs-security-token");
        Credentials {
            access_key_id: self.access_key_id.clone(),
            access_key_secret: self.access_key_secret.clone().into(),
            security_token: token.map(|(_, value)| value.clone().into()),
        }
    }

    fn query(&self) -> Query {
        self.query.iter().cloned().collect()
    }

    /// The path the SDK signed. Node's client library signs another than it sends for many asterisks.
    fn signed_path(&self) -> String {
        if self.diverges {
            self.path.replace('*', "%2A")
        } else {
            self.path.clone()
        }
    }

    /// The headers the signature names; the SDKs may send more.
    fn signed_headers(&self) -> Vec<(&str, &str)> {
        let names = self
            .authorization
            .split("SignedHeaders=")
            .nth(1)
            .unwrap()
            .split(',')
            .next()
            .unwrap();
        let signed = |name: &str| names.split(';').any(|listed| listed == name.to_lowercase());
        self.headers
            .iter()
            .filter(|(name, _)| signed(name))
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect()
    }

    fn header_map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in &self.headers {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        map
    }

    fn verify(&self, target: &str) -> Result<(), VerifyError> {
        let authorization = Authorization::parse(&self.authorization)?;
        let target = target.split_once('?').unwrap_or((target, ""));
        verify(
            &self.method,
            target,
            &RequestHeaders::new(&self.header_map()),
            &self.payload_hash,
            &authorization,
            &VerifyingKey::new(&self.access_key_secret.clone().into()),
        )
    }
}

#[test]
fn canonical_requests_and_signatures_are_the_vendors() {
    for vector in Vector::all() {
        let headers = vector.signed_headers();
        let (canonical, signed) = canonical_request(
            &vector.method,
            &vector.signed_path(),
            &vector.query().canonical(),
            headers.into_iter(),
            &vector.payload_hash,
        );
        if let Some(expected) = &vector.canonical_request {
            assert_eq!(&canonical, expected, "{}", vector.name);
        }
        if vector.algorithm == "ACS3-HMAC-SM3" {
            continue;
        }
        if let Some(expected) = &vector.string_to_sign {
            assert_eq!(&string_to_sign(&canonical), expected, "{}", vector.name);
        }
        assert_eq!(
            authorization(&canonical, &signed, &vector.credentials()),
            vector.authorization,
            "{}",
            vector.name
        );
    }
}

#[test]
fn the_gateways_whole_request_is_the_one_the_sdk_signs_with_the_same_headers() {
    let minimal = [
        "GetImage Verbose=false minimal headers",
        "GetImage STS minimal",
    ];
    let mut seen = 0;
    for vector in Vector::all()
        .into_iter()
        .filter(|vector| minimal.contains(&vector.name.as_str()))
    {
        let header = |name: &str| {
            vector
                .headers
                .iter()
                .find(|(n, _)| n == name)
                .unwrap()
                .1
                .clone()
        };
        let draft = UnsignedRequest {
            method: vector.method.parse().unwrap(),
            host: header("host"),
            path: vector.path.clone(),
            query: vector.query().canonical(),
            action: Action::GetImage.as_str(),
            version: VERSION,
            body: vector.body_hex.clone().into(),
        };
        let nonce = header("x-acs-signature-nonce");
        let mut sent = sign(
            &draft,
            &vector.credentials(),
            header("x-acs-date").parse().unwrap(),
            &nonce,
        );
        assert_eq!(
            sent.pop().unwrap(),
            ("authorization", vector.authorization.clone()),
            "{}",
            vector.name
        );
        let mut expected = vector.headers.clone();
        let mut sent: Vec<_> = sent
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        expected.sort();
        sent.sort();
        assert_eq!(sent, expected, "{}", vector.name);
        seen += 1;
    }
    assert_eq!(seen, minimal.len());
}

#[test]
fn signatures_verify_for_the_bytes_that_each_client_sends() {
    for vector in Vector::all() {
        let composed = match vector.query().canonical() {
            query if query.is_empty() => vector.path.clone(),
            query => format!("{}?{query}", vector.path),
        };
        let mut targets = vec![composed];
        if let Some(wire) = &vector.wire_targets {
            targets.extend([
                wire.python_sync_requests.clone(),
                wire.python_async_aiohttp.clone(),
            ]);
        }
        for target in targets {
            let expected = match vector.name.as_str() {
                // The client library re-cases the escape after signing: the wire no longer shows the signed text.
                "path already upper/lower hex kept" if target.contains("%2F") => {
                    Err(VerifyError::Mismatch)
                }
                _ => Ok(()),
            };
            assert_eq!(vector.verify(&target), expected, "{} {target}", vector.name);
        }
    }
}

#[test]
fn the_other_algorithm_is_the_vendors_too() {
    let all = Vector::all();
    let of_sm3 = |vector: &&Vector| vector.algorithm == "ACS3-HMAC-SM3";
    let vector = all.iter().find(of_sm3).unwrap();
    let body = unhex(&vector.body_hex);
    assert_eq!(hex(&Algorithm::Sm3.hash(&body)), vector.payload_hash);
    let canonical = vector.canonical_request.as_deref().unwrap();
    let hash = hex(&Algorithm::Sm3.hash(canonical.as_bytes()));
    let text = format!("ACS3-HMAC-SM3\n{hash}");
    assert_eq!(Some(text), vector.string_to_sign);
    assert_eq!(vector.verify("/api/v1/images"), Ok(()));
    assert_eq!(vector.verify("/api/v1/image"), Err(VerifyError::Mismatch));
    let mut other = Vector::all().swap_remove(3);
    other.authorization = other.authorization.replace("SHA256", "SM3");
    let target = "/api/v1/images/image-4c62abcdefghij53uo?Verbose=True";
    assert_eq!(other.verify(target), Err(VerifyError::Mismatch));
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().collect();
    let pairs = digits
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

#[test]
fn a_signature_covers_every_part() {
    let vector = Vector::all().swap_remove(3);
    let target = "/api/v1/images/image-4c62abcdefghij53uo?Verbose=True";
    let check = |change: &dyn Fn(&mut Vector), target: &str| {
        let mut changed = Vector::all().swap_remove(3);
        change(&mut changed);
        changed.verify(target)
    };
    assert_eq!(vector.verify(target), Ok(()));
    assert_eq!(
        check(&|_| (), "/api/v1/images/image-4c62abcdefghij53uo"),
        Err(VerifyError::Mismatch)
    );
    assert_eq!(
        check(&|_| (), "/api/v1/images/other?Verbose=True"),
        Err(VerifyError::Mismatch)
    );
    assert_eq!(
        check(&|v| v.method = "PUT".into(), target),
        Err(VerifyError::Mismatch)
    );
    assert_eq!(
        check(&|v| v.payload_hash = "00".into(), target),
        Err(VerifyError::Mismatch)
    );
    assert_eq!(
        check(&|v| v.access_key_secret.push('x'), target),
        Err(VerifyError::Mismatch)
    );
    assert_eq!(
        check(&|v| v.headers[0].1.push('x'), target),
        Err(VerifyError::Mismatch)
    );
    assert_eq!(
        check(&|v| v.headers.truncate(2), target),
        Err(VerifyError::MissingHeader)
    );
}

/// A vector of the older signature.
#[derive(Deserialize)]
struct Older {
    name: String,
    method: String,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body_hex: String,
    access_key_secret: String,
    string_to_sign: String,
    authorization: String,
}

impl Older {
    fn headers(&self) -> HeaderMap {
        let pairs = self.headers.iter();
        pairs
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn verify(&self, headers: &HeaderMap) -> Result<(), VerifyError> {
        let query = self.query.iter().cloned().collect::<Query>().canonical();
        roa::verify(
            &self.method,
            (&self.path, &query),
            headers,
            !self.body_hex.is_empty(),
            &roa::RoaAuthorization::parse(&self.authorization)?,
            &VerifyingKey::new(&self.access_key_secret.clone().into()),
        )
    }
}

#[test]
fn the_older_signatures_are_the_vendors_and_verify() {
    let vectors: Vec<Older> = serde_json::from_str(include_str!("../vectors/roa_v2.json")).unwrap();
    assert_eq!(vectors.len(), 10);
    for vector in vectors {
        let mut headers = vector.headers();
        let resource = vector.string_to_sign.rsplit('\n').next().unwrap();
        let content_type = vector.string_to_sign.split('\n').nth(3).unwrap();
        let text = roa::string_to_sign(&vector.method, &headers, content_type, resource);
        assert_eq!(text, vector.string_to_sign, "{}", vector.name);
        assert_eq!(vector.verify(&headers), Ok(()), "{}", vector.name);
        // As aiohttp sends it: with a content-type that was not there when it was signed.
        if vector.body_hex.is_empty() && !headers.contains_key("content-type") {
            headers.insert("content-type", "application/octet-stream".parse().unwrap());
            assert_eq!(vector.verify(&headers), Ok(()), "{}", vector.name);
        }
        headers.insert("x-acs-added", "1".parse().unwrap());
        assert_eq!(
            vector.verify(&headers),
            Err(VerifyError::Mismatch),
            "{}",
            vector.name
        );
    }
}
