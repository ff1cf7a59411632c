//! `policy`: prints the RAM policies that the settings need.

use std::collections::BTreeSet;
use std::path::Path;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::exit::ArgumentError;
use super::{ConfigArgs, Exit, print_json, print_note, print_out};
use crate::auth::{ClientsFile, Mode, Permission};
use crate::config::Settings;
use crate::config::ram_policy::{self, RequiredAction, RoleTrust};
use crate::environment::Environment;
use crate::upstream::UpstreamKind;

/// Print the RAM policy that the central credential needs for these settings, as JSON.
///
/// It allows the operations that clients may use, by the settings and, where they authenticate, by the clients file,
/// and nothing else. Remarks go to standard error.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pai-image-gateway policy --config gateway.toml > ram-policy.json
  pai-image-gateway policy --config gateway.toml --document trust
  pai-image-gateway policy --set catalogue.official=true --json")]
pub(super) struct PrintPolicy {
    /// Document to print.
    #[arg(long, value_enum, default_value_t = Document::Permissions)]
    document: Document,
    /// Print all documents and the reason for each action as one line of JSON.
    #[arg(long, conflicts_with = "document")]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Document {
    /// Policy of the identity that signs: a user, or the role that is assumed last.
    Permissions,
    /// Policy of the identity that assumes credentials.assume_role_arn.
    AssumeRole,
    /// Trust policy of each role that the credential's source assumes.
    Trust,
}

/// Policies for one gateway.
struct RamPolicies {
    required: Vec<RequiredAction>,
    permissions: Value,
    assume_role: Option<Value>,
    trusts: Vec<RoleTrust>,
}

impl PrintPolicy {
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<Exit> {
        let settings = self.config.load(environment)?.settings;
        if settings.upstream.kind == UpstreamKind::Gateway {
            let reason = "upstream.kind: a gateway whose upstream is another gateway needs no RAM policy: the parent issues its key, by `client add --permissions get,list,resolve,refresh`";
            return Err(ArgumentError(reason.to_owned()).into());
        }
        let policies = RamPolicies::new(&settings, environment)?;
        if self.json {
            return print_json(&policies.as_json());
        }
        match self.document {
            Document::Permissions => policies.print_permissions(),
            Document::AssumeRole => policies.print_assume_role(),
            Document::Trust => policies.print_trusts(),
        }
    }
}

/// Reads the permissions of the clients' file; none where clients do not authenticate.
///
/// # Errors
/// A file that cannot be read, or that has no `[[client]]` tables.
fn granted(settings: &Settings) -> anyhow::Result<BTreeSet<Permission>> {
    if settings.auth.mode == Mode::None {
        return Ok(BTreeSet::new());
    }
    let file = ClientsFile::read(Path::new(&settings.auth.clients_file));
    let clients = file.and_then(|file| file.summaries()).map_err(|error| {
        ArgumentError(format!(
            "auth.clients_file: {error}: name the file of the clients, whose permissions decide on the actions"
        ))
    })?;
    let words: BTreeSet<&str> = clients
        .iter()
        .flat_map(|client| client.permissions.iter().map(String::as_str))
        .collect();
    let granted = Permission::ALL.into_iter();
    Ok(granted
        .filter(|permission| words.contains(permission.as_str()))
        .collect())
}

impl RamPolicies {
    fn new(settings: &Settings, environment: &Environment) -> anyhow::Result<Self> {
        let usable = ram_policy::usable(settings, granted(settings)?);
        let required = ram_policy::required(settings, &usable);
        Ok(Self {
            permissions: ram_policy::document(&required),
            required,
            assume_role: ram_policy::assume_role(&settings.credentials),
            trusts: ram_policy::trusts(&settings.credentials, environment, None),
        })
    }

    fn print_permissions(&self) -> anyhow::Result<Exit> {
        for needed in &self.required {
            let action = needed.action.ram_action().unwrap_or_default();
            print_note(&format!("{action}: {}", needed.because));
        }
        if let Some(signs) = self.trusts.last() {
            print_note(&format!(
                "Attach it to {}; `--document trust` prints the trust policy of the role.",
                signs.role
            ));
        }
        if self.assume_role.is_some() {
            print_note(
                "`--document assume-role` prints the policy of the identity that assumes it.",
            );
        }
        Ok(print_out(&format!("{:#}\n", self.permissions)))
    }

    fn print_assume_role(&self) -> anyhow::Result<Exit> {
        match &self.assume_role {
            Some(policy) => Ok(print_out(&format!("{policy:#}\n"))),
            None => Err(ArgumentError(
                "--document assume-role: credentials.assume_role_arn is not set".to_owned(),
            )
            .into()),
        }
    }

    fn print_trusts(&self) -> anyhow::Result<Exit> {
        if self.trusts.is_empty() {
            return Err(ArgumentError(
                "--document trust: the settings assume no role: set credentials.source or credentials.assume_role_arn as the gateway has it"
                    .to_owned(),
            )
            .into());
        }
        for RoleTrust { role, document } in &self.trusts {
            print_note(&format!(
                "Trust policy of {role}; fill in the parts in capitals, and another account if one assumes it."
            ));
            print_out(&format!("{document:#}\n"));
        }
        Ok(Exit::Success)
    }

    fn as_json(&self) -> Value {
        let actions = self.required.iter().map(
            |needed| json!({ "action": needed.action.ram_action(), "because": needed.because }),
        );
        let trusts = self
            .trusts
            .iter()
            .map(|RoleTrust { role, document }| json!({ "role": role, "policy": document }));
        json!({
            "permissions": self.permissions,
            "actions": actions.collect::<Vec<_>>(),
            "assume_role": self.assume_role,
            "trust": trusts.collect::<Vec<_>>(),
        })
    }
}
