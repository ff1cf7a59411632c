//! Explanation of the identities that the settings lead to: of the clients that authenticate by service account, and of
//! the token by which the gateway itself gets its credential.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::CheckReport;
use crate::auth::Mode;
use crate::auth::kubernetes::ServiceAccounts;
use crate::bounded_read;
use crate::config::Loaded;
use crate::config::ram_policy::{self, RoleTrust};
use crate::credentials::{CredentialProvider, SourceName, UnverifiedClaims};
use crate::environment::Environment;
use crate::error_chain::error_chain;
use crate::observability::metrics::Metrics;

/// Loads the keys of `[auth.kubernetes]`, and reports which tokens they verify.
pub(super) async fn clients(loaded: &Loaded, metrics: &Arc<Metrics>, report: &mut CheckReport) {
    let auth = &loaded.settings.auth;
    if auth.mode == Mode::None {
        return;
    }
    let accounts = match ServiceAccounts::from_config(&auth.kubernetes, metrics) {
        Ok(Some(accounts)) => accounts,
        Ok(None) => return,
        Err(error) => return report.bad(&format!("auth.kubernetes: {}", error_chain(&error))),
    };
    let issuer = auth.kubernetes.issuer.as_deref().unwrap_or_default();
    let audience = &auth.kubernetes.audience;
    match accounts.load().await {
        Ok(keys) => report.good(&format!(
            "service accounts authenticate by tokens with iss \"{issuer}\" and aud \"{audience}\"; keys loaded: {keys}"
        )),
        Err(error) => report.bad(&format!("auth.kubernetes: {}", error_chain(&error))),
    }
}

/// Reports what the gateway's own token states, unverified, and what its recipient must trust. A file that cannot be
/// read is the credential's problem, which is reported there.
pub(super) fn gateway(
    loaded: &Loaded,
    environment: &Environment,
    provider: &CredentialProvider,
    report: &mut CheckReport,
) {
    let credentials = &loaded.settings.credentials;
    if credentials.source == SourceName::TokenFile {
        if let Some(token) = credentials.token_file.as_deref().and_then(read) {
            parent(&token, report);
        }
        return;
    }
    // Another source of the chain may have a credential before this one is asked.
    let source = provider.status().source;
    let file = provider
        .oidc_token_file()
        .filter(|_| source.is_none_or(|source| source == "oidc"));
    let Some(claims) = file.as_deref().and_then(read) else {
        return;
    };
    let Some(claims) = UnverifiedClaims::of(&claims) else {
        if source.is_none() {
            report.bad("the OIDC token is no JWT: name the file that the cluster projects");
        }
        return;
    };
    token_states(&claims, "OIDC token", report);
    let trusts = ram_policy::trusts(credentials, environment, Some(&claims));
    if let Some(RoleTrust { role, document }) = trusts.first() {
        report.good(&format!(
            "{role} must have this trust policy, to accept that token:\n{document:#}"
        ));
    }
}

fn parent(token: &str, report: &mut CheckReport) {
    let Some(claims) = UnverifiedClaims::of(token) else {
        return report.good("the token is no JWT: the parent knows it by bearer_sha256");
    };
    token_states(&claims, "token for the parent gateway", report);
    let account = claims.subject.as_deref();
    let account = account.and_then(|subject| subject.strip_prefix("system:serviceaccount:"));
    let account = account.unwrap_or("NAMESPACE:NAME").replacen(':', "/", 1);
    report.good(&format!(
        "the parent needs auth.kubernetes.issuer = \"{}\", auth.kubernetes.audience = \"{}\" and a [[client]] with service_account = \"{account}\"",
        claims.issuer.as_deref().unwrap_or("ISSUER"),
        claims.audience.first().map_or("AUDIENCE", String::as_str),
    ));
}

/// Reports the claims of a token; one that has expired is a problem.
fn token_states(claims: &UnverifiedClaims, name: &str, report: &mut CheckReport) {
    let expires = claims.expires.map(|at| at.to_string());
    let [issuer, subject, expires] =
        [&claims.issuer, &claims.subject, &expires].map(|claim| claim.as_deref().unwrap_or("none"));
    let audience = claims.audience.join(", ");
    let line = format!("{name}: iss {issuer}, sub {subject}, aud {audience}, exp {expires}");
    if claims.expires.is_some_and(|at| at <= Timestamp::now()) {
        report.bad(&format!("{line}: expired; is its file still replaced?"));
    } else {
        report.good(&line);
    }
}

fn read(path: &str) -> Option<String> {
    let text = bounded_read::read_to_string(Path::new(path)).ok()?;
    Some(text.trim().to_owned())
}
