//! Conversion of the origin's answers for the cache, and the images that a write concerns.

use std::sync::Arc;

use http::header;
use serde::Deserialize;

use crate::api::{ImageFields, ImageId, Malformed, Operation};
use crate::cache::{
    CachedAnswer, Entry, FetchedImage, Negative, NegativeKind, Policy, PurgeTarget,
};
use crate::response::X_ACS_REQUEST_ID;
use crate::upstream::{self, AnswerKind};

/// Converts an answer to GetImage into the form in which it is stored.
pub(super) fn ingest(
    answer: upstream::OriginAnswer,
    verbose: bool,
    policy: &Policy,
) -> CachedAnswer {
    let upstream::OriginAnswer {
        kind,
        reply,
        sent,
        took,
        received,
        freshness,
        ..
    } = answer;
    let negative = |error, kind| {
        CachedAnswer::Negative(Arc::new(Negative {
            error,
            kind,
            sent,
            took,
            received,
        }))
    };
    let fields = match kind {
        AnswerKind::NotFound(error) => return negative(error, NegativeKind::NotFound),
        AnswerKind::Forbidden(error) => return negative(error, NegativeKind::Forbidden),
        AnswerKind::Success(fields) => fields,
    };
    let arrival = FetchedImage {
        fields,
        request_id: reply.headers.get(X_ACS_REQUEST_ID).cloned(),
        date: reply.date(),
        cache_control: reply.list(header::CACHE_CONTROL.as_str()),
        upstream: freshness,
        body: reply.body,
        sent,
        took,
        received,
    };
    CachedAnswer::Image(Arc::new(Entry::new(
        arrival,
        verbose,
        policy,
        fastrand::f64(),
    )))
}

/// Returns whether an answer names neither the requested image nor the one in memory, which then stays.
pub(super) fn names_another_image(
    asked: &ImageId,
    cached: Option<&Entry>,
    answer: &upstream::OriginAnswer,
) -> bool {
    let (Some(cached), AnswerKind::Success(fields)) = (cached, &answer.kind) else {
        return false;
    };
    let is_other = |named: &String| named != asked.as_str();
    fields.image.as_ref().is_some_and(is_other)
        && ImageFields::parse(&cached.body()).is_ok_and(|cached| cached.image != fields.image)
}

/// Returns the id that the body of an AddImage chooses. An ambiguous body, which two parsers could read
/// differently, is an error.
pub(super) fn chosen_id(body: &[u8]) -> Result<Option<ImageId>, Malformed> {
    #[derive(Deserialize)]
    struct Chosen {
        #[serde(rename = "ImageId", default)]
        image: Option<String>,
    }
    let chosen: Chosen = serde_json::from_slice(body)
        .map_err(|_| Malformed::new("ImageId must be one text, given once"))?;
    chosen.image.as_deref().map(ImageId::parse).transpose()
}

/// Returns what a write may have changed: the image in its path, else those named by the request's body (AddImage
/// may choose its id) and by the reply, and lists in any case.
pub(super) fn targets_written(
    operation: &Operation,
    sent: &[u8],
    answered: &[u8],
) -> Vec<PurgeTarget> {
    let named: Vec<_> = match operation.image() {
        Some(image) => vec![image.clone()],
        None => [sent, answered]
            .into_iter()
            .filter_map(named_image)
            .collect(),
    };
    if named.is_empty() {
        return vec![PurgeTarget::Lists];
    }
    named.into_iter().map(PurgeTarget::Image).collect()
}

fn named_image(body: &[u8]) -> Option<ImageId> {
    #[derive(Deserialize)]
    struct NamedImage {
        #[serde(rename = "ImageId")]
        image: String,
    }
    let named: NamedImage = serde_json::from_slice(body).ok()?;
    ImageId::parse(&named.image).ok()
}
