//! Profile of the SDKs' credentials file, in INI form: `~/.alibabacloud/credentials.ini`.
//!
//! The vendor's SDKs cut a value at its first `#`, even inside a secret. Here a comment begins only at a `#` or
//! `;` after white space: `type = access_key ; note` has its usual meaning, and a secret with a `#` inside stays
//! whole. Such a value is logged, since the SDKs would use another. Quotes and backslashes are ordinary
//! characters, as in the SDKs.

use ini::{Ini, ParseOption, Properties};

use super::SourceError;
use super::context::{Context, read};
use super::ecs::Ecs;
use super::oidc::Oidc;
use super::response::FetchedCredentials;
use super::spec::CredentialSpec;
use super::sts::{Role, Sts};

/// Paths below the home folder: the name that Python's SDK uses, then that of Node's.
const AT_HOME: [&str; 2] = [".alibabacloud/credentials.ini", ".alibabacloud/credentials"];

const REMEDY: &str = "use a role (ram_role_arn, ecs_ram_role or oidc_role_arn), or the command line's file with the mode External";

/// Reads the file and fetches the credential that its profile describes. The file is read again at each load.
pub(super) async fn load(context: &Context) -> Result<FetchedCredentials, SourceError> {
    let (path, text) = file(context).await?;
    let setting = context.config.profile.as_deref();
    let name = context.named(setting, "ALIBABA_CLOUD_PROFILE");
    let name = name.as_deref().unwrap_or("default");
    let spec = spec(context, &path, &text, name)?;
    spec.resolve(&context.client).await
}

/// Reads the file that the settings or the environment name, else the first that exists in the home folder.
/// Without any, the error is about the first name.
async fn file(context: &Context) -> Result<(String, String), SourceError> {
    const KEY: &str = "credentials.credentials_file";
    let setting = context.config.credentials_file.as_deref();
    if let Some(path) = context.named(setting, "ALIBABA_CLOUD_CREDENTIALS_FILE") {
        let text = read(KEY, &path).await?;
        return Ok((path, text));
    }
    let mut first = Err(SourceError::Missing {
        missing: "credentials.credentials_file (ALIBABA_CLOUD_CREDENTIALS_FILE) is not set and there is no HOME",
        remedy: "name the credentials file, or use another source",
    });
    for (at, path) in AT_HOME
        .iter()
        .filter_map(|path| context.home_path(path))
        .enumerate()
    {
        match read(KEY, &path).await {
            Ok(text) => return Ok((path, text)),
            Err(error) if at == 0 => first = Err(error),
            Err(_) => {}
        }
    }
    first
}

/// Parses the file and the profile of that name.
fn spec(
    context: &Context,
    path: &str,
    text: &str,
    name: &str,
) -> Result<CredentialSpec, SourceError> {
    let bad = |problem: String| SourceError::Profile {
        path: path.to_owned(),
        problem,
    };
    if let Some((line, problem)) = ambiguity(text) {
        return Err(bad(format!("line {line} {problem}")));
    }
    let options = ParseOption {
        enabled_quote: false,
        enabled_escape: false,
        ..ParseOption::default()
    };
    // The parser's own message may quote the file, and a secret in it.
    let file = Ini::load_from_str_opt(text, options)
        .map_err(|error| bad(format!("line {} cannot be read", error.line + 1)))?;
    let section = file
        .section(Some(name))
        .ok_or_else(|| bad(format!("it has no profile {name}")))?;
    let profile = Profile {
        context,
        path,
        name,
        section,
    };
    profile.spec()
}

/// Returns the first line that INI parsers read in different ways, or join with the next line, and the reason.
fn ambiguity(text: &str) -> Option<(usize, &'static str)> {
    let judged = text.lines().map(str::trim).map(|line| {
        let plain = !line.is_empty() && !line.starts_with(['#', ';', '[']);
        if line.ends_with('\\') {
            Some("ends with a backslash: write the value without one")
        } else if plain && !line.contains(['=', ':']) {
            Some("is neither a section nor key = value")
        } else {
            None
        }
    });
    judged
        .enumerate()
        .find_map(|(at, problem)| Some((at + 1, problem?)))
}

/// One section of the file, with its path and name for errors.
struct Profile<'a> {
    context: &'a Context,
    path: &'a str,
    name: &'a str,
    section: &'a Properties,
}

impl Profile<'_> {
    fn spec(&self) -> Result<CredentialSpec, SourceError> {
        match self.need("type")?.as_str() {
            "access_key" => Ok(CredentialSpec::Key(self.key()?)),
            "ram_role_arn" => Ok(CredentialSpec::Role {
                base: Box::new(CredentialSpec::Key(self.key()?)),
                role: self.role()?,
                sts: Sts::of(self.context),
            }),
            "oidc_role_arn" => Ok(CredentialSpec::Oidc(Oidc {
                role: self.role()?,
                provider_arn: self.need("oidc_provider_arn")?,
                token_file: self.need("oidc_token_file_path")?,
                sts: Sts::of(self.context),
            })),
            "ecs_ram_role" => Ecs::of(self.context, self.get("role_name")).map(CredentialSpec::Ecs),
            other => Err(SourceError::Profile {
                path: self.path.to_owned(),
                problem: format!(
                    "profile {}: unsupported profile type {other}: {REMEDY}",
                    self.name
                ),
            }),
        }
    }

    fn get(&self, key: &str) -> Option<String> {
        let value = uncommented(self.section.get(key)?);
        if value.contains('#') {
            let profile = format_args!("{}, profile {}", self.path, self.name);
            self.context.observer.doubtful_profile(key, &profile);
        }
        (!value.is_empty()).then(|| value.to_owned())
    }

    fn need(&self, key: &str) -> Result<String, SourceError> {
        self.get(key).ok_or_else(|| SourceError::Profile {
            path: self.path.to_owned(),
            problem: format!("profile {} has no {key}", self.name),
        })
    }

    fn key(&self) -> Result<FetchedCredentials, SourceError> {
        let (id, secret) = (self.need("access_key_id")?, self.need("access_key_secret")?);
        Ok(FetchedCredentials::without_expiry(&id, &secret, None))
    }

    fn role(&self) -> Result<Role, SourceError> {
        let role = Role::of(self.context, self.need("role_arn")?);
        Ok(Role {
            session: self.get("role_session_name").unwrap_or(role.session),
            policy: self.get("policy"),
            ..role
        })
    }
}

/// Returns a value without the comment behind it, which begins at a `#` or `;` after white space.
fn uncommented(value: &str) -> &str {
    let mut before = ' ';
    for (at, next) in value.char_indices() {
        if matches!(next, '#' | ';') && before.is_whitespace() {
            return value.get(..at).unwrap_or("").trim();
        }
        before = next;
    }
    value.trim()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::credentials::Config;

    fn parse(text: &str, name: &str) -> Result<CredentialSpec, SourceError> {
        let context = Context::new(Config::default(), [].into());
        spec(&context, "credentials.ini", text, name)
    }

    fn key(text: &str) -> (String, String) {
        let Ok(CredentialSpec::Key(fetched)) = parse(text, "default") else {
            panic!("{text}")
        };
        let secret = fetched.credentials.access_key_secret.expose_secret();
        (fetched.credentials.access_key_id.clone(), secret.to_owned())
    }

    fn refusal(text: &str) -> String {
        let Err(error) = parse(text, "default") else {
            panic!("{text}")
        };
        error.to_string()
    }

    #[test]
    fn secrets_stay_whole_and_comments_go() {
        let text = "# top\n; top\n[default]\ntype = access_key ; note\naccess_key_id = LTAI#abc\t# prod\naccess_key_secret = a\\nb;c\n";
        assert_eq!(key(text), ("LTAI#abc".to_owned(), "a\\nb;c".to_owned()));
        let quoted = "[default]\ntype=access_key#x\n";
        assert!(refusal(quoted).contains("access_key#x"));
        let quoted =
            "[default]\r\ntype=access_key\r\naccess_key_id=\"x\r\naccess_key_secret='a=b'\r\n";
        assert_eq!(key(quoted), ("\"x".to_owned(), "'a=b'".to_owned()));
    }

    #[test]
    fn a_value_that_is_all_comment_is_missing() {
        let message = refusal("[default]\ntype = access_key\naccess_key_id = # later\n");
        assert!(message.contains("no access_key_id"), "{message}");
    }

    #[test]
    fn each_type_is_read() {
        let text = "[r]\ntype=ram_role_arn\naccess_key_id=i\naccess_key_secret=s\nrole_arn=a:b/c\nrole_session_name=n\npolicy={\"a\":\"b\"}\n\
             [o]\ntype=oidc_role_arn\nrole_arn=a\noidc_provider_arn=p\noidc_token_file_path=/t\n\
             [e]\ntype=ecs_ram_role\nrole_name=node\n[k]\ntype=rsa_key_pair\npublic_key_id=x\nprivate_key_file=/k\n";
        let Ok(CredentialSpec::Role { role, .. }) = parse(text, "r") else {
            panic!()
        };
        let policy = role.policy.as_deref();
        assert_eq!(
            (role.session.as_str(), policy),
            ("n", Some("{\"a\":\"b\"}"))
        );
        let Ok(CredentialSpec::Oidc(oidc)) = parse(text, "o") else {
            panic!()
        };
        assert_eq!(oidc.token_file, "/t");
        assert!(matches!(parse(text, "e"), Ok(CredentialSpec::Ecs(_))));
        let Err(error) = parse(text, "k") else {
            panic!()
        };
        let message = error.to_string();
        assert!(
            message.contains("type rsa_key_pair: use a role") && message.contains("External"),
            "{message}"
        );
        let Err(error) = parse(text, "x") else {
            panic!()
        };
        assert!(error.to_string().contains("no profile x"));
    }

    #[test]
    fn an_unreadable_line_is_reported_by_number_and_not_quoted() {
        let message = refusal("[default]\ntype = access_key\nhunter2\n");
        assert!(
            message.contains("line 3") && !message.contains("hunter2"),
            "{message}"
        );
        let message = refusal("[default]\naccess_key_secret = hunter2\\\ntype = access_key\n");
        assert!(
            message.contains("line 2") && !message.contains("hunter2"),
            "{message}"
        );
    }
}
