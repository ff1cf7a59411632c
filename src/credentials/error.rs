//! Why there is no credential.

use std::io;
use std::sync::Arc;

use crate::transport::{BuildError, TransportError};

/// Why a source has no credential, and what to do; never the credential, and never the text of an
/// answer, which may quote one.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Something was not named.
    #[error("{missing}: {remedy}")]
    Missing {
        /// What was not named.
        missing: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The source is switched off.
    #[error("{source_name} is switched off by {variable}")]
    Disabled {
        /// Which source.
        source_name: &'static str,
        /// The environment variable that says so.
        variable: &'static str,
    },
    /// A file could not be read.
    #[error("cannot read {path} ({key})")]
    File {
        /// The setting or variable that names it.
        key: &'static str,
        /// Which file.
        path: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A file was read but is empty.
    #[error("{path} ({key}) is empty")]
    Empty {
        /// The setting that names it.
        key: &'static str,
        /// Which file.
        path: String,
    },
    /// A file of profiles was read but does not give a credential.
    #[error("{path}: {problem}")]
    Profile {
        /// Which file.
        path: String,
        /// What is wrong, with the profile's name.
        problem: String,
    },
    /// The client cannot be made.
    #[error("no credential can be fetched")]
    Client(#[source] Arc<BuildError>),
    /// An address that may not or cannot be asked.
    #[error("the address of {who} cannot be used: {problem}")]
    Address {
        /// Who was to be asked.
        who: &'static str,
        /// What is wrong with the address.
        problem: &'static str,
    },
    /// No whole answer came.
    #[error("no answer from {who}")]
    Unanswered {
        /// Who was asked.
        who: &'static str,
        /// What broke.
        #[source]
        cause: TransportError,
    },
    /// No answer came in time.
    #[error("no answer from {who} in time")]
    Timeout {
        /// Who was asked.
        who: &'static str,
    },
    /// The answer is a refusal.
    #[error("{who} refused with status {status}{}", and_code(.code.as_deref()))]
    Refused {
        /// Who was asked.
        who: &'static str,
        /// The HTTP status.
        status: u16,
        /// The answer's Code, if it gave one.
        code: Option<String>,
    },
    /// The answer is no credential.
    #[error("the answer of {who} cannot be used: {problem}")]
    Answer {
        /// Who was asked.
        who: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A part of the credential cannot be sent.
    #[error("the {part} from {source_name} {problem}: copy it again")]
    Unusable {
        /// The source, as in metrics and `/status`.
        source_name: &'static str,
        /// The part of the credential.
        part: &'static str,
        /// The problem with it.
        problem: &'static str,
    },
    /// The credential is one of the past.
    #[error("the credential has already expired (is this machine's clock right?)")]
    Expired,
    /// The external program gave no credential.
    #[error("the profile's process_command {problem}")]
    Process {
        /// What went wrong.
        problem: String,
    },
}

fn and_code(code: Option<&str>) -> String {
    code.map_or_else(String::new, |code| format!(" and code {code}"))
}
