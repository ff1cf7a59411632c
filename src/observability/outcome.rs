//! The one word for how a request ended, the same in headers, metrics, logs, `/status` and audit; and
//! the one for how an attempt at the origin did.

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Answered from memory, fresh.
    Hit,
    /// Answered from memory, past its ttl.
    Stale,
    /// Answered with what another request was already fetching.
    Coalesced,
    /// Fetched.
    Miss,
    /// Fetched because the client asked for a newer answer than the one in memory.
    Refresh,
    /// Answered from memory: there is no such image.
    Negative,
    /// Refused: the client may not have it.
    Denied,
    /// Handed to the origin and back.
    Passthrough,
    /// Malformed, unauthenticated or over budget.
    Rejected,
    /// Failed.
    Error,
}

impl Outcome {
    /// Every outcome, in the order of the discriminants.
    pub const ALL: [Self; 10] = [
        Self::Hit,
        Self::Stale,
        Self::Coalesced,
        Self::Miss,
        Self::Refresh,
        Self::Negative,
        Self::Denied,
        Self::Passthrough,
        Self::Rejected,
        Self::Error,
    ];

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Coalesced => "coalesced",
            Self::Miss => "miss",
            Self::Refresh => "refresh",
            Self::Negative => "negative",
            Self::Denied => "denied",
            Self::Passthrough => "passthrough",
            Self::Rejected => "rejected",
            Self::Error => "error",
        }
    }

    /// Whether memory answered, without a call of this request's own.
    #[must_use]
    pub const fn is_from_memory(self) -> bool {
        match self {
            Self::Hit | Self::Stale | Self::Coalesced | Self::Negative => true,
            Self::Miss
            | Self::Refresh
            | Self::Denied
            | Self::Passthrough
            | Self::Rejected
            | Self::Error => false,
        }
    }
}

/// How one attempt ended; the `result` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the metric's own words")]
pub enum CallResult {
    Ok,
    NotFound,
    Forbidden,
    Throttled,
    ClientError,
    ServerError,
    Timeout,
    Transport,
    Credential,
}

impl CallResult {
    /// Every result, in the order of the discriminants.
    pub const ALL: [Self; 9] = [
        Self::Ok,
        Self::NotFound,
        Self::Forbidden,
        Self::Throttled,
        Self::ClientError,
        Self::ServerError,
        Self::Timeout,
        Self::Transport,
        Self::Credential,
    ];

    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotFound => "not_found",
            Self::Forbidden => "forbidden",
            Self::Throttled => "throttled",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
            Self::Timeout => "timeout",
            Self::Transport => "transport",
            Self::Credential => "credential",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CallResult, Outcome};

    #[test]
    fn outcomes_are_listed_in_discriminant_order() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
        }
    }

    #[test]
    fn results_are_listed_in_discriminant_order() {
        for (index, result) in CallResult::ALL.into_iter().enumerate() {
            assert_eq!(result as usize, index);
        }
    }
}
