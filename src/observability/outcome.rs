//! The outcome of a request, the reason for a stale one, and the result of a call to the origin, named alike in
//! headers, metrics, logs, `/status` and audit records.
//!
//! They are closed sets, so that they may be labels of metrics. docs/ explains each to the operator.

use strum::{EnumCount, EnumString, IntoStaticStr, VariantArray};

/// Outcome of a request: exactly one for every answer that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// The cached copy, still fresh.
    Hit,
    /// The cached copy, past its ttl but within a window in which it may still be served.
    Stale,
    /// The result of a fetch that another request had already started.
    Coalesced,
    /// The result of this request's own fetch.
    Miss,
    /// The result of a fetch that the client forced, although a copy was cached.
    Refresh,
    /// A cached not-found or forbidden answer of the origin.
    Negative,
    /// An image that the client is not authorized to see, answered as if it did not exist.
    Denied,
    /// An operation that is passed to the origin and back, without the cache.
    Passthrough,
    /// A request that is malformed, not authenticated, or over its limit.
    Rejected,
    /// A failure of the gateway or the origin, without a copy to serve instead.
    Error,
}

impl Outcome {
    /// Returns true for an answer from the cache, or from another request's fetch, without a call of its own.
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

/// Reason for which a cache sends a stale answer: the `detail` of its `Cache-Status` (RFC 9211 §2.8), and the label
/// `reason` of this gateway's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum StaleReason {
    /// It refreshes the answer in the background.
    Revalidating,
    /// Its origin failed.
    OriginError,
    /// The client has used up its miss limit.
    OverBudget,
}

/// Result of one attempt at a call to the origin; the label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum CallResult {
    /// A status of 2xx.
    Ok,
    /// The origin has no such image.
    NotFound,
    /// The credential has no permission for the operation or the image.
    Forbidden,
    /// Too many calls, by the account or by everybody.
    Throttled,
    /// Any other status of 4xx.
    ClientError,
    /// A status of 5xx, or an answer that cannot be read.
    ServerError,
    /// No whole answer within the time of an attempt.
    Timeout,
    /// No connection, or one that broke before the whole answer.
    Transport,
    /// The origin refused the credential itself, such as a key that is disabled.
    Credential,
}

/// Gives enums that derive strum's `EnumCount`, `IntoStaticStr` and `VariantArray` an array of their variants and a
/// constant name for each, the same in every output.
macro_rules! named_variants {
    ($($visibility:vis $Type:ident),+ $(,)?) => {$(
        impl $Type {
            /// Every variant, in the order of the discriminants.
            $visibility const ALL: [Self; <Self as strum::EnumCount>::COUNT] =
                *<Self as strum::VariantArray>::VARIANTS
                    .first_chunk()
                    .expect("strum counts and lists the same variants");

            /// Returns the name that headers, metrics, logs and `/status` show.
            #[must_use]
            $visibility fn as_str(self) -> &'static str {
                self.into()
            }
        }
    )+};
}

pub(super) use named_variants;

named_variants! {
    pub Outcome,
    pub StaleReason,
    pub CallResult,
}
