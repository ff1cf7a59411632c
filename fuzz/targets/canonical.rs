//! The canonical form is unique, and only a signature over it is accepted.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use pai_image_gateway::api::Query;
use pai_image_gateway::signing::{
    Authorization, Credentials, RequestHeaders, VerifyingKey, authorization, canonical_request,
    roa, verify,
};

fuzz_target!(|input: (&str, &str, Vec<(&str, &str)>)| {
    let (path, query, headers) = input;
    let map: HeaderMap = headers
        .iter()
        .filter_map(|(name, value)| {
            Some((
                name.parse::<HeaderName>().ok()?,
                HeaderValue::from_str(value).ok()?,
            ))
        })
        .collect();
    let key = VerifyingKey::new(&"secret".into());
    if let Ok(parsed) = Query::parse(query) {
        let canonical = parsed.canonical();
        let again = Query::parse(&canonical).expect("the canonical form is a query");
        assert_eq!(again.canonical(), canonical);
        let credentials = Credentials {
            access_key_id: "AK".to_owned(),
            access_key_secret: "secret".into(),
            security_token: None,
        };
        let pairs: Vec<(&str, &str)> = map
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
            .collect();
        if !map.is_empty() && pairs.len() == map.len() {
            let (text, signed) =
                canonical_request("GET", path, &canonical, pairs.into_iter(), "hash");
            let header = authorization(&text, &signed, &credentials);
            let parsed = Authorization::parse(&header).expect("our own form");
            assert_eq!(
                verify(
                    "GET",
                    (path, query),
                    &RequestHeaders::new(&map),
                    "hash",
                    &parsed,
                    &key
                ),
                Ok(())
            );
            assert!(
                verify(
                    "PUT",
                    (path, query),
                    &RequestHeaders::new(&map),
                    "hash",
                    &parsed,
                    &key
                )
                .is_err()
            );
        }
    }
    if let Ok(older) = roa::RoaAuthorization::parse("acs AK:c2lnbmF0dXJl") {
        assert!(roa::verify("GET", (path, query), &map, false, &older, &key).is_err());
    }
});
