//! The one word for how a request ended, the same in headers, metrics, logs, `/status` and audit.

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

#[cfg(test)]
mod tests {
    use super::Outcome;

    #[test]
    fn outcomes_are_listed_in_discriminant_order() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
        }
    }
}
