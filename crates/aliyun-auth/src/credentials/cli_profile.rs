//! Profile of the vendor's command line: `~/.aliyun/config.json`. The file is read at each load, so that a key
//! changed there is used without a restart, and it is never written to.

use secrecy::SecretString;
use serde_json::Value;

use super::SourceError;
use super::cloud_sso::CloudSso;
use super::context::{Context, read};
use super::ecs::Ecs;
use super::external::External;
use super::oidc::Oidc;
use super::response::{FetchedCredentials, text};
use super::spec::CredentialSpec;
use super::sts::{Role, Sts};

/// Tells whether the environment forbids the file, by `ALIBABA_CLOUD_CLI_PROFILE_DISABLED=true`.
pub(super) fn is_disabled(context: &Context) -> bool {
    context.is_true(DISABLED)
}

const DISABLED: &str = "ALIBABA_CLOUD_CLI_PROFILE_DISABLED";

/// Remedy for a mode that is not supported: one that needs a browser does not suit a daemon, and some the vendor's
/// own libraries refuse too.
const REMEDY: &str = "use a role (RamRoleArn, EcsRamRole or OIDC), or a program that prints the credential (External)";

/// Longest chain of profiles that name another as their `source_profile`.
const MAX_CHAIN: usize = 8;

/// Reads the file and fetches the credential that its profile describes.
pub(super) async fn load(context: &Context) -> Result<FetchedCredentials, SourceError> {
    if is_disabled(context) {
        return Err(SourceError::Disabled {
            source_name: "the command line's profile",
            variable: DISABLED,
        });
    }
    let named = context.config.cli_config_file.clone();
    let path = named
        .or_else(|| context.home_path(".aliyun/config.json"))
        .ok_or(SourceError::Missing {
            missing: "credentials.cli_config_file is not set and there is no HOME",
            remedy: "name the command line's configuration file, or use another source",
        })?;
    let text = read("credentials.cli_config_file", &path).await?;
    let spec = CliProfiles::parse(context, &path, &text)?.chosen()?;
    spec.resolve(&context.client).await
}

/// Parsed configuration file, with its path for errors.
struct CliProfiles<'a> {
    context: &'a Context,
    path: &'a str,
    file: Value,
}

impl<'a> CliProfiles<'a> {
    fn parse(context: &'a Context, path: &'a str, text: &str) -> Result<Self, SourceError> {
        // serde's own message may quote the file, and a secret in it.
        let file = serde_json::from_str(text).map_err(|error| SourceError::Profile {
            path: path.to_owned(),
            problem: format!("it is no JSON (line {})", error.line()),
        })?;
        Ok(Self {
            context,
            path,
            file,
        })
    }

    /// Parses the profile that the settings, `ALIBABA_CLOUD_PROFILE` or the file's `current` name, in this order.
    fn chosen(&self) -> Result<CredentialSpec, SourceError> {
        let setting = self.context.config.profile.as_deref();
        let name = self
            .context
            .named(setting, "ALIBABA_CLOUD_PROFILE")
            .or_else(|| text(&self.file, "current"))
            .ok_or_else(|| self.bad("it names no current profile".to_owned()))?;
        self.spec(&name, &mut Vec::new())
    }

    /// Parses a profile and those it builds on. `above` holds the profiles whose source this one is, to refuse a
    /// cycle and a chain longer than [`MAX_CHAIN`].
    fn spec(&self, name: &str, above: &mut Vec<String>) -> Result<CredentialSpec, SourceError> {
        if above.iter().any(|profile| profile == name) {
            return Err(self.bad(format!(
                "profile {name} is, in the end, its own source_profile"
            )));
        }
        if above.len() == MAX_CHAIN {
            return Err(self.bad(format!(
                "more than {MAX_CHAIN} profiles stand on one another"
            )));
        }
        let profile = self.find(name)?;
        let part = CliProfile {
            profiles: self,
            profile,
            name,
        };
        match part.need("mode")?.as_str() {
            "AK" => Ok(CredentialSpec::Key(part.key(None)?)),
            "StsToken" => Ok(CredentialSpec::Key(
                part.key(Some(&part.need("sts_token")?))?,
            )),
            "RamRoleArn" => part.role(CredentialSpec::Key(
                part.key(part.get("sts_token").as_deref())?,
            )),
            "EcsRamRole" => {
                Ecs::of(self.context, part.get("ram_role_name")).map(CredentialSpec::Ecs)
            }
            "OIDC" => part.oidc(),
            "ChainableRamRoleArn" => {
                above.push(name.to_owned());
                part.role(self.spec(&part.need("source_profile")?, above)?)
            }
            "CloudSSO" => part.cloud_sso(),
            "External" => Ok(CredentialSpec::External(External {
                command: part.need("process_command")?,
                environment: self.context.environment.clone(),
            })),
            other => Err(self.bad(format!(
                "profile {name}: unsupported profile mode {other}: {REMEDY}"
            ))),
        }
    }

    fn find(&self, name: &str) -> Result<&Value, SourceError> {
        let profiles = self.file.get("profiles").and_then(Value::as_array);
        let mut named = profiles.into_iter().flatten();
        named
            .find(|profile| text(profile, "name").as_deref() == Some(name))
            .ok_or_else(|| self.bad(format!("it has no profile {name}")))
    }

    fn bad(&self, problem: String) -> SourceError {
        SourceError::Profile {
            path: self.path.to_owned(),
            problem,
        }
    }
}

/// One profile of the file, with its name for errors.
struct CliProfile<'a> {
    profiles: &'a CliProfiles<'a>,
    profile: &'a Value,
    name: &'a str,
}

impl CliProfile<'_> {
    fn get(&self, key: &str) -> Option<String> {
        text(self.profile, key)
    }

    fn need(&self, key: &str) -> Result<String, SourceError> {
        let missing = || format!("profile {} has no {key}", self.name);
        self.get(key).ok_or_else(|| self.profiles.bad(missing()))
    }

    fn key(&self, token: Option<&str>) -> Result<FetchedCredentials, SourceError> {
        let (id, secret) = (self.need("access_key_id")?, self.need("access_key_secret")?);
        Ok(FetchedCredentials::without_expiry(&id, &secret, token))
    }

    fn sts(&self) -> Sts {
        let vpc = self.profile.get("enable_vpc").and_then(Value::as_bool);
        let region = self.get("sts_region");
        Sts::of_profile(self.profiles.context, region, vpc.unwrap_or(false))
    }

    /// Parses the profile's role. The vendor's code and its documentation disagree about the key of the session's
    /// name, so both are read.
    fn described(&self) -> Result<Role, SourceError> {
        let role = Role::of(self.profiles.context, self.need("ram_role_arn")?);
        let session = self.get("ram_session_name");
        let session = session.or_else(|| self.get("role_session_name"));
        let seconds = self.profile.get("expired_seconds").and_then(Value::as_u64);
        Ok(Role {
            session: session.unwrap_or(role.session),
            seconds: seconds
                .filter(|seconds| *seconds > 0)
                .unwrap_or(role.seconds),
            policy: self.get("policy"),
            external_id: self.get("external_id"),
            ..role
        })
    }

    fn role(&self, base: CredentialSpec) -> Result<CredentialSpec, SourceError> {
        Ok(CredentialSpec::Role {
            base: Box::new(base),
            role: self.described()?,
            sts: self.sts(),
        })
    }

    fn oidc(&self) -> Result<CredentialSpec, SourceError> {
        Ok(CredentialSpec::Oidc(Oidc {
            role: self.described()?,
            provider_arn: self.need("oidc_provider_arn")?,
            token_file: self.need("oidc_token_file")?,
            sts: self.sts(),
        }))
    }

    fn cloud_sso(&self) -> Result<CredentialSpec, SourceError> {
        let expires = self.profile.get("cloud_sso_access_token_expire");
        Ok(CredentialSpec::CloudSso(CloudSso {
            sign_in_url: self.need("cloud_sso_sign_in_url")?,
            account_id: self.need("cloud_sso_account_id")?,
            access_config: self.need("cloud_sso_access_config")?,
            access_token: SecretString::from(self.need("access_token")?),
            expires: expires.and_then(Value::as_i64),
        }))
    }
}

#[cfg(test)]
mod tests;
