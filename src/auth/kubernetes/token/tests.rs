use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// Tokens and keys by OpenSSL and PyJWT; `result` is the expected reason.
fn vectors() -> Value {
    let text = include_str!("../../../../tests/vectors/service_account_tokens.json");
    serde_json::from_str(text).unwrap()
}

fn keys(vectors: &Value, name: &str) -> IssuerKeys {
    IssuerKeys::parse(vectors["key_sets"][name].to_string().as_bytes()).unwrap()
}

fn expected(vectors: &Value) -> ExpectedClaims {
    let text = |name: &str| vectors[name].as_str().unwrap().to_owned();
    ExpectedClaims {
        issuer: text("issuer"),
        audience: text("audience"),
    }
}

fn token<'a>(vectors: &'a Value, name: &str) -> &'a str {
    let tokens = vectors["tokens"].as_array().unwrap();
    let token = tokens.iter().find(|token| token["name"] == name).unwrap();
    token["token"].as_str().unwrap()
}

/// The client of training/scheduler, as the clients' file has it.
fn is_known(verified: &VerifiedToken) -> Result<(), TokenError> {
    let known = &*verified.account == "training:scheduler";
    known.then_some(()).ok_or(TokenError::UnknownSubject)
}

#[test]
fn each_token_of_pyjwt_is_accepted_or_refused_for_its_reason() {
    let vectors = vectors();
    let (keys, expected) = (keys(&vectors, "all"), expected(&vectors));
    let now = vectors["now"].as_str().unwrap().parse().unwrap();
    let tokens = vectors["tokens"].as_array().unwrap();
    assert!(tokens.len() > 40);
    for case in tokens {
        let token = case["token"].as_str().unwrap();
        assert!(is_jwt(token));
        let verified = verify(token, &keys, &expected, now);
        let result = verified.and_then(|verified| is_known(&verified));
        let result = result.map_or_else(TokenError::reason, |()| "ok");
        assert_eq!(result, case["result"], "{}", case["name"]);
    }
}

#[test]
fn every_reason_has_a_token() {
    let vectors = vectors();
    let tokens = vectors["tokens"].as_array().unwrap();
    for reason in TokenError::REASONS {
        assert!(
            tokens.iter().any(|token| token["result"] == *reason),
            "{reason}"
        );
    }
}

#[test]
fn a_key_that_is_gone_verifies_nothing() {
    let vectors = vectors();
    let expected = expected(&vectors);
    let now = vectors["now"].as_str().unwrap().parse().unwrap();
    let (first, second) = (keys(&vectors, "first"), keys(&vectors, "second"));
    let token = token(&vectors, "second key");
    assert!(verify(token, &second, &expected, now).is_ok());
    assert_eq!(
        verify(token, &first, &expected, now),
        Err(TokenError::UnknownKey)
    );
}

#[test]
fn a_verified_token_expires_a_minute_after_its_exp() {
    let vectors = vectors();
    let (keys, expected) = (keys(&vectors, "first"), expected(&vectors));
    let now: Timestamp = vectors["now"].as_str().unwrap().parse().unwrap();
    let verified = verify(token(&vectors, "expires soon"), &keys, &expected, now).unwrap();
    let after = |seconds| Timestamp::from_second(now.as_second() + seconds).unwrap();
    assert_eq!(verified.check_expiry(after(660)), Ok(()));
    assert_eq!(verified.check_expiry(after(661)), Err(TokenError::Expired));
}

proptest! {
    #[test]
    fn no_text_panics(text in "[A-Za-z0-9_=.-]{0,200}|\\PC{0,80}") {
        let vectors = vectors();
        let (keys, expected) = (keys(&vectors, "first"), expected(&vectors));
        prop_assert!(verify(&text, &keys, &expected, Timestamp::UNIX_EPOCH).is_err());
    }

    /// Every other text than the token's own is refused, also where one character of it differs.
    #[test]
    fn a_changed_character_is_refused(at in 0..1000usize, character in "[A-Za-z0-9_.-]") {
        let vectors = vectors();
        let (keys, expected) = (keys(&vectors, "first"), expected(&vectors));
        let now = vectors["now"].as_str().unwrap().parse().unwrap();
        let good = token(&vectors, "good");
        let at = at % good.len();
        let mut changed = good.to_owned();
        changed.replace_range(at..=at, &character);
        let verified = verify(&changed, &keys, &expected, now);
        prop_assert_eq!(verified.is_ok(), changed == good);
    }
}
