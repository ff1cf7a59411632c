//! Classification of the origin's responses.
//!
//! Statuses alone do not suffice: the vendor answers throttles with 400 and missing keys with 404, and proxies on the
//! way answer with statuses of their own. So the `Code` decides, then the status; an error without a Code does not come
//! from the API.

use wildmatch::WildMatch;

use super::answer::error_of;
use super::{AnswerKind, Config, Throttle, UpstreamError};
use crate::api::{ImageFields, Operation, OriginError};
use crate::signing::Identity;
use crate::transport::Reply;

/// Classifier of responses by patterns of Codes and Messages, in which `*` matches any text and case is ignored.
#[derive(Debug, Clone)]
pub struct Classifier {
    not_found: Vec<WildMatch>,
    forbidden: Vec<WildMatch>,
    account: Vec<WildMatch>,
    throttle: Vec<WildMatch>,
    credential: Vec<WildMatch>,
    private: Vec<WildMatch>,
}

/// Replacement of a Message that quotes what the gateway signed.
const WITHHELD: &str = "The origin's message is withheld: it quotes what the gateway signed.";
/// Length below which a key id or token is not searched for, because it would be found in any text.
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

    /// Classifies a response to a request that was signed with these credentials.
    ///
    /// # Errors
    /// [`UpstreamError`] for every response that is not about the resource that the call names.
    pub fn classify(
        &self,
        operation: &Operation,
        reply: &Reply,
        signed: &Identity,
    ) -> Result<AnswerKind, UpstreamError> {
        match reply.status {
            200..300 if operation.is_write() => self.classify_write(operation, reply, signed),
            200 => self.classify_read(operation, reply, signed),
            _ => self.classify_error(operation, reply, signed),
        }
    }

    /// Classifies a write's 2xx: the write was carried out, whatever the body. Only a response that quotes the
    /// gateway's credential is an error, so that it does not reach the client.
    fn classify_write(
        &self,
        operation: &Operation,
        reply: &Reply,
        signed: &Identity,
    ) -> Result<AnswerKind, UpstreamError> {
        match self.classify_error(operation, reply, signed) {
            Err(error @ UpstreamError::Credential(_)) => Err(error),
            _ => Ok(AnswerKind::Success(
                ImageFields::parse(&reply.body).unwrap_or_default(),
            )),
        }
    }

    /// Classifies a read's 200, which may carry an error object, or belong to another request.
    fn classify_read(
        &self,
        operation: &Operation,
        reply: &Reply,
        signed: &Identity,
    ) -> Result<AnswerKind, UpstreamError> {
        let unreadable = || Err(UpstreamError::Unreadable(self.redacted(reply, signed)));
        let Ok(fields) = ImageFields::parse(&reply.body) else {
            return unreadable();
        };
        let is_response = match operation {
            Operation::GetImage(_) => fields.present.is_image(),
            Operation::ListImages => fields.present.is_page_of_images(),
            Operation::ListImageLabels => fields.present.is_page_of_labels(),
            _ => true,
        };
        if !is_response {
            return match self.classify_error(operation, reply, signed) {
                Err(UpstreamError::Foreign(_)) => unreadable(),
                result => result,
            };
        }
        if names_another(operation, &fields) {
            unreadable()
        } else {
            Ok(AnswerKind::Success(fields))
        }
    }

    /// Classifies an error object. Where one came with a status below 400, the Code alone decides.
    fn classify_error(
        &self,
        operation: &Operation,
        reply: &Reply,
        signed: &Identity,
    ) -> Result<AnswerKind, UpstreamError> {
        let error = self.redacted(reply, signed);
        let code = error.code.as_str();
        let with = |status| OriginError {
            status: if reply.status < 400 {
                status
            } else {
                reply.status
            },
            ..error.clone()
        };
        let is_rejection = reply.status < 500;
        let is_get = matches!(operation, Operation::GetImage(_));
        if reply.is_throttle() || reply.status == 429 || matches(&self.throttle, code) {
            let wait = reply.retry_after();
            Err(UpstreamError::Throttled(Throttle { error, wait }))
        } else if matches(&self.credential, code) {
            Err(UpstreamError::Credential(error))
        } else if code.is_empty() {
            Err(if is_rejection {
                UpstreamError::Foreign(error)
            } else {
                UpstreamError::Server(error)
            })
        } else if is_rejection && matches(&self.not_found, code) {
            Ok(AnswerKind::NotFound(with(404)))
        } else if reply.status == 404 && is_get && is_about_an_image(code) {
            Ok(AnswerKind::NotFound(error))
        } else if is_rejection && matches(&self.account, code) {
            Err(UpstreamError::Account(with(403)))
        } else if reply.status == 403 || (is_rejection && matches(&self.forbidden, code)) {
            Ok(AnswerKind::Forbidden(with(403)))
        } else if (400..500).contains(&reply.status) {
            Err(UpstreamError::Refused(error))
        } else {
            Err(UpstreamError::Server(error))
        }
    }

    /// Reads the error object without anything that must not leave: a Message that quotes signed text is replaced, a
    /// Code or request id that quotes a secret is dropped.
    fn redacted(&self, reply: &Reply, signed: &Identity) -> OriginError {
        let mut error = error_of(reply);
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

    fn is_private(&self, message: &str, signed: &Identity) -> bool {
        matches(&self.private, message) || quotes(message, signed)
    }
}

/// Returns the fields of an image that names another id than the one asked for, which [`Classifier::classify`] calls
/// unreadable.
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

/// Returns whether a text contains the key id, secret or token, in any case, plain or percent-encoded.
fn quotes(text: &str, signed: &Identity) -> bool {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8_lossy();
    let texts = [text.to_lowercase(), decoded.to_lowercase()];
    let mut secrets = signed.secrets().into_iter().flatten();
    secrets.any(|secret| {
        let secret = secret.to_lowercase();
        secret.len() >= SHORTEST_SECRET && texts.iter().any(|text| text.contains(&secret))
    })
}

/// Returns whether a 404 with this Code can be about the image rather than about the API or the gateway's key.
fn is_about_an_image(code: &str) -> bool {
    const OTHERS: [&str; 5] = ["Api", "Action", "Product", "Version", "AccessKeyId"];
    !OTHERS.iter().any(|other| code.contains(other))
}

#[cfg(test)]
mod tests;
