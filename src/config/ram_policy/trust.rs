//! Trust policies of the roles that the credential's source assumes, and the policy of the identity that assumes one.

use serde_json::{Value, json};

use super::statement;
use crate::credentials::{Config, SourceName, UnverifiedClaims};
use crate::environment::Environment;

/// Trust policy of a role.
#[derive(Debug, Clone, PartialEq)]
pub struct RoleTrust {
    /// Role, by its ARN or, for an ECS instance, its name; a description where the settings name none.
    pub role: String,
    /// Document, whose parts in capitals are to be filled in.
    pub document: Value,
}

/// Returns the policy of the identity that assumes `credentials.assume_role_arn`; `None` without that setting.
#[must_use]
pub fn assume_role(credentials: &Config) -> Option<Value> {
    let role = credentials.assume_role_arn.as_ref()?;
    Some(statement(&json!({
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Resource": role,
    })))
}

/// Returns the trust policies of every role that the settings lead to, the one that signs last. The OIDC token's claims
/// are filled in where they are known.
#[must_use]
pub fn trusts(
    credentials: &Config,
    environment: &Environment,
    token: Option<&UnverifiedClaims>,
) -> Vec<RoleTrust> {
    let source = match credentials.source {
        SourceName::Oidc => Some(oidc(credentials, environment, token)),
        SourceName::Ecs => Some(ecs(credentials)),
        SourceName::Chain if names_provider(credentials, environment) => {
            Some(oidc(credentials, environment, token))
        }
        SourceName::Chain if credentials.ecs_role_name.is_some() => Some(ecs(credentials)),
        _ => None,
    };
    let assumed = credentials.assume_role_arn.as_deref();
    let assumed = assumed.map(|role| by_an_account(role, credentials.external_id.as_deref()));
    source.into_iter().chain(assumed).collect()
}

fn names_provider(credentials: &Config, environment: &Environment) -> bool {
    provider(credentials, environment).is_some()
}

fn provider(credentials: &Config, environment: &Environment) -> Option<String> {
    let variable = environment.get("ALIBABA_CLOUD_OIDC_PROVIDER_ARN");
    credentials
        .oidc_provider_arn
        .clone()
        .or_else(|| variable.cloned())
}

/// Trust of a role that a pod assumes with its service account's token (RRSA).
fn oidc(
    credentials: &Config,
    environment: &Environment,
    token: Option<&UnverifiedClaims>,
) -> RoleTrust {
    let variable = environment.get("ALIBABA_CLOUD_ROLE_ARN");
    let role = credentials.oidc_role_arn.as_ref().or(variable);
    let provider = provider(credentials, environment);
    let provider = provider.unwrap_or_else(|| "acs:ram::ACCOUNT:oidc-provider/NAME".to_owned());
    let known = |claim: Option<&String>, otherwise: &str| {
        claim.map_or_else(|| otherwise.to_owned(), String::clone)
    };
    let subject = token.and_then(|token| token.subject.as_ref());
    let issuer = token.and_then(|token| token.issuer.as_ref());
    let audience = token.and_then(|token| token.audience.first());
    RoleTrust {
        role: role
            .map_or("the role of the service account", String::as_str)
            .to_owned(),
        document: trust(
            &json!({ "Federated": [provider] }),
            Some(json!({ "StringEquals": {
                "oidc:aud": known(audience, "sts.aliyuncs.com"),
                "oidc:iss": known(issuer, "ISSUER_OF_THE_CLUSTER"),
                "oidc:sub": known(subject, "system:serviceaccount:NAMESPACE:SERVICE_ACCOUNT"),
            }})),
        ),
    }
}

/// Trust of an ECS instance's role.
fn ecs(credentials: &Config) -> RoleTrust {
    let role = credentials.ecs_role_name.as_deref();
    RoleTrust {
        role: role.unwrap_or("the instance's role").to_owned(),
        document: trust(&json!({ "Service": ["ecs.aliyuncs.com"] }), None),
    }
}

/// Trust of a role that an identity of an account assumes: of the role's own, until another is filled in.
fn by_an_account(role: &str, external_id: Option<&str>) -> RoleTrust {
    // acs:ram::ACCOUNT:role/NAME
    let account = role.split(':').nth(3).filter(|account| !account.is_empty());
    let root = format!("acs:ram::{}:root", account.unwrap_or("ACCOUNT"));
    let condition = external_id.map(|id| json!({ "StringEquals": { "sts:ExternalId": id } }));
    RoleTrust {
        role: role.to_owned(),
        document: trust(&json!({ "RAM": [root] }), condition),
    }
}

fn trust(principal: &Value, condition: Option<Value>) -> Value {
    let mut trust = json!({
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": principal,
    });
    if let Some(condition) = condition {
        trust["Condition"] = condition;
    }
    statement(&trust)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principals(credentials: &Config, environment: &Environment) -> Vec<String> {
        let trusts = trusts(credentials, environment, None);
        let principal = |trust: &RoleTrust| trust.document["Statement"][0]["Principal"].to_string();
        trusts.iter().map(principal).collect()
    }

    #[test]
    fn a_key_needs_no_trust() {
        let mut credentials = Config::default();
        assert_eq!(principals(&credentials, &Environment::new()), [""; 0]);
        credentials.source = SourceName::Static;
        assert_eq!(principals(&credentials, &Environment::new()), [""; 0]);
        assert_eq!(assume_role(&credentials), None);
    }

    #[test]
    fn each_role_trusts_the_one_that_assumes_it() {
        let role = "acs:ram::1234567890123456:role/gateway";
        let credentials = Config {
            source: SourceName::Ecs,
            assume_role_arn: Some(role.to_owned()),
            external_id: Some("outside".to_owned()),
            ..Config::default()
        };
        assert_eq!(
            principals(&credentials, &Environment::new()),
            [
                r#"{"Service":["ecs.aliyuncs.com"]}"#,
                r#"{"RAM":["acs:ram::1234567890123456:root"]}"#
            ]
        );
        let [_, assumed] = trusts(&credentials, &Environment::new(), None)
            .try_into()
            .unwrap();
        let condition = &assumed.document["Statement"][0]["Condition"];
        assert_eq!(condition["StringEquals"]["sts:ExternalId"], "outside");
        let policy = assume_role(&credentials).unwrap();
        assert_eq!(policy["Statement"][0]["Resource"], role);
    }

    #[test]
    fn the_chain_trusts_the_provider_that_a_cluster_injects() {
        let provider = "acs:ram::1234567890123456:oidc-provider/ack-rrsa-c1";
        let name = "ALIBABA_CLOUD_OIDC_PROVIDER_ARN".to_owned();
        let environment = Environment::from([(name, provider.to_owned())]);
        assert_eq!(
            principals(&Config::default(), &environment),
            [format!(r#"{{"Federated":["{provider}"]}}"#)]
        );
    }
}
