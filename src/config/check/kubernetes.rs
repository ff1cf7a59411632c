//! Rules of the `[auth.kubernetes]` settings.

use super::readable;
use crate::auth::kubernetes::{Config, check_file};
use crate::credentials::{InsecureHttp, address};

/// Checks that the issuer and exactly one source of its keys are set, and that the keys cannot be replaced on the way.
pub(super) fn check(kubernetes: &Config, rule: &mut impl FnMut(&str, bool, &str)) {
    let (url, file) = (
        kubernetes.jwks_url.as_deref(),
        kubernetes.jwks_file.as_deref(),
    );
    rule(
        "auth.kubernetes.issuer",
        kubernetes
            .issuer
            .as_deref()
            .is_some_and(|text| !text.is_empty())
            || !kubernetes.is_set(),
        "write the issuer that `kubectl get --raw /.well-known/openid-configuration` prints",
    );
    rule(
        "auth.kubernetes.audience",
        !kubernetes.audience.is_empty(),
        "write the audience of the projected tokens, such as \"pai-image-gateway\"",
    );
    rule(
        "auth.kubernetes.jwks_url",
        url.is_some() != file.is_some() || !kubernetes.is_set(),
        "write the address of the issuer's public keys, or name a file in auth.kubernetes.jwks_file: one of them",
    );
    rule(
        "auth.kubernetes.jwks_url",
        url.is_none_or(|url| url.contains("://") && address(url, InsecureHttp::Loopback).is_ok()),
        "write https:// and a host; http:// only to this machine, because who can change the keys can be any client",
    );
    let server_only = [
        ("auth.kubernetes.ca_file", kubernetes.ca_file.as_deref()),
        (
            "auth.kubernetes.token_file",
            kubernetes.token_file.as_deref(),
        ),
    ];
    for (key, path) in server_only {
        let remedy = "it belongs to auth.kubernetes.jwks_url: set that too";
        rule(key, path.is_none() || url.is_some(), remedy);
        readable(key, path, rule);
    }
    readable("auth.kubernetes.jwks_file", file, rule);
    if let Some(Err(error)) = file.map(check_file) {
        rule("auth.kubernetes.jwks_file", false, &error);
    }
    rule(
        "auth.kubernetes.refresh",
        kubernetes.refresh.0.as_secs() >= 1,
        "write a duration of 1s or more, such as \"5m\"",
    );
}

#[cfg(test)]
mod tests {
    use super::super::broken_keys;
    use super::*;
    use crate::units::HumanDuration;

    fn broken(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::default();
        change(&mut config);
        broken_keys("auth.kubernetes.", |mut rule| check(&config, &mut rule))
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn the_defaults_and_a_url_with_an_issuer_break_no_rule() {
        assert_eq!(broken(|_| {}), [""; 0]);
        for url in [
            "https://kubernetes.default.svc/openid/v1/jwks",
            "http://127.0.0.1:1/x",
        ] {
            let set = |config: &mut Config| {
                config.issuer = some("https://issuer.example");
                config.jwks_url = some(url);
            };
            assert_eq!(broken(set), [""; 0], "{url}");
        }
    }

    #[test]
    fn the_keys_come_from_one_place_that_nobody_on_the_way_can_change() {
        let issuer = |config: &mut Config| config.issuer = some("https://issuer.example");
        assert_eq!(broken(issuer), ["jwks_url"]);
        let both = |config: &mut Config| {
            issuer(config);
            config.jwks_url = some("https://issuer.example/jwks");
            config.jwks_file = some("/dev/null");
        };
        assert_eq!(broken(both)[0], "jwks_url");
        for url in [
            "http://issuer.example/jwks",
            "issuer.example",
            "ftp://x",
            "https://",
        ] {
            let set = |config: &mut Config| {
                issuer(config);
                config.jwks_url = some(url);
            };
            assert_eq!(broken(set), ["jwks_url"], "{url}");
        }
    }

    #[test]
    fn each_rule_names_its_setting() {
        let keys = broken(|config| {
            config.audience = String::new();
            config.jwks_file = some("/no/such/file");
            config.ca_file = some("/no/such/file");
            config.token_file = some("/no/such/file");
            config.refresh = HumanDuration::secs(0);
        });
        let expected = [
            "issuer",
            "audience",
            "ca_file",
            "ca_file",
            "token_file",
            "token_file",
            "jwks_file",
            "refresh",
        ];
        assert_eq!(keys, expected);
    }
}
