//! Recurring troubles in the log, each as an [`Episode`]: whatever a stranger or the origin does, the lines a minute
//! are bounded.
//!
//! A part reports [`Conditions::occurred`] where the trouble occurs and [`Conditions::recovered`] where it is seen to
//! be over; both may be called for every request. [`Conditions::tick`] writes the lines that are due by time alone.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::episode::{DueLine, Episode, Rules};

/// Episodes kept at once; what else occurs is left to the metrics.
const MAX_EPISODES: usize = 256;
/// Longest detail in a line, in bytes.
const MAX_DETAIL: usize = 1024;

/// A trouble that the log reports as an episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Condition {
    /// The origin answers that there are too many calls; by operation.
    OriginThrottles,
    /// The origin answers with errors of its own; by operation.
    OriginFails,
    /// No connection to the origin, or no answer in time.
    OriginUnreachable,
    /// The origin refuses the gateway's credential.
    CredentialRefused,
    /// No credential could be obtained or renewed.
    CredentialMissing,
    /// A breaker holds calls back: the shared one, or an operation's.
    BreakerOpen,
    /// The shared tier does not answer.
    SharedTierLost,
    /// TLS hellos on a plain port; by listener.
    TlsOnPlainPort,
    /// Plain HTTP on a TLS port; by listener.
    PlainOnTlsPort,
    /// TLS handshakes that fail or do not end; by listener.
    HandshakesFail,
    /// Connections beyond a limit; by listener.
    ConnectionsRefused,
    /// Connections that cannot be accepted; by listener.
    AcceptFails,
    /// Requests whose sender is not let in; by reason.
    SignInsRefused,
    /// Admin requests without the admin token.
    AdminTokenRefused,
    /// Files that cannot be taken over; by part.
    ReloadFails,
    /// Requests or fetches that panic.
    Panics,
    /// Records of the audit that cannot be written.
    AuditLost,
    /// The snapshot or its journal cannot be written.
    SnapshotFails,
    /// Spans that the collector does not take.
    SpansLost,
    /// Ids that come to name another object than before.
    ImageReplaced,
    /// Requests that this gateway sent to its parent come back to it.
    GatewayLoop,
    /// The invalidation log has a gap, or an entry that cannot be read; by which.
    InvalidationLogLost,
    /// A value of the credentials file that the vendor's SDKs would read differently; by key.
    ProfileDoubtful,
    /// This machine's clock differs from a server's; by server.
    ClockWrong,
}

/// How serious a condition is for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    /// The gateway does its work; somebody else does not.
    Info,
    /// The gateway works with less.
    Warn,
    /// Somebody must act.
    Error,
}

impl Condition {
    /// Every condition.
    #[cfg(test)]
    const ALL: [Self; 24] = [
        Self::OriginThrottles,
        Self::OriginFails,
        Self::OriginUnreachable,
        Self::CredentialRefused,
        Self::CredentialMissing,
        Self::BreakerOpen,
        Self::SharedTierLost,
        Self::TlsOnPlainPort,
        Self::PlainOnTlsPort,
        Self::HandshakesFail,
        Self::ConnectionsRefused,
        Self::AcceptFails,
        Self::SignInsRefused,
        Self::AdminTokenRefused,
        Self::ReloadFails,
        Self::Panics,
        Self::AuditLost,
        Self::SnapshotFails,
        Self::SpansLost,
        Self::ImageReplaced,
        Self::GatewayLoop,
        Self::InvalidationLogLost,
        Self::ProfileDoubtful,
        Self::ClockWrong,
    ];

    /// The name in the log's field `condition`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OriginThrottles => "origin_throttles",
            Self::OriginFails => "origin_fails",
            Self::OriginUnreachable => "origin_unreachable",
            Self::CredentialRefused => "credential_refused",
            Self::CredentialMissing => "credential_missing",
            Self::BreakerOpen => "breaker_open",
            Self::SharedTierLost => "shared_tier_lost",
            Self::TlsOnPlainPort => "tls_on_plain_port",
            Self::PlainOnTlsPort => "plain_on_tls_port",
            Self::HandshakesFail => "handshakes_fail",
            Self::ConnectionsRefused => "connections_refused",
            Self::AcceptFails => "accept_fails",
            Self::SignInsRefused => "sign_ins_refused",
            Self::AdminTokenRefused => "admin_token_refused",
            Self::ReloadFails => "reload_fails",
            Self::Panics => "panics",
            Self::AuditLost => "audit_lost",
            Self::SnapshotFails => "snapshot_fails",
            Self::SpansLost => "spans_lost",
            Self::ImageReplaced => "image_replaced",
            Self::GatewayLoop => "gateway_loop",
            Self::InvalidationLogLost => "invalidation_log_lost",
            Self::ProfileDoubtful => "profile_doubtful",
            Self::ClockWrong => "clock_wrong",
        }
    }

    /// What the first line says, and what to do about it.
    const fn began(self) -> (&'static str, &'static str) {
        match self {
            Self::OriginThrottles => (
                "the origin throttles",
                "another user of the account calls it too, or upstream.calls_per_second is above the account's quota",
            ),
            Self::OriginFails => (
                "the origin fails",
                "stale copies are served meanwhile; if it lasts, ask the vendor with the request_id",
            ),
            Self::OriginUnreachable => (
                "the origin cannot be reached",
                "check the network, DNS and proxy from this machine to the host, and upstream.endpoint or upstream.region",
            ),
            Self::CredentialRefused => (
                "the origin refuses the gateway's credential",
                "check the key's state and its RAM policy, and the credentials settings: pai-image-gateway check",
            ),
            Self::CredentialMissing => (
                "the credential cannot be obtained",
                "check the credentials settings: pai-image-gateway check",
            ),
            Self::BreakerOpen => (
                "a breaker opened: calls to the origin are held back",
                "stale copies are served meanwhile; the lines before this one tell the cause",
            ),
            Self::SharedTierLost => (
                "the shared tier is lost",
                "requests are answered without it; check shared_cache.url and the server",
            ),
            Self::TlsOnPlainPort => (
                "a client speaks TLS to this plain port",
                "set protocol to \"http\" in its SDK's Config, or set listen.tls",
            ),
            Self::PlainOnTlsPort => (
                "a client speaks no TLS to this TLS port",
                "set protocol to \"https\" in its SDK's Config",
            ),
            Self::HandshakesFail => (
                "TLS handshakes fail",
                "check that clients trust the issuer of listen.tls.cert_file, and their own certificates",
            ),
            Self::ConnectionsRefused => (
                "connections are refused: there are too many",
                "raise listen.max_connections and the limit of open files, or look for the client that holds them",
            ),
            Self::AcceptFails => (
                "connections cannot be accepted",
                "raise the limit of open files (LimitNOFILE, ulimit -n)",
            ),
            Self::SignInsRefused => (
                "clients are not let in",
                "compare the client's key and clock with clients.toml and this machine's clock",
            ),
            Self::AdminTokenRefused => (
                "an admin request had no valid token",
                "send the token of admin.token_file as Authorization: Bearer",
            ),
            Self::ReloadFails => (
                "a changed file cannot be used: the old one stays in force",
                "mend the file; it is read again when it changes",
            ),
            Self::Panics => (
                "a task panicked: this is a defect of the gateway",
                "report it with this line and the version",
            ),
            Self::AuditLost => (
                "audit records are lost",
                "make room on the disk of audit.to, or make it writable",
            ),
            Self::SnapshotFails => (
                "the snapshot cannot be written",
                "make the folder of cache.snapshot writable, and make room on its disk",
            ),
            Self::SpansLost => (
                "the collector does not take spans: they are lost",
                "check traces.endpoint and the collector",
            ),
            Self::ImageReplaced => (
                "an id names another object than before: created or located differently",
                "nothing needs doing; the new object is served",
            ),
            Self::InvalidationLogLost => (
                "the invalidation log has a gap: every cached entry is fetched again",
                "let the shared cache's server evict nothing, and only gateways of one version write to it",
            ),
            Self::ProfileDoubtful => (
                "a value of the credentials file has a # inside, where the vendor's SDKs would cut it: it is used whole",
                "write comments on lines of their own",
            ),
            Self::ClockWrong => (
                "this machine's clock is wrong: signatures and expirations go by the server's date",
                "set the clock by NTP",
            ),
            Self::GatewayLoop => (
                "requests of this gateway come back to it",
                "set upstream.endpoint, here or at a parent, to a gateway nearer to the origin",
            ),
        }
    }

    /// What the last line says.
    const fn ended(self) -> &'static str {
        match self {
            Self::OriginThrottles => "the origin throttles no more",
            Self::OriginFails => "the origin answers again",
            Self::OriginUnreachable => "the origin is reached again",
            Self::CredentialRefused => "the origin accepts the credential again",
            Self::CredentialMissing => "the credential is obtained again",
            Self::BreakerOpen => "the breaker closed: calls to the origin go again",
            Self::SharedTierLost => "the shared tier is back",
            Self::TlsOnPlainPort => "no client speaks TLS to this plain port any more",
            Self::PlainOnTlsPort => "no client speaks plain HTTP to this TLS port any more",
            Self::HandshakesFail => "TLS handshakes fail no more",
            Self::ConnectionsRefused => "connections are refused no more",
            Self::AcceptFails => "connections are accepted again",
            Self::SignInsRefused => "no client was refused for a minute",
            Self::AdminTokenRefused => "no admin request was refused for a minute",
            Self::ReloadFails => "the changed file was taken over",
            Self::Panics => "no task panicked for a minute",
            Self::AuditLost => "audit records are written again",
            Self::SnapshotFails => "the snapshot is written again",
            Self::SpansLost => "the collector takes spans again",
            Self::ImageReplaced => "no id changed its object for a minute",
            Self::InvalidationLogLost => "the invalidation log had no gap for a minute",
            Self::ProfileDoubtful => "no such value was read for a minute",
            Self::ClockWrong => "the correction of the clock did not change for a minute",
            Self::GatewayLoop => "no request came back to this gateway for a minute",
        }
    }

    const fn severity(self) -> Severity {
        match self {
            Self::CredentialRefused
            | Self::CredentialMissing
            | Self::Panics
            | Self::GatewayLoop
            | Self::AuditLost
            | Self::SnapshotFails => Severity::Error,
            Self::OriginThrottles
            | Self::OriginFails
            | Self::OriginUnreachable
            | Self::BreakerOpen
            | Self::SharedTierLost
            | Self::TlsOnPlainPort
            | Self::ConnectionsRefused
            | Self::AcceptFails
            | Self::AdminTokenRefused
            | Self::ReloadFails
            | Self::SpansLost
            | Self::InvalidationLogLost
            | Self::ProfileDoubtful
            | Self::ClockWrong
            | Self::ImageReplaced => Severity::Warn,
            Self::PlainOnTlsPort | Self::HandshakesFail | Self::SignInsRefused => Severity::Info,
        }
    }

    const fn rules(self) -> Rules {
        match self {
            // Nothing says that these are over but that none comes any more.
            Self::TlsOnPlainPort
            | Self::PlainOnTlsPort
            | Self::HandshakesFail
            | Self::ConnectionsRefused
            | Self::SignInsRefused
            | Self::AdminTokenRefused
            | Self::Panics
            | Self::SpansLost
            | Self::ImageReplaced
            | Self::InvalidationLogLost
            | Self::ProfileDoubtful
            | Self::ClockWrong
            | Self::GatewayLoop => Rules {
                settle: Duration::ZERO,
                quiet: Some(QUIET),
            },
            // One good answer between two bad ones is no recovery.
            Self::OriginThrottles | Self::OriginFails | Self::OriginUnreachable => Rules {
                settle: SETTLE,
                quiet: None,
            },
            Self::CredentialRefused
            | Self::CredentialMissing
            | Self::BreakerOpen
            | Self::SharedTierLost
            | Self::AcceptFails
            | Self::ReloadFails
            | Self::AuditLost
            | Self::SnapshotFails => Rules {
                settle: Duration::ZERO,
                quiet: None,
            },
        }
    }
}

/// Without an occurrence for so long, a series of events is over.
const QUIET: Duration = Duration::from_secs(60);
/// A recovery of the origin is reported after so long without a relapse.
const SETTLE: Duration = Duration::from_secs(2);

/// Every episode of one gateway; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Conditions(Arc<Episodes>);

#[derive(Debug, Default)]
struct Episodes {
    episodes: Mutex<HashMap<EpisodeKey, ReportedEpisode>>,
    /// Episodes kept, so that a recovery costs one load while nothing is wrong.
    kept: AtomicUsize,
}

type EpisodeKey = (Condition, Cow<'static, str>);

#[derive(Debug)]
struct ReportedEpisode {
    episode: Episode,
    /// The detail of the latest line.
    detail: String,
}

impl Conditions {
    /// Reports an occurrence. `subject` tells episodes of one condition apart: an operation, a listener, a host, a
    /// part; never a client's own text. `detail` is asked for only where a line is written.
    pub fn occurred(
        &self,
        condition: Condition,
        subject: impl Into<Cow<'static, str>>,
        detail: impl FnOnce() -> String,
    ) {
        let (key, now) = ((condition, subject.into()), Instant::now());
        let mut episodes = self.0.episodes.lock();
        if episodes.len() >= MAX_EPISODES && !episodes.contains_key(&key) {
            return;
        }
        let subject = key.1.clone();
        let reported = episodes.entry(key).or_insert_with(|| ReportedEpisode {
            episode: Episode::new(condition.rules()),
            detail: String::new(),
        });
        if let Some(line) = reported.episode.occurred(now) {
            reported.detail = bounded(detail());
            write(condition, &subject, line, &reported.detail);
        }
        self.0.kept.store(episodes.len(), Ordering::Relaxed);
    }

    /// Reports that a trouble is over. Costs one atomic load while none is there.
    pub fn recovered(&self, condition: Condition, subject: impl Into<Cow<'static, str>>) {
        if self.0.kept.load(Ordering::Relaxed) == 0 {
            return;
        }
        let key = (condition, subject.into());
        if let Some(reported) = self.0.episodes.lock().get_mut(&key)
            && let Some(line) = reported.episode.recovered(Instant::now())
        {
            write(condition, &key.1, line, &reported.detail);
        }
    }

    /// Writes the lines that are due by time alone; to be called each second.
    pub fn tick(&self, now: Instant) {
        if self.0.kept.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut episodes = self.0.episodes.lock();
        episodes.retain(|(condition, subject), reported| {
            if let Some(line) = reported.episode.due(now) {
                write(*condition, subject, line, &reported.detail);
            }
            !reported.episode.is_over(now)
        });
        self.0.kept.store(episodes.len(), Ordering::Relaxed);
    }
}

/// Cuts a detail at a character, so that no answer of the origin makes a line longer than [`MAX_DETAIL`].
fn bounded(mut detail: String) -> String {
    let mut end = detail.len().min(MAX_DETAIL);
    while !detail.is_char_boundary(end) {
        end -= 1;
    }
    detail.truncate(end);
    detail
}

fn write(condition: Condition, subject: &str, line: DueLine, detail: &str) {
    let (text, remedy) = condition.began();
    let name = condition.as_str();
    let detail = (!detail.is_empty()).then_some(detail);
    macro_rules! line {
        ($level:ident) => {
            match line {
                DueLine::Began => {
                    tracing::$level!(condition = name, subject, detail, remedy, "{text}");
                }
                DueLine::Continues { lasting, count } => tracing::$level!(
                    condition = name,
                    subject,
                    detail,
                    remedy,
                    count,
                    lasting_seconds = lasting.as_secs(),
                    "still: {text}"
                ),
                DueLine::Ended { lasted, count } => tracing::info!(
                    condition = name,
                    subject,
                    count,
                    lasted_seconds = lasted.as_secs(),
                    "{}",
                    condition.ended()
                ),
            }
        };
    }
    match condition.severity() {
        Severity::Info => line!(info),
        Severity::Warn => line!(warn),
        Severity::Error => line!(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_manual_has_each_line_and_its_remedy() {
        let manual = include_str!("../../../docs/operations.md");
        for condition in Condition::ALL {
            let ((began, remedy), name) = (condition.began(), condition.as_str());
            let row = format!("| `{name}` | {began} | {} | {remedy} |", condition.ended());
            assert!(manual.contains(&row), "{row}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_episode_is_kept_until_nothing_is_left_to_report() {
        let conditions = Conditions::default();
        for _ in 0..1000 {
            conditions.occurred(Condition::TlsOnPlainPort, "data", String::new);
        }
        assert_eq!(conditions.0.episodes.lock().len(), 1);
        tokio::time::advance(QUIET).await;
        conditions.tick(Instant::now());
        assert_eq!(conditions.0.episodes.lock().len(), 1, "its end is new");
        tokio::time::advance(QUIET).await;
        conditions.tick(Instant::now());
        assert_eq!(conditions.0.episodes.lock().len(), 0);
        assert_eq!(conditions.0.kept.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn no_more_subjects_are_kept_than_there_is_room_for() {
        let conditions = Conditions::default();
        for subject in 0..2 * MAX_EPISODES {
            conditions.occurred(Condition::ReloadFails, subject.to_string(), String::new);
        }
        assert_eq!(conditions.0.episodes.lock().len(), MAX_EPISODES);
    }

    #[test]
    fn a_detail_is_cut_at_a_character() {
        assert_eq!(bounded("short".to_owned()), "short");
        let cut = bounded("x".repeat(MAX_DETAIL - 1) + "\u{e9}");
        assert_eq!(cut.len(), MAX_DETAIL - 1);
    }
}
