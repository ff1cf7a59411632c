//! Recorded answers, which the emulator gives to the calls that they were recorded from.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;

use pai_api::{Call, Operation};

/// Recorded answer to one call, as `probe --record` writes it.
#[derive(Debug, Clone)]
pub struct Fixture {
    key: String,
    is_of_image: bool,
    pub(super) status: StatusCode,
    /// Headers without `Date`: a recorded one would be a clock that is off.
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Recorded answers by call; where a recording has two answers to one call, the later one, as a client saw it last.
#[derive(Debug, Default)]
pub(super) struct Fixtures {
    by_call: BTreeMap<String, Fixture>,
    /// Last recorded error of GetImage, which stands for every image that is neither recorded nor generated.
    missing_image: Option<Fixture>,
}

/// One file of a recording: the call by operation, image and query, and the answer by status, headers and body.
#[derive(Deserialize)]
struct FixtureFile<'a> {
    operation: String,
    image: Option<String>,
    query: BTreeMap<String, String>,
    status: u16,
    headers: BTreeMap<String, String>,
    #[serde(borrow)]
    body: &'a RawValue,
}

impl Fixture {
    /// Parses a file of a recording.
    ///
    /// # Errors
    /// The reason why it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: FixtureFile<'_> =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        let bad = |name: &str| format!("{name} cannot be sent");
        let mut headers = HeaderMap::new();
        for (name, value) in file.headers.iter().filter(|(name, _)| *name != "date") {
            let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad(name))?;
            let value = HeaderValue::from_str(value).map_err(|_| bad(name))?;
            headers.insert(parsed, value);
        }
        let image = file.image.as_deref().unwrap_or_default();
        let query = file.query.iter();
        let query = query.map(|(name, value)| (name.as_str(), value.as_str()));
        Ok(Self {
            key: key(&file.operation, image, query),
            is_of_image: file.operation == "GetImage",
            status: StatusCode::from_u16(file.status).map_err(|_| bad("status"))?,
            headers,
            body: Bytes::copy_from_slice(file.body.get().as_bytes()),
        })
    }
}

impl Fixtures {
    /// Takes a recording. Of two answers to one call the later one counts.
    pub(super) fn new(fixtures: Vec<Fixture>) -> Self {
        let is_missing = |fixture: &&Fixture| fixture.is_of_image && !fixture.status.is_success();
        let missing_image = fixtures.iter().rfind(is_missing).cloned();
        let by_call = fixtures.into_iter();
        Self {
            by_call: by_call
                .map(|fixture| (fixture.key.clone(), fixture))
                .collect(),
            missing_image,
        }
    }

    /// Returns the answer that was recorded of a call with the same operation, image and query; `None` for any other.
    pub(super) fn of(&self, call: &Call) -> Option<&Fixture> {
        let image = call.operation.image().map_or("", |image| image.as_str());
        let operation = call.operation.action().as_str();
        self.by_call.get(&key(operation, image, call.query.pairs()))
    }

    /// Returns the recorded error of GetImage, for a GetImage of an image that is neither recorded nor generated.
    pub(super) fn of_missing(&self, call: &Call) -> Option<&Fixture> {
        let is_get = matches!(call.operation, Operation::GetImage(_));
        self.missing_image.as_ref().filter(|_| is_get)
    }
}

/// Returns a text that is the same for calls that mean the same: `Verbose` counts if it is true.
fn key<'a>(
    operation: &str,
    image: &str,
    query: impl Iterator<Item = (&'a str, &'a str)>,
) -> String {
    let mut pairs: Vec<_> = query
        .filter(|(_, value)| !value.is_empty() && !value.eq_ignore_ascii_case("false"))
        .map(|(name, value)| match name {
            "Verbose" => (name, value.to_ascii_lowercase()),
            name => (name, value.to_owned()),
        })
        .collect();
    pairs.sort();
    format!("{operation} {image} {pairs:?}")
}

#[cfg(test)]
mod tests {
    use http::Method;
    use pai_api::Action;

    use super::super::harness::Harness;
    use super::super::{Settings, Store};
    use super::*;

    fn fixture(image: &str, query: &str, status: u16, body: &str) -> Fixture {
        let text = format!(
            r#"{{"operation":"GetImage","image":"{image}","query":{query},"status":{status},
                "headers":{{"date":"Thu, 01 Jan 1970 00:00:00 GMT","cache-control":"max-age=9"}},"body":{body}}}"#
        );
        Fixture::parse(&text).unwrap()
    }

    #[tokio::test]
    async fn recorded_answers_come_instead_of_generated_ones() {
        let harness = Harness::start(Settings {
            fixtures: vec![
                fixture("image-1", "{}", 200, r#"{"Name":"plain", "New":1}"#),
                fixture(
                    "image-1",
                    r#"{"Verbose":"true"}"#,
                    200,
                    r#"{"Name":"verbose"}"#,
                ),
                fixture("image-2", "{}", 400, r#"{"Code":"ResourceNotFound"}"#),
            ],
            ..Settings::default()
        })
        .await;
        let ask = async |target: &str| {
            let target = format!("/api/v1/images/{target}");
            harness
                .ask(Method::GET, &target, Action::GetImage, "")
                .await
        };
        for (target, status, body) in [
            ("image-1", 200, r#"{"Name":"plain", "New":1}"#),
            ("image-1?Verbose=False", 200, r#"{"Name":"plain", "New":1}"#),
            ("image-1?Verbose=True", 200, r#"{"Name":"verbose"}"#),
            ("image-none", 400, r#"{"Code":"ResourceNotFound"}"#),
        ] {
            let reply = ask(target).await;
            assert_eq!((reply.status, &reply.body[..]), (status, body.as_bytes()));
            assert_eq!(reply.header("cache-control"), "max-age=9");
            assert!(!reply.header("date").contains("1970"));
        }
        assert_eq!(ask(&Store::id(0)).await.status, 200);
    }

    #[test]
    fn a_file_that_is_no_recording_is_an_error() {
        let cannot_be_sent = r#"{"operation":"GetImage","image":null,"query":{},"status":200,"headers":{"a b":""},"body":1}"#;
        for bad in ["", "{}", cannot_be_sent] {
            assert!(Fixture::parse(bad).is_err(), "{bad}");
        }
    }
}
