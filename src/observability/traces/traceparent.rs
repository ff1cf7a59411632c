//! The W3C's header `traceparent`, read and written by the SDK's propagator. `tracestate` is neither read nor written:
//! it holds values of other vendors, and would leave with every span.

use http::{HeaderMap, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;

const TRACEPARENT: &str = "traceparent";

/// Reads the position in a trace that a request names; `None` for a malformed value, and for more than one.
pub(super) fn read(headers: &HeaderMap) -> Option<Context> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let one = values.next().filter(|_| values.next().is_none())?;
    let propagator = TraceContextPropagator::new();
    let context =
        propagator.extract_with_context(&Context::new(), &TraceparentValue(one.to_str().ok()?));
    context.has_active_span().then_some(context)
}

/// Writes the position into the headers.
pub(super) fn write(context: &Context, headers: &mut HeaderMap) {
    TraceContextPropagator::new().inject_context(context, &mut TraceparentHeaders(headers));
}

/// The value of a `traceparent`.
struct TraceparentValue<'a>(&'a str);

impl Extractor for TraceparentValue<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

/// Headers that take a `traceparent` alone.
struct TraceparentHeaders<'a>(&'a mut HeaderMap);

impl Injector for TraceparentHeaders<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (TRACEPARENT, Ok(value)) = (key, HeaderValue::try_from(value)) {
            self.0.insert(TRACEPARENT, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn one_that_can_be_read_comes_out_as_it_went_in() {
        let mut headers = HeaderMap::new();
        assert!(read(&headers).is_none());
        headers.insert(TRACEPARENT, HeaderValue::from_static(SAMPLED));
        headers.insert("tracestate", HeaderValue::from_static("vendor=secret"));
        let mut written = HeaderMap::new();
        write(&read(&headers).unwrap(), &mut written);
        assert_eq!(written.len(), 1);
        assert_eq!(written[TRACEPARENT], SAMPLED);
    }

    #[test]
    fn two_or_none_or_nonsense_are_none() {
        let mut headers = HeaderMap::new();
        for nonsense in ["", "00", "00-0-0-01", "-", "00-é-b-01"] {
            headers.insert(TRACEPARENT, HeaderValue::from_str(nonsense).unwrap());
            assert!(read(&headers).is_none(), "{nonsense}");
        }
        headers.insert(TRACEPARENT, HeaderValue::from_static(SAMPLED));
        headers.append(TRACEPARENT, HeaderValue::from_static(SAMPLED));
        assert!(read(&headers).is_none());
    }
}
