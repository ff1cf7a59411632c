//! Table of the kinds of faults for docs/emulator.md; a test compares it with the parser.

/// Description of one kind of fault.
#[derive(Debug)]
pub struct KindHelp {
    /// Name in a script.
    pub name: &'static str,
    /// Fields of the kind, with their defaults; empty for none.
    pub fields: &'static str,
    /// Effect on the response.
    pub effect: &'static str,
    /// A fault of this kind, in JSON.
    pub example: &'static str,
}

/// The kinds of faults, those that reject the operation first.
pub const FAULT_KINDS: [KindHelp; 13] = [
    KindHelp {
        name: "status",
        fields: "`status` from 200 to 599; `code`, `message` (default: the API's for this code), `headers`, `access_denied_detail` (false)",
        effect: "rejects the operation with this error",
        example: r#"{"kind":"status","status":403,"code":"NoPermission"}"#,
    },
    KindHelp {
        name: "throttle",
        fields: "`status` (400), `code` (`Throttling.User`), `retry_after_ms` (no header)",
        effect: "rejects the operation as throttled",
        example: r#"{"kind":"throttle","retry_after_ms":300}"#,
    },
    KindHelp {
        name: "headers",
        fields: "`headers`",
        effect: "the response has these headers in place of its own; an empty value removes one",
        example: r#"{"kind":"headers","headers":{"cache-control":"max-age=60","etag":""}}"#,
    },
    KindHelp {
        name: "latency",
        fields: "`ms`, at most an hour",
        effect: "delays the response by this much more",
        example: r#"{"kind":"latency","ms":200}"#,
    },
    KindHelp {
        name: "stall",
        fields: "`ms` (60,000), at most an hour",
        effect: "sends nothing for this time, then closes the connection",
        example: r#"{"kind":"stall","ms":5000}"#,
    },
    KindHelp {
        name: "close_before",
        fields: "",
        effect: "closes the connection without a byte",
        example: r#"{"kind":"close_before","times":1}"#,
    },
    KindHelp {
        name: "close_mid_body",
        fields: "",
        effect: "closes the connection after half of the body",
        example: r#"{"kind":"close_mid_body"}"#,
    },
    KindHelp {
        name: "garbage",
        fields: "",
        effect: "200 with bytes that are neither JSON nor text",
        example: r#"{"kind":"garbage"}"#,
    },
    KindHelp {
        name: "truncated",
        fields: "",
        effect: "half of the JSON, with a `Content-Length` that agrees",
        example: r#"{"kind":"truncated"}"#,
    },
    KindHelp {
        name: "empty",
        fields: "",
        effect: "200 without a body",
        example: r#"{"kind":"empty"}"#,
    },
    KindHelp {
        name: "not_object",
        fields: "",
        effect: "200 with the JSON `[]`",
        example: r#"{"kind":"not_object"}"#,
    },
    KindHelp {
        name: "wrong_type",
        fields: "",
        effect: "200 with a JSON object whose fields have other types than the API's",
        example: r#"{"kind":"wrong_type"}"#,
    },
    KindHelp {
        name: "gzip",
        fields: "",
        effect: "compresses the body although the client did not ask for it",
        example: r#"{"kind":"gzip","operation":"GetImage"}"#,
    },
];

/// Lists the names, for the error about an unknown kind.
pub(super) fn names() -> String {
    FAULT_KINDS.map(|kind| kind.name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FaultKind, Script};
    use strum::EnumCount as _;

    #[test]
    fn each_kind_is_described_by_an_example_that_parses() {
        assert_eq!(FAULT_KINDS.len(), FaultKind::COUNT);
        for kind in &FAULT_KINDS {
            let script = format!("[{}]", kind.example);
            let faults = Script::parse_json(script.as_bytes()).unwrap();
            assert_eq!(faults[0].kind.as_str(), kind.name);
        }
        let mut names = FAULT_KINDS.map(|kind| kind.name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
