//! Canonical request and string to sign of ACS3, for the signing side.

use std::collections::BTreeMap;

use aws_lc_rs::digest;

use super::{ALGORITHM, hex};

/// Builds the canonical request, and the value of `SignedHeaders` that belongs to it.
///
/// `path` is used unchanged (`/` if empty), and `query` must already be canonical. Header names are lower-cased and
/// sorted, and values are trimmed. Names that differ in case alone become one header, whose values are sorted and
/// joined by commas, as the vendor's SDKs do.
pub fn canonical_request<'a>(
    method: &str,
    path: &str,
    query: &str,
    headers: impl Iterator<Item = (&'a str, &'a str)>,
    payload_hash: &str,
) -> (String, String) {
    let mut by_name: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, value) in headers {
        by_name
            .entry(name.to_ascii_lowercase())
            .or_default()
            .push(value.trim());
    }
    let signed = by_name
        .keys()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(";");
    let path = if path.is_empty() { "/" } else { path };
    let mut text = [method, path, query, ""].join("\n");
    for (name, mut values) in by_name {
        values.sort_unstable();
        text.extend([name.as_str(), ":", &values.join(","), "\n"]);
    }
    text.extend(["\n", &signed, "\n", payload_hash]);
    (text, signed)
}

/// Returns the string to sign of a canonical request.
#[must_use]
pub fn string_to_sign(canonical: &str) -> String {
    let hash = digest::digest(&digest::SHA256, canonical.as_bytes());
    format!("{ALGORITHM}\n{}", hex(hash.as_ref()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_order_and_case_of_headers_do_not_matter(
            headers in prop::collection::hash_map("[a-z-]{1,12}", "[ -~]{0,20}", 0..8), seed in any::<u64>(),
        ) {
            let pairs: Vec<(String, String)> = headers.into_iter().collect();
            let mut shuffled: Vec<(String, String)> =
                pairs.iter().map(|(name, value)| (name.to_uppercase(), format!("  {value}\t"))).collect();
            fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
            let build = |pairs: &[(String, String)]| {
                canonical_request("GET", "/p", "", pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())), "hash")
            };
            prop_assert_eq!(build(&pairs), build(&shuffled));
        }
    }
}
