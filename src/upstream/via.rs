//! `Via` (RFC 9110 §7.6.3): the gateways and proxies that a request has passed, and the detection of forwarding loops.
//!
//! Only two facts count: whether this gateway is among the hops, and their number. So a hop is kept as its protocol and
//! name without its comment, and the forwarded list is built from the parsed hops, never from the bytes received.

use compact_str::CompactString;
use http::{HeaderMap, HeaderValue, header};

/// Number of hops beyond which a request is rejected.
pub const MAX_HOPS: usize = 4;
/// Length of the longest hop that is forwarded as it came, in bytes.
const MAX_HOP: usize = 128;
/// Replacement of a hop that is longer, or not visible ASCII.
const UNREADABLE: &str = "1.1 unreadable";
/// Prefix of every gateway's name.
const NAME: &str = "pai-image-gateway-";

/// Hops of a request, those nearest the client first; at most [`MAX_HOPS`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hops(Vec<CompactString>);

/// Name of one running gateway, drawn at random so that no other has it and no client can guess it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance(CompactString);

/// Reason for which a request is not forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ForwardingLoop {
    /// The request has passed this gateway before.
    #[error("the request has passed this gateway before: gateways forward to each other in a loop")]
    Returned,
    /// The request has passed more than [`MAX_HOPS`] gateways and proxies.
    #[error("the request has passed more than {MAX_HOPS} gateways and proxies")]
    TooLong,
}

impl Instance {
    /// Names an instance by 128 random bits.
    #[must_use]
    pub fn new(bits: u128) -> Self {
        Self(compact_str::format_compact!("{NAME}{bits:032x}"))
    }

    /// Parses the hops of a request.
    ///
    /// # Errors
    /// [`ForwardingLoop`]. This gateway's name counts wherever it stands, even in a comment without an end.
    pub fn receive(&self, headers: &HeaderMap) -> Result<Hops, ForwardingLoop> {
        let mut hops = Vec::new();
        for value in headers.get_all(header::VIA) {
            if memchr::memmem::find(value.as_bytes(), self.0.as_bytes()).is_some() {
                return Err(ForwardingLoop::Returned);
            }
            hops.extend(members(value.as_bytes()).take(MAX_HOPS + 1));
        }
        if hops.len() > MAX_HOPS {
            return Err(ForwardingLoop::TooLong);
        }
        Ok(Hops(hops))
    }

    /// Formats the `Via` of a call on behalf of a request with these hops: the hops, then this gateway.
    #[must_use]
    pub fn header(&self, hops: &Hops) -> HeaderValue {
        let mut text = hops.0.join(", ");
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str("1.1 ");
        text.push_str(&self.0);
        HeaderValue::try_from(text).expect("hops and names are visible ASCII and spaces")
    }
}

/// Splits the list into its members, each as protocol and name; empty ones do not count (RFC 9110 §5.6.1).
fn members(value: &[u8]) -> impl Iterator<Item = CompactString> {
    let bare = without_comments(value);
    let members: Vec<_> = bare.split(|byte| *byte == b',').filter_map(hop).collect();
    members.into_iter()
}

fn hop(member: &[u8]) -> Option<CompactString> {
    let words: Vec<&[u8]> = member
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .take(2)
        .collect();
    let hop = words.join(&b' ');
    if hop.is_empty() {
        return None;
    }
    let readable = hop.len() <= MAX_HOP && hop.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let text = std::str::from_utf8(&hop).ok().filter(|_| readable);
    Some(text.unwrap_or(UNREADABLE).into())
}

/// Removes the comments, which may be nested and contain anything (RFC 9110 §5.6.5).
fn without_comments(value: &[u8]) -> Vec<u8> {
    let (mut depth, mut escaped) = (0usize, false);
    let outside = value.iter().filter(|byte| {
        let was_outside = depth == 0;
        match byte {
            _ if escaped => escaped = false,
            b'\\' if !was_outside => escaped = true,
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        was_outside && depth == 0
    });
    outside.copied().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ours() -> Instance {
        Instance::new(7)
    }

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(
                header::VIA,
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        headers
    }

    fn propagation(values: &[&str]) -> Result<String, ForwardingLoop> {
        let hops = ours().receive(&headers(values))?;
        Ok(ours().header(&hops).to_str().unwrap().to_owned())
    }

    #[test]
    fn the_forwarded_hops_are_the_received_ones_and_this_gateway() {
        let me = "1.1 pai-image-gateway-00000000000000000000000000000007";
        for (values, expected) in [
            (&[][..], ""),
            (&[""], ""),
            (&[" , ,"], ""),
            (&["1.1 a"], "1.1 a, "),
            (
                &["1.0 fred, 1.1 p.example.net"],
                "1.0 fred, 1.1 p.example.net, ",
            ),
            (
                &["HTTP/2 [::1]:80\t(nginx, (1.2) \\) x) ,1.1 b"],
                "HTTP/2 [::1]:80, 1.1 b, ",
            ),
            (&["1.1 a, 1.1 b", "2 c"], "1.1 a, 1.1 b, 2 c, "),
            (&["alone"], "alone, "),
            (&["1.1 a (never ends", "1.1 b"], "1.1 a, 1.1 b, "),
            (&["1.1 \u{e9}"], "1.1 unreadable, "),
        ] {
            assert_eq!(
                propagation(values),
                Ok(format!("{expected}{me}")),
                "{values:?}"
            );
        }
        let long = format!("1.1 {}", "x".repeat(MAX_HOP));
        assert_eq!(propagation(&[&long]), Ok(format!("1.1 unreadable, {me}")));
    }

    #[test]
    fn a_loop_is_detected_in_every_spelling() {
        let me = ours().0;
        for value in [
            format!("1.1 {me}"),
            format!("1.1 a, HTTP/1.1 {me} (x), 1.1 b"),
            format!("1.1 a (never ends, 1.1 {me}"),
            format!("1.1 a\u{e9},{me}"),
        ] {
            assert_eq!(
                propagation(&["1.1 z", &value]),
                Err(ForwardingLoop::Returned),
                "{value}"
            );
        }
        assert!(propagation(&["1.1 pai-image-gateway-00000000000000000000000000000008"]).is_ok());
    }

    #[test]
    fn five_hops_are_too_many() {
        assert!(propagation(&["1.1 a, 1.1 b", "1.1 c,1.1 d"]).is_ok());
        assert_eq!(
            propagation(&["1.1 a, 1.1 b", "1.1 c,1.1 d, 1.1 e"]),
            Err(ForwardingLoop::TooLong)
        );
        assert_eq!(
            propagation(&[&"1.1 a,".repeat(1000)]),
            Err(ForwardingLoop::TooLong)
        );
    }

    proptest! {
        #[test]
        fn any_received_hops_are_forwarded_bounded_and_valid(
            values in prop::collection::vec(prop::collection::vec(0x20u8..=0x7e, 0..200), 0..4),
        ) {
            let mut came = HeaderMap::new();
            for value in &values {
                came.append(header::VIA, HeaderValue::from_bytes(value).unwrap());
            }
            if let Ok(hops) = ours().receive(&came) {
                let value = ours().header(&hops);
                prop_assert!(value.len() <= MAX_HOPS * (MAX_HOP + 2) + 60);
                let again = HeaderMap::from_iter([(header::VIA, value)]);
                prop_assert_eq!(ours().receive(&again), Err(ForwardingLoop::Returned));
                let read = Instance::new(8).receive(&again);
                match read {
                    Ok(read) => prop_assert_eq!(read.0.len(), hops.0.len() + 1),
                    Err(forwarding_loop) => prop_assert_eq!((forwarding_loop, hops.0.len()), (ForwardingLoop::TooLong, MAX_HOPS)),
                }
            }
        }
    }
}
