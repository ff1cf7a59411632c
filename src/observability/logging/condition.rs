//! The table of conditions: failures that may occur for every request and are logged as episodes.
//!
//! A row gives the name in the log's field `condition`, the level of its lines, when an episode is over, and three
//! texts: of the first line, of the remedy that goes with it, and of the last line. docs/operations.md repeats each
//! row for the operator; a test compares the two.

use std::time::Duration;

use strum::IntoStaticStr;

use super::episode::Rules;

/// Level of the lines of a condition, by what it means to the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Severity {
    /// The gateway works as it is set; a client or another party does not.
    Info,
    /// The gateway works with less: stale copies, no shared cache, no traces.
    Warn,
    /// Somebody must act, or requests, records or state are lost.
    Error,
}

/// The texts and rules of one condition.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) severity: Severity,
    pub(super) rules: Rules,
    /// Text of the first line; later lines put "still: " before it.
    pub(super) began: &'static str,
    /// Advice to the operator, in the field `remedy`.
    pub(super) remedy: &'static str,
    pub(super) ended: &'static str,
}

/// Time without an occurrence after which a series of events is over.
pub(super) const QUIET: Duration = Duration::from_secs(60);

/// Nothing reports the end of these: they are over when none has come for a minute.
const EVENTS: Rules = Rules {
    settle: Duration::ZERO,
    quiet: Some(QUIET),
};
/// A reported recovery ends these at once.
const RECOVERY: Rules = Rules {
    settle: Duration::ZERO,
    quiet: None,
};
/// A recovery ends these once it has lasted for two seconds: one good answer between two bad ones is none.
const SETTLED: Rules = Rules {
    settle: Duration::from_secs(2),
    quiet: None,
};

/// Declares [`Condition`] and its table, a row a variant: `Variant = "name", severity, rules { texts }`.
macro_rules! conditions {
    ($($(#[$meta:meta])* $Variant:ident = $name:literal, $severity:ident, $rules:ident { $($text:ident: $value:literal),+ $(,)? })+) => {
        /// A failure that is logged as an episode: its first occurrence, once a minute while it lasts, and its end.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Condition {
            $($(#[$meta])* $Variant,)+
        }

        impl Condition {
            /// Every condition, for the test that compares the table with the manual.
            #[cfg(test)]
            pub(super) const ALL: &'static [Self] = &[$(Self::$Variant),+];

            /// Returns the condition's row of the table.
            pub(super) const fn row(self) -> Row {
                match self {
                    $(Self::$Variant => Row {
                        name: $name,
                        severity: Severity::$severity,
                        rules: $rules,
                        $($text: $value),+
                    },)+
                }
            }
        }
    };
}

conditions! {
    /// Answers of the origin that say there are too many calls; one episode per operation.
    OriginThrottles = "origin_throttles", Warn, SETTLED {
        began: "the origin throttles",
        remedy: "another user of the account calls it too, or upstream.calls_per_second is above the account's quota",
        ended: "the origin no longer throttles",
    }
    /// Paces that a throttle has lowered and that have not grown back; one episode per operation.
    PaceLowered = "pace_lowered", Warn, RECOVERY {
        began: "an operation is called less often than set, because the origin throttled it",
        remedy: "if it lasts, set upstream.calls_per_second or upstream.rate_share to what other users of the account leave",
        ended: "the operation may be called as often as set again",
    }
    /// A fleet's pace whose store, the shared cache, does not answer; each replica then takes its part of the pace.
    PaceNotShared = "pace_not_shared", Warn, RECOVERY {
        began: "the fleet's pace cannot be shared, so that this replica keeps to its part of it",
        remedy: "check the shared cache; replicas that have not seen each other use upstream.rate_share",
        ended: "the fleet's pace is shared again",
    }
    /// Answers of the origin with an error of its own, such as 500 or 503; one episode per operation.
    OriginFails = "origin_fails", Warn, SETTLED {
        began: "the origin fails",
        remedy: "stale copies are served meanwhile; if it lasts, ask the vendor with the request_id",
        ended: "the origin answers again",
    }
    /// Failed connections to the origin, and calls without an answer in time; one episode per host.
    OriginUnreachable = "origin_unreachable", Warn, SETTLED {
        began: "the origin cannot be reached",
        remedy: "check the network, DNS and proxy from this machine to the host, and upstream.endpoint or upstream.region",
        ended: "the origin is reached again",
    }
    /// Answers of the origin that refuse the gateway's credential itself, not one image.
    CredentialRefused = "credential_refused", Error, RECOVERY {
        began: "the origin refuses the gateway's credential",
        remedy: "check the key's state and its RAM policy, and the credentials settings: pai-image-gateway check",
        ended: "the origin accepts the credential again",
    }
    /// Answers of the origin that refuse the account as a whole: overdue, or not activated.
    AccountRefused = "account_refused", Error, RECOVERY {
        began: "the origin refuses the account",
        remedy: "settle the account's bill or activate PAI; upstream.account_codes lists the Codes that say so",
        ended: "the origin accepts the account again",
    }
    /// Failed attempts to obtain or renew a credential; the last good one serves until it expires.
    CredentialMissing = "credential_missing", Error, RECOVERY {
        began: "the credential cannot be obtained",
        remedy: "check the credentials settings: pai-image-gateway check",
        ended: "the credential is obtained again",
    }
    /// Calls held back by a breaker: the shared one, or one per operation, which is then the subject.
    BreakerOpen = "breaker_open", Warn, RECOVERY {
        began: "a breaker opened: calls to the origin are held back",
        remedy: "stale copies are served meanwhile; the lines before this one name the cause",
        ended: "the breaker closed: calls to the origin go again",
    }
    /// A shared cache that does not answer; every replica then works on its own.
    SharedTierLost = "shared_tier_lost", Warn, RECOVERY {
        began: "the shared cache cannot be reached",
        remedy: "requests are answered without it; check shared_cache.url and the server",
        ended: "the shared cache is connected again",
    }
    /// Walks of the catalogue that cannot read all pages; one episode per workspace.
    CatalogueWalkFails = "catalogue_walk_fails", Warn, RECOVERY {
        began: "the catalogue cannot be walked: its images are fetched one by one meanwhile",
        remedy: "look for the origin's own error in the detail; a workspace that may not be listed needs paiimage:ListImages, and is tried again each ten minutes",
        ended: "the catalogue is walked again",
    }
    /// Items of the catalogue that differ from GetImage's answer although the image did not change; one episode per member.
    CatalogueMismatch = "catalogue_mismatch", Error, EVENTS {
        began: "ListImages shows an image otherwise than GetImage: its item does not answer",
        remedy: "report the member to the gateway's authors; catalogue.answer = false keeps renewals and answers from no item",
        ended: "no new difference was found for a minute",
    }
    /// Workspaces that are dropped from the catalogue for want of memory; one episode per workspace.
    CatalogueFull = "catalogue_full", Warn, EVENTS {
        began: "a workspace is dropped from the catalogue: its items take too much memory",
        remedy: "raise catalogue.max_bytes, or name fewer workspaces",
        ended: "no workspace was dropped for a minute",
    }
    /// TLS hellos on a port that speaks plain HTTP; one episode per listener.
    TlsOnPlainPort = "tls_on_plain_port", Warn, EVENTS {
        began: "a client speaks TLS to this plain port",
        remedy: "set protocol to \"http\" in its SDK's Config, or set listen.tls",
        ended: "no client speaks TLS to this plain port any more",
    }
    /// Plain HTTP on a port that speaks TLS; one episode per listener.
    PlainOnTlsPort = "plain_on_tls_port", Info, EVENTS {
        began: "a client speaks plain HTTP to this TLS port",
        remedy: "set protocol to \"https\" in its SDK's Config",
        ended: "no client speaks plain HTTP to this TLS port any more",
    }
    /// TLS handshakes that fail or do not end in time; one episode per listener.
    HandshakesFail = "handshakes_fail", Info, EVENTS {
        began: "TLS handshakes fail",
        remedy: "check that clients trust the issuer of listen.tls.cert_file, and their own certificates",
        ended: "TLS handshakes succeed again",
    }
    /// Connections beyond a limit, closed before their first request; one episode per listener.
    ConnectionsRefused = "connections_refused", Warn, EVENTS {
        began: "connections are refused: too many are open",
        remedy: "raise listen.max_connections and the limit of open files, or look for the client that holds them",
        ended: "connections are no longer refused",
    }
    /// Errors of `accept`, mostly for want of file descriptors; one episode per listener.
    AcceptFails = "accept_fails", Warn, RECOVERY {
        began: "connections cannot be accepted",
        remedy: "raise the limit of open files (LimitNOFILE, ulimit -n)",
        ended: "connections are accepted again",
    }
    /// Requests whose signature or key is refused; one episode per reason.
    SignInsRefused = "sign_ins_refused", Info, EVENTS {
        began: "clients fail to authenticate",
        remedy: "compare the client's key and clock with clients.toml and this machine's clock",
        ended: "no client was refused for a minute",
    }
    /// Failed attempts to load the keys of `auth.kubernetes`; the former ones stay in force.
    TokenKeysMissing = "token_keys_missing", Error, RECOVERY {
        began: "the keys that verify service accounts' tokens cannot be loaded",
        remedy: "check auth.kubernetes.jwks_url or jwks_file, and its ca_file and token_file: pai-image-gateway check",
        ended: "the keys that verify service accounts' tokens are loaded again",
    }
    /// Admin requests without the admin token, or sent by a page of another site.
    AdminTokenRefused = "admin_token_refused", Warn, EVENTS {
        began: "an admin request had no valid token",
        remedy: "send the token of admin.token_file as Authorization: Bearer",
        ended: "no admin request was refused for a minute",
    }
    /// Changed files that cannot be used; one episode per part that they configure.
    ReloadFails = "reload_fails", Warn, RECOVERY {
        began: "a changed file cannot be used: the previous one stays in use",
        remedy: "correct the file; it is read again when it changes",
        ended: "the changed file is in use",
    }
    /// Requests or fetches that end in a panic, which their clients see as an error 500.
    Panics = "panics", Error, EVENTS {
        began: "a task panicked: this is a defect of the gateway",
        remedy: "report it with this line and the version",
        ended: "no task panicked for a minute",
    }
    /// Audit records that are dropped, because the output fails or is too slow.
    AuditLost = "audit_lost", Error, RECOVERY {
        began: "audit records are lost",
        remedy: "make room on the disk of audit.to, or make it writable",
        ended: "audit records are written again",
    }
    /// Failed attempts to write the snapshot or its journal to disk.
    SnapshotFails = "snapshot_fails", Error, RECOVERY {
        began: "the snapshot cannot be written",
        remedy: "make the folder of cache.snapshot writable, and make room on its disk",
        ended: "the snapshot is written again",
    }
    /// Exports of spans that the collector refuses, or does not answer in time.
    SpansLost = "spans_lost", Warn, EVENTS {
        began: "the collector does not accept spans: they are lost",
        remedy: "check traces.endpoint and the collector",
        ended: "the collector accepts spans again",
    }
    /// Image ids that name another object than before, by creation time or URI.
    ImageReplaced = "image_replaced", Warn, EVENTS {
        began: "an id names another object than before: created or located differently",
        remedy: "no action is needed; the new object is served",
        ended: "no id changed its object for a minute",
    }
    /// Requests that this gateway sent to its parent and that come back to it.
    GatewayLoop = "gateway_loop", Error, EVENTS {
        began: "requests of this gateway come back to it",
        remedy: "set upstream.endpoint, here or at a parent, to a gateway nearer to the origin",
        ended: "no request came back to this gateway for a minute",
    }
    /// Gaps in the invalidation log, or records that cannot be read; the subject says which.
    InvalidationLogLost = "invalidation_log_lost", Warn, EVENTS {
        began: "the invalidation log has a gap: every cached entry is fetched again",
        remedy: "let the shared cache's server evict nothing, and only gateways of one version write to it",
        ended: "the invalidation log had no gap for a minute",
    }
    /// Values of the credentials file that the vendor's SDKs would read differently; one episode per key.
    ProfileDoubtful = "profile_doubtful", Warn, EVENTS {
        began: "a value of the credentials file has a # inside, where the vendor's SDKs would cut it: it is used whole",
        remedy: "write comments on lines of their own",
        ended: "no such value was read for a minute",
    }
    /// A difference between this machine's clock and a server's date; one episode per server.
    ClockWrong = "clock_wrong", Warn, EVENTS {
        began: "this machine's clock is wrong: signatures and expirations follow the server's date",
        remedy: "set the clock by NTP",
        ended: "the correction of the clock did not change for a minute",
    }
}

impl Condition {
    /// Returns the value of the log's field `condition`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_page_has_a_sentence_for_each_condition_that_needs_a_look() {
        let page = include_str!("../../admin/page/banner.js");
        for condition in Condition::ALL {
            let row = condition.row();
            let has_sentence = page.contains(&format!("  {}: {{", row.name));
            let needs_a_look =
                row.severity > Severity::Info && !row.remedy.starts_with("no action");
            assert_eq!(has_sentence, needs_a_look, "{}", row.name);
        }
    }

    #[test]
    fn the_operators_manual_has_each_line_and_its_remedy() {
        let manual = include_str!("../../../docs/operations.md");
        for condition in Condition::ALL {
            let Row {
                name,
                began,
                remedy,
                ended,
                ..
            } = condition.row();
            let row = format!("| `{name}` | {began} | {ended} | {remedy} |");
            assert!(manual.contains(&row), "{row}");
        }
    }
}
