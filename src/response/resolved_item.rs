//! The results of a Resolve on the wire: as one document, or a line each.

use bytes::Bytes;
use tokio::time::Instant;

use super::resolve_result::{ResolveResult, put, quoted};
use crate::api::{ImageId, ResolveItem};

/// Result of one image that a Resolve names by its id or its URI.
#[derive(Debug, Clone)]
pub struct ResolvedItem {
    /// Images of the URI that the client may see, the newest first; none for an image that is named by its id.
    pub images: Vec<ImageId>,
    /// Result of the image: for a URI, of the newest.
    pub result: ResolveResult,
}

/// Upper bound, in bytes, of a result's size beside its body or message.
const FRAME: usize = 512;

impl From<ResolveResult> for ResolvedItem {
    fn from(result: ResolveResult) -> Self {
        Self {
            images: Vec::new(),
            result,
        }
    }
}

impl ResolvedItem {
    /// Returns this result and subtracts its size from `room`; if it does not fit, returns the error of a
    /// response that would be too long.
    #[must_use]
    pub fn fit_into(self, room: &mut usize) -> Self {
        match room.checked_sub(self.len()) {
            Some(left) => {
                *room = left;
                self
            }
            None => ResolveResult::too_long().into(),
        }
    }

    /// Returns the room for bodies, messages and the images of URIs in a response about these items of at most `bytes`
    /// bytes in total.
    #[must_use]
    pub fn capacity(items: &[ResolveItem], bytes: u64) -> usize {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let frames = items.iter().map(frame).sum();
        bytes.saturating_sub(frames)
    }

    /// Returns an upper bound, in bytes, of the size of this result in the response.
    #[must_use]
    pub fn max_len(&self, item: &ResolveItem) -> usize {
        frame(item) + self.len()
    }

    /// Formats the result as one line. A line break between two tokens of the body becomes a space.
    #[must_use]
    pub fn line(&self, item: &ResolveItem, now: Instant) -> Bytes {
        let mut line = Vec::with_capacity(self.max_len(item));
        self.write(item, now, &mut line);
        for byte in &mut line {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        line.push(b'\n');
        line.into()
    }

    /// Formats the whole response, with the results in this order.
    #[must_use]
    pub fn document(request_id: &str, results: &[(&ResolveItem, Self)], now: Instant) -> Bytes {
        let length = results.iter().map(|(item, result)| result.max_len(item));
        let mut whole = Vec::with_capacity(FRAME + length.sum::<usize>());
        put(
            &mut whole,
            &[r#"{"RequestId":""#, request_id, r#"","Results":["#],
        );
        for (at, (item, result)) in results.iter().enumerate() {
            put(&mut whole, &[if at > 0 { "," } else { "" }]);
            result.write(item, now, &mut whole);
        }
        put(&mut whole, &["]}"]);
        whole.into()
    }

    fn write(&self, item: &ResolveItem, now: Instant, to: &mut Vec<u8>) {
        match item {
            ResolveItem::Id(key) => put(to, &[r#"{"ImageId":""#, key.image.as_str(), r#"","#]),
            ResolveItem::Uri(uri) => {
                put(
                    to,
                    &[r#"{"ImageUri":"#, &quoted(uri.as_str()), r#","ImageIds":["#],
                );
                for (at, image) in self.images.iter().enumerate() {
                    put(
                        to,
                        &[if at > 0 { ",\"" } else { "\"" }, image.as_str(), "\""],
                    );
                }
                put(to, &[r#"],"ImageId":"#]);
                match self.images.first() {
                    Some(newest) => put(to, &["\"", newest.as_str(), "\","]),
                    None => put(to, &["null,"]),
                }
            }
        }
        self.result.write(now, to);
    }

    fn len(&self) -> usize {
        let images = self.images.iter().map(|image| image.as_str().len() + 3);
        images.sum::<usize>() + self.result.len()
    }
}

/// Returns an upper bound of the bytes that a result has beside its body, its message and the images of its URI. A
/// character of a URI takes two bytes at most, because it is no control character.
fn frame(item: &ResolveItem) -> usize {
    match item {
        ResolveItem::Id(_) => FRAME,
        ResolveItem::Uri(uri) => FRAME + 2 * uri.as_str().len(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::api::{ImageKey, ImageUri};
    use crate::response::Error;
    use crate::response::resolve_result::RunningAge;

    fn found(image: &'static str) -> ResolveResult {
        let age = RunningAge::new(Duration::from_millis(1_900), Instant::now());
        ResolveResult::Found {
            image: image.into(),
            age,
        }
    }

    fn id(text: &str) -> ResolveItem {
        let image = ImageId::parse(text).unwrap();
        ResolveItem::Id(ImageKey {
            image,
            verbose: false,
        })
    }

    fn uri(text: &str) -> ResolveItem {
        ResolveItem::Uri(ImageUri::parse(text, false).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_answer_carries_bodies_as_they_came_and_ages_as_they_are() {
        let odd = "{ \"Name\" : \"\\u0061\",\n\"X\":null}";
        let missing = ResolveResult::from_error(&Error::ImageNotFound {
            outcome: crate::observability::outcome::Outcome::Denied,
            code: "ImageNotFound".into(),
        });
        let failed = ResolveResult::from_error(&Error::RateLimited(Duration::ZERO));
        let (a, b, c) = (id("a"), id("b"), id("c"));
        let results = [
            (&a, found(odd).into()),
            (&b, missing.into()),
            (&c, failed.into()),
        ];
        let now = Instant::now() + Duration::from_secs(1);
        let whole = String::from_utf8(ResolvedItem::document("R", &results, now).to_vec()).unwrap();
        assert_eq!(
            whole,
            [
                r#"{"RequestId":"R","Results":[{"ImageId":"a","Status":"found","AgeSeconds":2,"Image":"#,
                odd,
                r#"},{"ImageId":"b","Status":"missing","Code":"ImageNotFound","Message":"The specified image does not exist."}"#,
                r#",{"ImageId":"c","Status":"failed","Code":"Throttling","Message":"Request was denied due to user flow control."}]}"#,
            ]
            .concat()
        );
    }

    #[test]
    fn a_line_is_one_line_and_says_the_same() {
        let body = "{\r\n  \"Name\": \"a\\nb\"\n}";
        let line = ResolvedItem::from(found(body)).line(&id("a"), Instant::now());
        let text = std::str::from_utf8(&line).unwrap();
        assert_eq!(text.matches(['\r', '\n']).count(), 1);
        let document: Value = serde_json::from_str(text).unwrap();
        assert_eq!(document["Image"], json!({ "Name": "a\nb" }));
    }

    #[test]
    fn the_room_is_taken_in_turn_and_never_exceeded() {
        let two = [id("a"), id("b")];
        let mut room = ResolvedItem::capacity(&two, 1030);
        assert_eq!(room, 6);
        let fits = |body: &'static str, room: &mut usize| {
            let item = ResolvedItem::from(found(body)).fit_into(room);
            matches!(item.result, ResolveResult::Found { .. })
        };
        assert!(!fits("{1234567}", &mut room));
        assert!(fits("{1}", &mut room));
        assert_eq!(room, 3);
        assert_eq!(ResolvedItem::capacity(&two, 1000), 0);
    }

    #[test]
    fn a_uri_has_its_images_and_the_newest_of_them() {
        let image = |id: &str| ImageId::parse(id).unwrap();
        let (known, unknown) = (uri("r/a:1"), uri("r/\"b\":1"));
        let several = ResolvedItem {
            images: vec![image("new"), image("old")],
            result: found("{}"),
        };
        let missing = ResolveResult::from_error(&Error::ImageNotFound {
            outcome: crate::observability::outcome::Outcome::Denied,
            code: "ImageNotFound".into(),
        });
        let results = [(&known, several), (&unknown, missing.into())];
        let whole = ResolvedItem::document("R", &results, Instant::now());
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        let expected = json!([
            {"ImageUri": "r/a:1", "ImageIds": ["new", "old"], "ImageId": "new", "Status": "found", "AgeSeconds": 1, "Image": {}},
            {"ImageUri": "r/\"b\":1", "ImageIds": [], "ImageId": null, "Status": "missing", "Code": "ImageNotFound",
             "Message": "The specified image does not exist."},
        ]);
        assert_eq!(whole["Results"], expected);
    }

    /// The longest id, age and the refusal that is written instead of what does not fit.
    #[test]
    fn uncounted_bytes_fit_into_the_frame() {
        let refusal = ResolveResult::too_long();
        let refusal = ResolvedItem::from(refusal);
        for item in [id(&"x".repeat(128)), uri(&"\"".repeat(1024))] {
            let line = refusal.line(&item, Instant::now());
            assert!(line.len() < frame(&item), "{}", line.len());
        }
    }
}
