//! Access to the admin pages: the token, and requests that another site makes a browser send.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, StatusCode};
use secrecy::ExposeSecret;

use super::{Admin, header};
use crate::observability::logging::Condition;
use crate::peer::Peer;

/// Status and text of a refusal.
pub(super) type AdminRefusal = (StatusCode, &'static str);

impl Admin {
    /// Refuses requests that another site can make a browser send: a foreign `Origin`, and, without a token, a `Host`
    /// that is a name, because its owner may point it to this machine (DNS rebinding).
    pub(super) fn refuse_foreign(&self, headers: &HeaderMap) -> Result<(), AdminRefusal> {
        let host = header(headers, &HOST).unwrap_or("");
        let is_foreign = |origin: &str| {
            let site = origin.split_once("://");
            site.is_none_or(|(_, site)| site != host)
        };
        if header(headers, &ORIGIN).is_some_and(is_foreign) {
            return Err((
                StatusCode::FORBIDDEN,
                "a page of another site may not ask this",
            ));
        }
        if self.token.is_none() && !is_local_host(host) {
            return Err((StatusCode::FORBIDDEN, "ask by IP address or as localhost"));
        }
        Ok(())
    }

    /// Requires the admin token where one is set, or where clients of the data port must authenticate.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<(), AdminRefusal> {
        match &self.token {
            None if self.auth.is_required() => Err((
                StatusCode::FORBIDDEN,
                "where clients sign in this needs the admin token: set admin.token_file",
            )),
            None => Ok(()),
            Some(token) => {
                let given = header(headers, &AUTHORIZATION)
                    .and_then(|value| value.strip_prefix("Bearer "))
                    .unwrap_or("");
                // In constant time, so that the time of a refusal tells nothing about the token.
                verify_slices_are_equal(given.as_bytes(), token.expose_secret().as_bytes()).map_err(
                    |_| {
                        (
                            StatusCode::UNAUTHORIZED,
                            "the admin token is missing or wrong",
                        )
                    },
                )
            }
        }
    }
}

impl Admin {
    /// Counts a refusal, and records it in the log, at most once a minute, and in the audit.
    pub(super) fn record_refusal(&self, peer: &Peer, status: StatusCode, reason: &'static str) {
        self.metrics.admin_refused.inc();
        let conditions = &self.metrics.conditions;
        conditions.occurred(Condition::AdminTokenRefused, "admin", || {
            format!("{reason} (peer {peer})")
        });
        if let Some(audit) = &self.audit {
            let is_token = status == StatusCode::UNAUTHORIZED;
            audit.record_admin_refusal(peer, if is_token { "token" } else { "forbidden" });
        }
    }
}

/// Returns true for a `Host` that is an IP address or `localhost`: no other party can point those to this machine.
fn is_local_host(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(
        host,
        |(name, port)| if port.ends_with(']') { host } else { name },
    );
    name == "localhost"
        || name
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_others_control_are_not_ours() {
        for host in [
            "127.0.0.1:9901",
            "localhost:9901",
            "localhost",
            "[::1]:9901",
            "[::1]",
            "10.1.2.3:1",
        ] {
            assert!(is_local_host(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9901",
            "127.0.0.1.evil.example",
            "localhost.evil:1",
        ] {
            assert!(!is_local_host(host), "{host}");
        }
    }
}
