//! The body of a scrape: the text of the metrics, compressed by gzip if the scraper accepts that.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use prometheus::{Registry, TextEncoder};

/// Text longer than this, in bytes, is not compressed: at about 100 MB/s a worker thread would be blocked
/// for more than 40 ms.
const LONGEST_COMPRESSED: usize = 4 << 20;

/// The body of one answer to `GET /metrics`, with its encoding.
#[derive(Debug, PartialEq, Eq)]
pub struct Exposition {
    /// The body.
    pub body: Vec<u8>,
    /// The encoding of the body, for the header `Content-Encoding`.
    pub encoding: Encoding,
}

/// The encoding of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As it is.
    Identity,
    /// By gzip, at the fastest level.
    Gzip,
}

impl Encoding {
    /// The encoding to answer an `Accept-Encoding` with: gzip where it is named and not excluded by
    /// `q=0`.
    #[must_use]
    pub fn of_accepted(header: &str) -> Self {
        let takes_gzip = header.split(',').any(|coding| {
            let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
            name.trim().eq_ignore_ascii_case("gzip") && !is_excluded(parameters)
        });
        if takes_gzip {
            Self::Gzip
        } else {
            Self::Identity
        }
    }
}

/// Returns true when the parameters have `q=0`, or a weight that is no number.
fn is_excluded(parameters: &str) -> bool {
    parameters.split(';').any(|parameter| {
        let weight = parameter.trim().strip_prefix("q=");
        weight.is_some_and(|weight| !weight.trim().parse::<f32>().is_ok_and(|q| q > 0.0))
    })
}

impl Exposition {
    /// Encodes the text as asked, or not at all where it is too long or cannot be compressed.
    #[must_use]
    pub fn new(text: String, encoding: Encoding) -> Self {
        if encoding == Encoding::Gzip
            && text.len() <= LONGEST_COMPRESSED
            && let Ok(body) = gzip(text.as_bytes())
        {
            return Self { body, encoding };
        }
        Self {
            body: text.into_bytes(),
            encoding: Encoding::Identity,
        }
    }
}

fn gzip(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
    encoder.write_all(text)?;
    encoder.finish()
}

/// Renders everything that is registered, in Prometheus' text format.
pub(super) fn render(registry: &Registry) -> String {
    let mut text = String::new();
    if let Err(error) = TextEncoder::new().encode_utf8(&registry.gather(), &mut text) {
        tracing::error!(%error, "the metrics could not be written");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn gzip_is_used_where_it_is_accepted() {
        for header in [
            "gzip",
            "GZIP",
            "deflate, gzip;q=1.0, *;q=0.5",
            "zstd,gzip ; q=0.1",
        ] {
            assert_eq!(Encoding::of_accepted(header), Encoding::Gzip, "{header}");
        }
        for header in [
            "",
            "identity",
            "gzip;q=0",
            "gzip;q=0.000",
            "gzip;q=x",
            "deflate",
            "*",
        ] {
            let encoding = Encoding::of_accepted(header);
            assert_eq!(encoding, Encoding::Identity, "{header}");
        }
    }

    #[test]
    fn compressed_text_is_the_same_text() {
        let text = "pai_gateway_tasks 1\n".repeat(1000);
        let exposition = Exposition::new(text.clone(), Encoding::Gzip);
        assert_eq!(exposition.encoding, Encoding::Gzip);
        assert!(exposition.body.len() < text.len() / 10);
        let mut read = String::new();
        let mut decoder = GzDecoder::new(exposition.body.as_slice());
        decoder.read_to_string(&mut read).unwrap();
        assert_eq!(read, text);
    }

    #[test]
    fn text_beyond_the_bound_is_not_compressed() {
        let text = "x".repeat(LONGEST_COMPRESSED + 1);
        let exposition = Exposition::new(text, Encoding::Gzip);
        assert_eq!(exposition.encoding, Encoding::Identity);
        assert_eq!(exposition.body.len(), LONGEST_COMPRESSED + 1);
    }
}
