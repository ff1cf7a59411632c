//! Meaning of the origin's answers. Statuses alone do not tell: the vendor answers throttles with 400 and missing keys
//! with 404, and proxies on the way answer with statuses of their own. So the `Code` decides, then the status; an
//! error without a Code is no word of the API.

use std::time::Duration;

use secrecy::ExposeSecret;
use wildmatch::WildMatch;

use super::{Config, ParentFault};
use crate::api::{ImageFields, Operation, OriginError};
use crate::observability::outcome::CallResult;
use crate::signing::Credentials;
use crate::transport::Reply;

/// Meaning of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The answer to what was asked, with what it says of an image, if it is one.
    Ok(ImageFields),
    /// A 200 that is not what the operation answers.
    Unreadable,
    /// There is no such image.
    NotFound(OriginError),
    /// The central credential may not see this image, or search this workspace.
    Forbidden(OriginError),
    /// The account's flow control.
    Throttled(Throttle),
    /// Another complaint about the request.
    ClientError(OriginError),
    /// The origin failed.
    ServerError(OriginError),
    /// A status below 500 without a Code: something on the way answered, not the API.
    Foreign(OriginError),
    /// A complaint about our key, signature, token or clock.
    Credential(OriginError),
    /// The credential has no permission for the whole operation.
    Permission(OriginError),
    /// A parent gateway has no answer.
    Parent(ParentFault),
}

/// Throttle of the origin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Throttle {
    /// The origin's own Code; empty where it gave none.
    pub code: String,
    /// How long it asks us to wait, where it says so.
    pub wait: Option<Duration>,
}

impl Verdict {
    /// The metric's word.
    #[must_use]
    pub const fn result(&self) -> CallResult {
        match self {
            Self::Ok(_) => CallResult::Ok,
            Self::NotFound(_) => CallResult::NotFound,
            Self::Forbidden(_) => CallResult::Forbidden,
            Self::Throttled(_) => CallResult::Throttled,
            Self::ClientError(_) => CallResult::ClientError,
            Self::ServerError(_) | Self::Unreadable | Self::Foreign(_) => CallResult::ServerError,
            Self::Credential(_) | Self::Permission(_) => CallResult::Credential,
            Self::Parent(fault) => fault.result(),
        }
    }
}

/// Codes and texts that mean something, by pattern: `*` matches any text, upper and lower case are alike.
#[derive(Debug, Clone)]
pub struct Classifier {
    not_found: Vec<WildMatch>,
    forbidden: Vec<WildMatch>,
    account: Vec<WildMatch>,
    throttle: Vec<WildMatch>,
    credential: Vec<WildMatch>,
    private: Vec<WildMatch>,
}

/// Replaces a Message that quotes what the gateway signed.
const WITHHELD: &str = "The origin's message is withheld: it quotes what the gateway signed.";
/// Shorter key ids and tokens are not looked for: they would be found in any text.
const SHORTEST_SECRET: usize = 4;

impl Classifier {
    /// Compiles the patterns of the settings.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let compile = |patterns: &[String]| {
            let patterns = patterns.iter();
            patterns
                .map(|pattern| WildMatch::new_case_insensitive(pattern))
                .collect()
        };
        Self {
            not_found: compile(&config.not_found_codes),
            forbidden: compile(&config.forbidden_codes),
            account: compile(&config.account_codes),
            throttle: compile(&config.throttle_codes),
            credential: compile(&config.credential_codes),
            private: compile(&config.private_messages),
        }
    }

    /// Judges an answer to a request that was signed with this credential.
    #[must_use]
    pub fn classify(&self, operation: &Operation, reply: &Reply, signed: &Credentials) -> Verdict {
        match reply.status {
            200..300 if operation.is_write() => self.classify_written(operation, reply, signed),
            200 => self.classify_read(operation, reply, signed),
            _ => self.classify_error(operation, reply, signed),
        }
    }

    /// A write that was answered with any 2xx was carried out. Only an answer that quotes our credential stays here.
    fn classify_written(
        &self,
        operation: &Operation,
        reply: &Reply,
        signed: &Credentials,
    ) -> Verdict {
        match self.classify_error(operation, reply, signed) {
            Verdict::Credential(error) => Verdict::Credential(error),
            _ => Verdict::Ok(ImageFields::parse(&reply.body).unwrap_or_default()),
        }
    }

    fn classify_read(&self, operation: &Operation, reply: &Reply, signed: &Credentials) -> Verdict {
        let Ok(fields) = ImageFields::parse(&reply.body) else {
            return Verdict::Unreadable;
        };
        let is_answer = match operation {
            Operation::GetImage(_) => fields.present.is_image(),
            Operation::ListImages => fields.present.is_page_of_images(),
            Operation::ListImageLabels => fields.present.is_page_of_labels(),
            _ => true,
        };
        if !is_answer {
            return match self.classify_error(operation, reply, signed) {
                Verdict::Foreign(_) => Verdict::Unreadable,
                verdict => verdict,
            };
        }
        if names_another(operation, &fields) {
            Verdict::Unreadable
        } else {
            Verdict::Ok(fields)
        }
    }

    /// Judges an error, also one that was told with 200: then the Code alone decides.
    fn classify_error(
        &self,
        operation: &Operation,
        reply: &Reply,
        signed: &Credentials,
    ) -> Verdict {
        let error = self.readable(reply, signed);
        let code = error.code.as_str();
        let with = |status| OriginError {
            status: if reply.status < 400 {
                status
            } else {
                reply.status
            },
            ..error.clone()
        };
        let is_complaint = reply.status < 500;
        let is_get = matches!(operation, Operation::GetImage(_));
        if reply.is_throttle() || reply.status == 429 || matches(&self.throttle, code) {
            Verdict::Throttled(Throttle {
                code: error.code,
                wait: reply.retry_after(),
            })
        } else if matches(&self.credential, code) {
            Verdict::Credential(error)
        } else if code.is_empty() {
            if is_complaint {
                Verdict::Foreign(error)
            } else {
                Verdict::ServerError(error)
            }
        } else if is_complaint && matches(&self.not_found, code) {
            Verdict::NotFound(with(404))
        } else if reply.status == 404 && is_get && is_about_an_image(code) {
            Verdict::NotFound(error)
        } else if is_complaint && matches(&self.account, code) {
            Verdict::ClientError(with(403))
        } else if reply.status == 403 || (is_complaint && matches(&self.forbidden, code)) {
            Verdict::Forbidden(with(403))
        } else if (400..500).contains(&reply.status) {
            Verdict::ClientError(error)
        } else {
            Verdict::ServerError(error)
        }
    }

    /// Reads an error without what must not leave: the Message is replaced where it quotes what was signed.
    fn readable(&self, reply: &Reply, signed: &Credentials) -> OriginError {
        let mut error = OriginError::parse(reply.status, &reply.body);
        if error.request_id.is_empty() {
            reply.request_id().clone_into(&mut error.request_id);
        }
        if self.is_private(&error.message, signed) {
            WITHHELD.clone_into(&mut error.message);
        }
        for word in [&mut error.code, &mut error.request_id] {
            if quotes(word, signed) {
                word.clear();
            }
        }
        error
    }

    fn is_private(&self, message: &str, signed: &Credentials) -> bool {
        matches(&self.private, message) || quotes(message, signed)
    }
}

/// Returns the fields of an image that names another id than the one asked for; [`Classifier::classify`] calls it unreadable.
pub(super) fn another_image(operation: &Operation, reply: &Reply) -> Option<ImageFields> {
    let fields = ImageFields::parse(&reply.body).ok()?;
    let is_image = reply.status == 200 && fields.present.is_image();
    (is_image && names_another(operation, &fields)).then_some(fields)
}

fn names_another(operation: &Operation, fields: &ImageFields) -> bool {
    match operation {
        Operation::GetImage(key) => {
            let named = fields.image.as_deref();
            named.is_some_and(|id| id != key.image.as_str())
        }
        _ => false,
    }
}

fn matches(patterns: &[WildMatch], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(text))
}

/// Returns whether a text holds our key id, secret or token, in any case, plain or percent-encoded.
fn quotes(text: &str, signed: &Credentials) -> bool {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8_lossy();
    let texts = [text.to_lowercase(), decoded.to_lowercase()];
    let token = signed.security_token.as_ref();
    let secrets = [
        Some(signed.access_key_id.as_str()),
        Some(signed.access_key_secret.expose_secret()),
        token.map(|token| token.expose_secret()),
    ];
    let mut secrets = secrets.into_iter().flatten();
    secrets.any(|secret| {
        let secret = secret.to_lowercase();
        secret.len() >= SHORTEST_SECRET && texts.iter().any(|text| text.contains(&secret))
    })
}

/// Whether a 404 with this code can be about the image rather than about the API or our key.
fn is_about_an_image(code: &str) -> bool {
    const OTHERS: [&str; 5] = ["Api", "Action", "Product", "Version", "AccessKeyId"];
    !OTHERS.iter().any(|other| code.contains(other))
}

#[cfg(test)]
mod tests;
