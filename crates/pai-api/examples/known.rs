//! Prints the parameters and members of the vendor's API that this code knows, as JSON: `.ci/vendor-watch` compares
//! them with the vendor's SDK.

use std::collections::BTreeMap;
use std::io::Write;

use pai_api::{Action, IMAGE_MEMBERS, ImagePage, VERSION};

fn main() -> std::io::Result<()> {
    let parameters: BTreeMap<_, _> = Action::ALL
        .into_iter()
        .filter(|action| !matches!(action, Action::Resolve | Action::Unknown))
        .map(|action| (action.as_str(), action.parameters()))
        .collect();
    let known = serde_json::json!({
        "version": VERSION,
        "parameters": parameters,
        "image": IMAGE_MEMBERS,
        "page": ImagePage::MEMBERS,
    });
    writeln!(std::io::stdout(), "{known:#}")
}
