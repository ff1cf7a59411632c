//! Request signatures of Alibaba Cloud's APIs, and [where the credential comes from](credentials) that signs.
//!
//! Signatures: ACS3 to sign and to verify, [ROA v2](roa) to verify, [RPC](rpc) to sign.
//!
//! ACS3 ("V3 request structure and signature") signs a canonical form of the request. ACS3-HMAC-SM3 differs from
//! ACS3-HMAC-SHA256 in the hash function alone:
//!
//! ```text
//! canonical request = method, path, query, headers, names of the signed headers, hash of the body
//! string to sign    = "ACS3-HMAC-SHA256" \n hex(sha256(canonical request))
//! signature         = hex(hmac_sha256(secret, string to sign))
//! ```
//!
//! [`sign`](sign()) and [`verify`](verify()) have separate canonicalizations, so that one mistake is not in both: the
//! first canonicalizes the request that it is about to send, the second one that was received. Signatures of the
//! vendor's SDKs test both.

mod algorithm;
mod authorization;
mod canonical;
pub mod clock;
pub mod credentials;
mod headers;
mod hex;
mod identity;
mod key;
mod path_encodings;
pub mod roa;
pub mod rpc;
mod sign;
mod verify;

pub use algorithm::Algorithm;
pub use authorization::Authorization;
pub use canonical::{canonical_request, string_to_sign};
pub use headers::{RequestHeaders, split};
pub use hex::{hex, unhex};
pub use identity::Identity;
pub use key::VerifyingKey;
pub use sign::{Credentials, UnsignedRequest, authorization, sign};
pub use verify::{VerifyError, verify};

/// Name of ACS3 with SHA-256: first word of `Authorization` and first line of the string to sign.
pub const ALGORITHM: &str = Algorithm::Sha256.as_str();

/// Largest distance between a request's date and the verifier's clock, in seconds; the cloud's own limit.
pub const WINDOW_SECONDS: i64 = 15 * 60;
