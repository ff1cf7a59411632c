//! RAM policies that the settings need: the actions of the central credential, and the trust of the roles that it
//! assumes. All functions are pure.

mod trust;

pub use trust::{RoleTrust, assume_role, trusts};

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Settings;
use crate::api::Action;
use crate::auth::{Mode, Permission};

/// Action that the central credential needs, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredAction {
    /// Operation of the API.
    pub action: Action,
    /// Users of the operation: clients with a permission, or a part of the gateway.
    pub because: String,
}

/// Returns the permissions that some client may use: with authentication those of the clients' file, else all.
#[must_use]
pub fn usable(settings: &Settings, granted: BTreeSet<Permission>) -> BTreeSet<Permission> {
    let mut usable = match settings.auth.mode {
        Mode::None => Permission::ALL.into(),
        Mode::Required => granted,
    };
    if !settings.api.writes {
        usable.remove(&Permission::Write);
    }
    usable
}

/// Returns the actions that are called with these permissions and settings, in the API's order.
#[must_use]
pub fn required(settings: &Settings, usable: &BTreeSet<Permission>) -> Vec<RequiredAction> {
    let called = Action::ALL.into_iter().filter_map(|action| {
        let because = users(action, settings, usable);
        (!because.is_empty()).then(|| RequiredAction {
            action,
            because: because.join("; "),
        })
    });
    called.collect()
}

/// Lists the users of an operation; none for one that is never called.
fn users(action: Action, settings: &Settings, usable: &BTreeSet<Permission>) -> Vec<&'static str> {
    let catalogue = &settings.catalogue;
    let has_catalogue = catalogue.official || !catalogue.workspaces.is_empty();
    let may = |permission: Permission| usable.contains(&permission);
    let users: &[(bool, &str)] = match action {
        Action::GetImage => &[(true, "the gateway's main operation")],
        Action::ListImages => &[
            (may(Permission::List), "clients list images"),
            (
                may(Permission::Resolve),
                "clients resolve images by their URI",
            ),
            (has_catalogue, "the catalogue lists its workspaces"),
        ],
        Action::ListImageLabels => &[
            (may(Permission::List), "clients list labels"),
            (may(Permission::Get), "clients list the labels of one image"),
        ],
        Action::AddImage
        | Action::AddImageLabels
        | Action::RemoveImageLabels
        | Action::PublishImage
        | Action::RemoveImage => &[(may(Permission::Write), "clients write")],
        Action::Resolve | Action::Unknown => &[],
    };
    let users = users.iter().filter(|(is_user, _)| *is_user);
    users.map(|(_, because)| *because).collect()
}

/// Builds the policy document that allows the actions. The API has no narrower resource than `*` for them.
#[must_use]
pub fn document(required: &[RequiredAction]) -> Value {
    let actions = required
        .iter()
        .filter_map(|needed| needed.action.ram_action());
    statement(&json!({
        "Effect": "Allow",
        "Action": actions.collect::<Vec<_>>(),
        "Resource": "*",
    }))
}

/// Wraps one statement into a policy document.
fn statement(statement: &Value) -> Value {
    json!({ "Version": "1", "Statement": [statement] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actions(settings: &Settings, granted: &[Permission]) -> Vec<String> {
        let usable = usable(settings, granted.iter().copied().collect());
        let required = required(settings, &usable);
        let names = required
            .iter()
            .filter_map(|needed| needed.action.ram_action());
        names.collect()
    }

    #[test]
    fn only_called_operations_are_allowed() {
        let mut settings = Settings::default();
        settings.auth.mode = Mode::Required;
        assert_eq!(actions(&settings, &[]), ["paiimage:GetImage"]);
        assert_eq!(
            actions(&settings, &[Permission::Get]),
            ["paiimage:GetImage", "paiimage:ListImageLabels"]
        );
        assert_eq!(
            actions(&settings, &[Permission::Resolve]),
            ["paiimage:GetImage", "paiimage:ListImages"]
        );
        settings.catalogue.official = true;
        assert_eq!(
            actions(&settings, &[]),
            ["paiimage:GetImage", "paiimage:ListImages"]
        );
    }

    #[test]
    fn writes_are_allowed_where_the_settings_and_a_client_permit_them() {
        let mut settings = Settings::default();
        assert!(!actions(&settings, &[]).contains(&"paiimage:RemoveImage".to_owned()));
        settings.api.writes = true;
        assert_eq!(actions(&settings, &[]).len(), 8);
        settings.auth.mode = Mode::Required;
        assert_eq!(actions(&settings, &[Permission::Refresh]).len(), 1);
        assert_eq!(actions(&settings, &[Permission::Write]).len(), 6);
    }
}
