use secrecy::ExposeSecret;
use serde_json::{Map, json};

use super::*;
use crate::credentials::Config;

const ROLE: &str = "acs:ram::1:role/r";

fn context(variables: &[(&str, &str)]) -> Context {
    let variables = variables.iter();
    let variables = variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Context::new(Config::default(), variables.collect())
}

fn parse(file: &Value, variables: &[(&str, &str)]) -> Result<CredentialSpec, SourceError> {
    let context = context(variables);
    CliProfiles::parse(&context, "config.json", &file.to_string())?.chosen()
}

/// The spec of a file with this one profile.
fn alone(profile: &Value) -> Result<CredentialSpec, SourceError> {
    let mut profile = profile.clone();
    profile["name"] = json!("p");
    parse(&json!({ "current": "p", "profiles": [profile] }), &[])
}

fn refusal(result: Result<CredentialSpec, SourceError>) -> String {
    let Err(error) = result else {
        panic!("a recipe")
    };
    error.to_string()
}

#[test]
fn a_key_stands_in_the_file() {
    let key = json!({ "mode": "AK", "access_key_id": "LTAIx", "access_key_secret": "s#;\\n" });
    let Ok(CredentialSpec::Key(fetched)) = alone(&key) else {
        panic!()
    };
    assert_eq!(
        fetched.credentials.access_key_secret.expose_secret(),
        "s#;\\n"
    );
    assert!(fetched.credentials.security_token.is_none());
    let token = json!({ "mode": "StsToken", "access_key_id": "STS.x", "access_key_secret": "s", "sts_token": "t" });
    let Ok(CredentialSpec::Key(fetched)) = alone(&token) else {
        panic!()
    };
    assert_eq!(
        fetched.credentials.security_token.unwrap().expose_secret(),
        "t"
    );
}

#[test]
fn a_roles_session_has_two_keys_and_its_region_names_the_sts() {
    for key in ["ram_session_name", "role_session_name"] {
        let mut profile = json!({
            "mode": "OIDC", "ram_role_arn": ROLE, "oidc_provider_arn": "p", "oidc_token_file": "/t",
            "expired_seconds": 900, "policy": "{}", "sts_region": "cn-beijing", "enable_vpc": true,
        });
        profile[key] = json!("alice");
        let Ok(CredentialSpec::Oidc(oidc)) = alone(&profile) else {
            panic!()
        };
        let expected = Role {
            arn: ROLE.to_owned(),
            session: "alice".to_owned(),
            seconds: 900,
            policy: Some("{}".to_owned()),
            external_id: None,
        };
        assert_eq!(oidc.role, expected);
        let context = context(&[]);
        let sts = Sts::of_profile(&context, Some("cn-beijing".to_owned()), true);
        assert_eq!(oidc.sts, sts);
    }
}

#[test]
fn without_a_session_or_duration_the_usual_ones_are_taken() {
    let profile = json!({ "mode": "RamRoleArn", "access_key_id": "i", "access_key_secret": "s", "ram_role_arn": ROLE });
    let Ok(CredentialSpec::Role { role, .. }) = alone(&profile) else {
        panic!()
    };
    assert_eq!(
        (role.session.as_str(), role.seconds),
        ("pai-image-gateway", 3600)
    );
}

#[test]
fn roles_stand_on_one_another() {
    let file = json!({ "current": "a", "profiles": [
        { "name": "a", "mode": "ChainableRamRoleArn", "source_profile": "b", "ram_role_arn": "outer" },
        { "name": "b", "mode": "ChainableRamRoleArn", "source_profile": "c", "ram_role_arn": "inner" },
        { "name": "c", "mode": "EcsRamRole", "ram_role_name": "node" },
    ]});
    let Ok(CredentialSpec::Role { base, role, .. }) = parse(&file, &[]) else {
        panic!()
    };
    let CredentialSpec::Role {
        base, role: inner, ..
    } = *base
    else {
        panic!()
    };
    assert_eq!((role.arn.as_str(), inner.arn.as_str()), ("outer", "inner"));
    assert!(matches!(*base, CredentialSpec::Ecs(_)));
}

#[test]
fn a_cycle_and_a_chain_that_is_too_long_are_rejected() {
    let chained = |name: &str, source: &str| json!({ "name": name, "mode": "ChainableRamRoleArn", "source_profile": source, "ram_role_arn": ROLE });
    let cycle = json!({ "current": "a", "profiles": [chained("a", "b"), chained("b", "a")] });
    assert!(refusal(parse(&cycle, &[])).contains("its own source_profile"));
    let tower: Vec<_> = (0..20)
        .map(|n: u32| chained(&n.to_string(), &(n + 1).to_string()))
        .collect();
    let tower = json!({ "current": "0", "profiles": tower });
    assert!(refusal(parse(&tower, &[])).contains("more than 8"));
}

#[test]
fn modes_that_are_not_supported_are_named() {
    for mode in [
        "OAuth",
        "RamRoleArnWithEcs",
        "RsaKeyPair",
        "CredentialsURI",
        "ak",
    ] {
        let message = refusal(alone(&json!({ "mode": mode })));
        assert!(
            message.contains(&format!("unsupported profile mode {mode}")),
            "{message}"
        );
    }
}

#[test]
fn the_missing_field_of_a_mode_is_named() {
    let key = [("access_key_id", "i"), ("access_key_secret", "s")];
    let oidc = [
        ("ram_role_arn", "r"),
        ("oidc_provider_arn", "p"),
        ("oidc_token_file", "f"),
    ];
    let sso = [
        "cloud_sso_sign_in_url",
        "cloud_sso_account_id",
        "cloud_sso_access_config",
        "access_token",
    ];
    let sso = sso.map(|name| (name, "x"));
    let modes: [(&str, &[(&str, &str)]); 6] = [
        ("AK", &key),
        ("StsToken", &[("sts_token", "t"), key[0], key[1]]),
        ("RamRoleArn", &[("ram_role_arn", "r"), key[0], key[1]]),
        ("OIDC", &oidc),
        ("CloudSSO", &sso),
        ("External", &[("process_command", "true")]),
    ];
    for (mode, keys) in modes {
        for left_out in keys {
            let given = keys.iter().filter(|key| key.0 != left_out.0);
            let mut profile: Map<_, _> = given.map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
            profile.insert("mode".to_owned(), json!(mode));
            let message = refusal(alone(&Value::Object(profile)));
            assert!(
                message.contains(&format!("no {}", left_out.0)),
                "{mode}: {message}"
            );
        }
    }
}

#[test]
fn the_variable_goes_before_the_files_own_choice() {
    let file = json!({ "current": "a", "profiles": [
        { "name": "a", "mode": "AK", "access_key_id": "of-a", "access_key_secret": "s" },
        { "name": "b", "mode": "AK", "access_key_id": "of-b", "access_key_secret": "s" },
    ]});
    let id = |variables: &[(&str, &str)]| match parse(&file, variables) {
        Ok(CredentialSpec::Key(fetched)) => fetched.credentials.access_key_id,
        _ => panic!(),
    };
    assert_eq!(id(&[]), "of-a");
    assert_eq!(id(&[("ALIBABA_CLOUD_PROFILE", "b")]), "of-b");
    let message = refusal(parse(&file, &[("ALIBABA_CLOUD_PROFILE", "c")]));
    assert!(message.contains("no profile c"), "{message}");
}

#[test]
fn a_broken_file_is_reported_by_line_and_not_quoted() {
    let text = "{\"current\":\"p\",\n\"profiles\": hunter2}";
    let context = context(&[]);
    let Err(error) = CliProfiles::parse(&context, "config.json", text) else {
        panic!()
    };
    let message = error.to_string();
    assert!(
        message.contains("line 2") && !message.contains("hunter2"),
        "{message}"
    );
}
