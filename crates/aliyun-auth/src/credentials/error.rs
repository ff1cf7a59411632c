//! Reasons why a source gave no credential.

use std::io;
use std::sync::Arc;

use http_edge::transport::{BuildError, TransportError};

/// Reason why a source gave no credential, with the remedy where there is one. It never contains a secret, nor the
/// text of a file or response, which may quote one.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A setting or variable that the source needs is not set.
    #[error("{missing}: {remedy}")]
    Missing {
        /// Setting and variable, as part of a sentence.
        missing: &'static str,
        /// Remedy for the operator.
        remedy: &'static str,
    },
    /// The environment switches the source off.
    #[error("{source_name} is switched off by {variable}")]
    Disabled {
        /// Name of the source.
        source_name: &'static str,
        /// Variable that switches it off.
        variable: &'static str,
    },
    /// A file could not be read.
    #[error("cannot read {path} ({key})")]
    File {
        /// Setting or variable that names the file.
        key: &'static str,
        /// Path of the file.
        path: String,
        /// Error of the operating system.
        #[source]
        cause: io::Error,
    },
    /// A file holds nothing but white space.
    #[error("{path} ({key}) is empty")]
    Empty {
        /// Setting that names the file.
        key: &'static str,
        /// Path of the file.
        path: String,
    },
    /// A file of profiles was read, but its profile describes no credential.
    #[error("{path}: {problem}")]
    Profile {
        /// Path of the file.
        path: String,
        /// Problem and remedy, with the profile's name.
        problem: String,
    },
    /// The HTTP client cannot be built, for its CA file or its proxy.
    #[error("no credential can be fetched")]
    Client(#[source] Arc<BuildError>),
    /// An address is malformed, or would send the credential in the clear.
    #[error("the address of {who} cannot be used: {problem}")]
    Address {
        /// Server of that address.
        who: &'static str,
        /// Problem and remedy.
        problem: &'static str,
    },
    /// The connection failed before a whole response came.
    #[error("no response from {who}")]
    Unanswered {
        /// Server of the request.
        who: &'static str,
        /// Failure of the connection.
        #[source]
        cause: TransportError,
    },
    /// No whole response came in time.
    #[error("no response from {who} in time")]
    Timeout {
        /// Server of the request.
        who: &'static str,
    },
    /// The server refused the request.
    #[error("{who} refused with status {status}{}", details(.code.as_deref(), .request_id.as_deref(), .message.as_deref()))]
    Refused {
        /// Server of the request.
        who: &'static str,
        /// HTTP status of the response.
        status: u16,
        /// Code of the response, if it gave one.
        code: Option<String>,
        /// Id by which the vendor finds the request, if the response gave one.
        request_id: Option<String>,
        /// Message of the response, where the request had no key that it could quote.
        message: Option<String>,
    },
    /// The response holds no credential.
    #[error("the response of {who} cannot be used: {problem}")]
    Answer {
        /// Server of the request.
        who: &'static str,
        /// Problem with the response, without quoting it.
        problem: &'static str,
    },
    /// A part of the credential cannot be sent in a header, or spans lines.
    #[error("the {part} from {source_name} {problem}: copy it again")]
    Unusable {
        /// Source, as in metrics and `/status`.
        source_name: &'static str,
        /// Part of the credential, by name.
        part: &'static str,
        /// Problem with that part, without quoting it.
        problem: &'static str,
    },
    /// The credential had already expired when it was fetched.
    #[error("the credential has already expired (is this machine's clock right?)")]
    Expired,
    /// The external program printed no credential.
    #[error("the profile's process_command {problem}")]
    Process {
        /// Failure of the program, without its output.
        problem: String,
    },
}

fn details(code: Option<&str>, request_id: Option<&str>, message: Option<&str>) -> String {
    let parts = [
        code.map(|code| format!(" and code {code}")),
        message.map(|message| format!(": {message}")),
        request_id.map(|id| format!(" (RequestId {id})")),
    ];
    parts.into_iter().flatten().collect()
}
