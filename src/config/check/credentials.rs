//! Rules of the `[credentials]` settings: each source has what it needs, and no credential leaks on its way here.

use serde_json::{Map, Value};

use super::{proxy, readable};
use crate::config::Settings;
use crate::credentials::{Config, InsecureHttp, SourceName, address};
use crate::units::HumanDuration;
use crate::upstream::UpstreamKind;

/// Checks the section: each source has what it needs, files are readable, addresses do not leak the credential.
pub(super) fn check(credentials: &Config, rule: &mut impl FnMut(&str, bool, &str)) {
    if credentials.source == SourceName::Static {
        let named = credentials.access_key_id.is_some() || credentials.access_key_id_file.is_some();
        rule(
            "credentials.access_key_id",
            named,
            "set it, or credentials.access_key_id_file",
        );
        let secret = credentials.access_key_secret_file.is_some();
        rule(
            "credentials.access_key_secret_file",
            secret,
            "name the file that holds the key's secret",
        );
    }
    rule(
        "credentials.refresh",
        credentials.refresh > HumanDuration::secs(0),
        "write a duration above 0, such as \"60s\"",
    );
    roles(credentials, rule);
    addresses(credentials, rule);
    let files = [
        ("access_key_id_file", &credentials.access_key_id_file),
        (
            "access_key_secret_file",
            &credentials.access_key_secret_file,
        ),
        ("security_token_file", &credentials.security_token_file),
        ("oidc_token_file", &credentials.oidc_token_file),
        ("token_file", &credentials.token_file),
        ("ca_file", &credentials.ca_file),
        ("cli_config_file", &credentials.cli_config_file),
        ("credentials_file", &credentials.credentials_file),
    ];
    for (key, path) in files {
        readable(&format!("credentials.{key}"), path.as_deref(), rule);
    }
    proxy(
        "credentials",
        credentials.proxy.as_deref(),
        credentials.proxy_credentials_file.as_deref(),
        rule,
    );
}

/// Checks that a bearer token goes to a parent gateway only, and that nobody reads it on the way: the API accepts
/// signatures alone, and a token is worth as much to whoever reads it.
pub(super) fn token(settings: &Settings, rule: &mut impl FnMut(&str, bool, &str)) {
    let (credentials, upstream) = (&settings.credentials, &settings.upstream);
    if credentials.source != SourceName::TokenFile {
        rule(
            "credentials.token_file",
            credentials.token_file.is_none(),
            "it belongs to credentials.source = \"token_file\": set that too",
        );
        return;
    }
    rule(
        "credentials.token_file",
        credentials.token_file.is_some(),
        "name the file that holds the token for the parent gateway",
    );
    rule(
        "credentials.source",
        upstream.kind == UpstreamKind::Gateway,
        "the API accepts no token, only a parent gateway does: write upstream.kind = \"gateway\", or another source",
    );
    let endpoint = upstream.endpoint.as_deref();
    rule(
        "upstream.endpoint",
        endpoint.is_none_or(|endpoint| {
            !endpoint.trim().starts_with("http://")
                || address(endpoint, InsecureHttp::Loopback).is_ok()
        }),
        "with credentials.source = \"token_file\" write https://, because http:// shows the token to the network",
    );
    rule(
        "credentials.assume_role_arn",
        credentials.assume_role_arn.is_none(),
        "a token assumes no role: leave it out, or use another source",
    );
}

/// Checks the settings of assumed roles: durations that STS accepts, and settings that need a role.
fn roles(credentials: &Config, rule: &mut impl FnMut(&str, bool, &str)) {
    rule(
        "credentials.role_duration",
        (HumanDuration::secs(900)..=HumanDuration::secs(43_200))
            .contains(&credentials.role_duration),
        "write a duration from \"15m\" to \"12h\", as STS allows; above \"1h\" the role itself must allow it",
    );
    rule(
        "credentials.external_id",
        credentials.external_id.is_none() || credentials.assume_role_arn.is_some(),
        "it belongs to credentials.assume_role_arn: set that too",
    );
    let policy = credentials.policy.as_deref();
    rule(
        "credentials.policy",
        policy.is_none_or(|policy| serde_json::from_str::<Map<String, Value>>(policy).is_ok()),
        "write a policy as a JSON object",
    );
}

/// Checks the addresses that credentials are fetched from: `http` only to this machine, or where the settings allow
/// it. The metadata service has no TLS; its address is on the machine's own link.
fn addresses(credentials: &Config, rule: &mut impl FnMut(&str, bool, &str)) {
    let plain = credentials.plain();
    if let Some(Err(error)) = credentials.uri.as_deref().map(|uri| address(uri, plain)) {
        rule("credentials.uri", false, error.0);
    }
    let endpoints = [
        (
            "credentials.sts_endpoint",
            credentials.sts_endpoint.as_deref(),
            plain,
        ),
        (
            "credentials.ecs_endpoint",
            Some(credentials.ecs_endpoint.as_str()),
            InsecureHttp::Anywhere,
        ),
    ];
    for (key, text, plain) in endpoints {
        match text.map(|text| address(text, plain)) {
            Some(Err(error)) => rule(key, false, error.0),
            Some(Ok(uri)) => rule(
                key,
                uri.path() == "/" && uri.query().is_none(),
                "write it without a path",
            ),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::broken_keys;
    use super::*;

    fn broken(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::default();
        change(&mut config);
        broken_keys("credentials.", |mut rule| check(&config, &mut rule))
    }

    #[test]
    fn the_defaults_break_no_rule() {
        assert_eq!(broken(|_| {}), [""; 0]);
    }

    #[test]
    fn credentials_do_not_cross_the_network_in_the_clear() {
        let remote = |config: &mut Config| {
            config.sts_endpoint = Some("http://10.0.0.1".to_owned());
            config.uri = Some("http://10.0.0.1/x?y".to_owned());
        };
        assert_eq!(broken(remote), ["uri", "sts_endpoint"]);
        let allowed = |config: &mut Config| {
            remote(config);
            config.allow_http = true;
        };
        assert_eq!(broken(allowed), [""; 0]);
    }

    fn broken_token(change: impl FnOnce(&mut Settings)) -> Vec<String> {
        let mut settings = Settings::default();
        settings.credentials.source = SourceName::TokenFile;
        settings.credentials.token_file = Some("/dev/null".to_owned());
        settings.upstream.kind = UpstreamKind::Gateway;
        settings.upstream.endpoint = Some("https://parent.example".to_owned());
        change(&mut settings);
        broken_keys("", |mut rule| token(&settings, &mut rule))
    }

    #[test]
    fn a_token_goes_to_a_parent_gateway_over_tls_or_loopback_alone() {
        assert_eq!(broken_token(|_| {}), [""; 0]);
        let api = |settings: &mut Settings| settings.upstream.kind = UpstreamKind::Api;
        assert_eq!(broken_token(api), ["credentials.source"]);
        for (endpoint, is_sound) in [
            ("parent.example", true),
            ("http://127.0.0.1:8080", true),
            ("http://parent.example", false),
            ("http://10.0.0.1", false),
        ] {
            let set = |settings: &mut Settings| {
                settings.upstream.endpoint = Some(endpoint.to_owned());
                settings.upstream.allow_http = true;
            };
            let expected: &[&str] = if is_sound {
                &[]
            } else {
                &["upstream.endpoint"]
            };
            assert_eq!(broken_token(set), expected, "{endpoint}");
        }
        let role = |settings: &mut Settings| {
            settings.credentials.assume_role_arn = Some("acs:ram::1:role/x".to_owned());
            settings.credentials.token_file = None;
        };
        let expected = ["credentials.token_file", "credentials.assume_role_arn"];
        assert_eq!(broken_token(role), expected);
        let other = |settings: &mut Settings| settings.credentials.source = SourceName::Chain;
        assert_eq!(broken_token(other), ["credentials.token_file"]);
    }

    #[test]
    fn each_rule_names_its_setting() {
        let some = |text: &str| Some(text.to_owned());
        let keys = broken(|config| {
            config.source = SourceName::Static;
            config.refresh = HumanDuration::secs(0);
            config.role_duration = HumanDuration::secs(899);
            config.external_id = some("x");
            config.policy = some("[]");
            config.sts_endpoint = some("https://sts.example.com/path");
            config.ecs_endpoint = "ftp://x".to_owned();
            config.oidc_token_file = some("/no/such/file");
            config.proxy = some("http://user:hunter2@proxy.example");
            config.proxy_credentials_file = some("/no/such/file");
        });
        let expected = [
            "access_key_id",
            "access_key_secret_file",
            "refresh",
            "role_duration",
            "external_id",
            "policy",
            "sts_endpoint",
            "ecs_endpoint",
            "oidc_token_file",
            "proxy",
            "proxy_credentials_file",
        ];
        assert_eq!(keys, expected);
    }
}
