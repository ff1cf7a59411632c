//! `explain`: prints what a running gateway holds of one image, and why for how long.

use std::fmt::Write as _;

use clap::Args;
use serde_json::Value;

use super::{Exit, RunningGateway, print_json, print_out, printable};
use crate::api::ImageId;
use crate::environment::Environment;

/// Print what a running gateway holds of an image, why, and for how long.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pai-image-gateway explain image-liuxvj7p2qcnflha84
  pai-image-gateway explain image-liuxvj7p2qcnflha84 --admin 127.0.0.1:9901 --json")]
pub(super) struct Explain {
    /// Id of the image.
    #[arg(value_name = "IMAGE_ID", value_parser = ImageId::parse)]
    image: ImageId,
    /// Print the response of /entries/{ImageId}, one line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    running: RunningGateway,
}

/// Fields of a cached response that are printed below its explanation, where they have a value.
const FIELDS: [&str; 8] = [
    "stored_at",
    "age_seconds",
    "ttl_seconds",
    "fresh_until",
    "stale_until",
    "gmt_modified",
    "last_result",
    "catalogue",
];

impl Explain {
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<Exit> {
        let path = format!("/entries/{}", self.image.as_str());
        let entries = self.running.get(&path, environment)?;
        if self.json {
            return print_json(&entries);
        }
        Ok(print_out(&as_text(&entries)))
    }
}

fn as_text(entries: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or(value.to_string(), printable);
    let mut out = format!("{}\n", text(&entries["ImageId"]));
    for variant in entries["variants"].as_array().into_iter().flatten() {
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "\nVerbose={}: {}\n  {}",
            variant["verbose"],
            text(&variant["state"]),
            text(&variant["explanation"])
        );
        for field in FIELDS {
            let value = &variant[field];
            if !value.is_null() {
                let _ = writeln!(out, "  {field:<14}{}", text(value));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_variant_is_explained() {
        let text = as_text(&json!({ "ImageId": "image-a", "variants": [
            { "verbose": false, "state": "fresh", "explanation": "It is.", "age_seconds": 3, "catalogue": null },
            { "verbose": true, "state": "absent", "explanation": "Nothing is held.", "last_result": null },
        ]}));
        assert_eq!(
            text,
            "image-a\n\nVerbose=false: fresh\n  It is.\n  age_seconds   3\n\nVerbose=true: absent\n  Nothing is held.\n"
        );
    }
}
