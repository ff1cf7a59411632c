//! Why a request was not let in.

/// Why a request was not let in. It names nothing secret: not the key's secret, not the token, not the
/// signature that would have been right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No credential at all.
    #[error("AccessKeyId is mandatory for this action.")]
    NoCredential,
    /// A credential that is not of a form that is taken here.
    #[error("the credential is not of a form that this gateway takes: {0}")]
    Unreadable(&'static str),
    /// A header that a signature must cover, once, is not covered.
    #[error("the signature does not cover a header that it must cover, once: {0}")]
    Unsigned(&'static str),
    /// No such key was issued here.
    #[error("Specified access key is not found.")]
    UnknownKey,
    /// A key of the cloud itself; this gateway takes only those its operator issued.
    #[error("Specified access key is not found.")]
    CloudKey,
    /// The date is not within 15 minutes of ours.
    #[error("Specified time stamp or date value is expired.")]
    Expired,
    /// The date cannot be read.
    #[error("Specified time stamp or date value is not well formatted.")]
    BadDate,
    /// Another version of the API.
    #[error("Specified parameter Version is not valid.")]
    Version,
    /// `x-acs-action` names another operation than the path.
    #[error("x-acs-action names another operation than the path")]
    Action,
    /// The signature is of something else, or by another key.
    #[error(
        "Specified signature is not matched with our calculation: check the AccessKeySecret, and that nothing on the way changes the request."
    )]
    Mismatch,
    /// An ROA v2 signature over a query that reads like another once it is decoded.
    #[error(
        "an ROA v2 signature covers the decoded query, where the & or = in this one reads as a separator: sign with ACS3-HMAC-SHA256"
    )]
    Ambiguous,
    /// The body is not the one that was signed.
    #[error("the body is not the one that was signed: its hash differs from x-acs-content-sha256")]
    Body,
    /// The nonce has come before.
    #[error("Specified signature nonce was used already.")]
    NonceUsed,
    /// Too many nonces to remember one more write's.
    #[error("too many requests in the last 30 minutes to tell a repeated write from a new one")]
    NoncesFull,
    /// The nonce of a write cannot be recorded, so it was not sent.
    #[error(
        "the nonce of this write cannot be recorded now, so the write was not sent: sign and send it again later"
    )]
    NotRecorded,
    /// The key goes with a security token.
    #[error("SecurityToken is mandatory for this action.")]
    NoToken,
    /// Another token than the key's.
    #[error("Specified SecurityToken is malformed.")]
    WrongToken,
    /// A bearer token, or an unsigned body, where others can read along.
    #[error("{0}")]
    Exposed(&'static str),
}

impl AuthError {
    /// Every [`AuthError::reason`], so that each is counted from 0.
    pub const REASONS: [&str; 18] = [
        "no_credential",
        "unreadable",
        "unsigned",
        "unknown_key",
        "cloud_key",
        "expired",
        "bad_date",
        "version",
        "action",
        "signature",
        "ambiguous",
        "body",
        "nonce_used",
        "nonces_full",
        "not_recorded",
        "no_token",
        "wrong_token",
        "exposed",
    ];

    /// The word in metrics and logs.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NoCredential => "no_credential",
            Self::Unreadable(_) => "unreadable",
            Self::Unsigned(_) => "unsigned",
            Self::UnknownKey => "unknown_key",
            Self::CloudKey => "cloud_key",
            Self::Expired => "expired",
            Self::BadDate => "bad_date",
            Self::Version => "version",
            Self::Action => "action",
            Self::Mismatch => "signature",
            Self::Ambiguous => "ambiguous",
            Self::Body => "body",
            Self::NonceUsed => "nonce_used",
            Self::NoncesFull => "nonces_full",
            Self::NotRecorded => "not_recorded",
            Self::NoToken => "no_token",
            Self::WrongToken => "wrong_token",
            Self::Exposed(_) => "exposed",
        }
    }
}
