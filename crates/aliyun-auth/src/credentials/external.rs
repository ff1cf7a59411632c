//! Credential from a program: a profile's `process_command`.
//!
//! The command is split into words as a shell does, but runs without a shell: variables, pipes and wildcards
//! mean themselves. It gets the gateway's environment and one minute, and is killed after that or when the
//! gateway stops. Only the JSON on its standard output is read, at most 64 KiB; its standard error is discarded,
//! since it may contain secrets.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use super::SourceError;
use super::response::{FetchedCredentials, parse_expiration, text, without_bom};
use host::environment::Environment;

/// Command of a profile, and the environment it runs in: the gateway's own, as it was at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct External {
    pub(super) command: String,
    pub(super) environment: Environment,
}

const TIMEOUT: Duration = Duration::from_secs(60);
const MAX_OUTPUT: u64 = 64 << 10;

impl External {
    /// Runs the command and reads the credential that it prints.
    ///
    /// # Errors
    /// [`SourceError::Process`] when it cannot be run, fails, takes longer than a minute, or prints anything else.
    /// The error never quotes the output.
    pub(super) async fn load(&self) -> Result<FetchedCredentials, SourceError> {
        let words = split(&self.command).ok_or_else(|| bad("has a quote that is not closed"))?;
        let (program, arguments) = words.split_first().ok_or_else(|| bad("is empty"))?;
        let child = Command::new(program)
            .args(arguments)
            // The environment of the start, as every other source sees it.
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // The timeout, and the end of the gateway, drop the child.
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| bad(&format!("cannot be run: {}", error.kind())))?;
        let output = tokio::time::timeout(TIMEOUT, finish(child))
            .await
            .map_err(|_| bad("took more than a minute"))??;
        read(&output)
    }
}

async fn finish(mut child: Child) -> Result<Vec<u8>, SourceError> {
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let read = stdout.take(MAX_OUTPUT).read_to_end(&mut output).await;
        read.map_err(|error| bad(&format!("cannot be read: {}", error.kind())))?;
    }
    let status = child.wait().await;
    match status {
        Ok(status) if status.success() => Ok(output),
        Ok(status) => Err(bad(&format!("ended with {status}"))),
        Err(error) => Err(bad(&format!("cannot be waited for: {}", error.kind()))),
    }
}

/// Reads `{"mode", "access_key_id", "access_key_secret", "sts_token", "expiration"}`: `mode` is `AK`, or `StsToken`
/// with the token. A temporary credential without `expiration` is loaded again every `credentials.refresh`.
fn read(output: &[u8]) -> Result<FetchedCredentials, SourceError> {
    let object: Value =
        serde_json::from_slice(without_bom(output)).map_err(|_| bad("wrote no JSON"))?;
    let part = |name: &str| text(&object, name).ok_or_else(|| bad(&format!("gave no {name}")));
    let token = match text(&object, "mode").as_deref() {
        Some("AK") => None,
        Some("StsToken") => Some(part("sts_token")?),
        Some(_) | None => return Err(bad("gave another mode than AK or StsToken")),
    };
    let expires = match text(&object, "expiration") {
        Some(text) => Some(parse_expiration(&text).ok_or_else(|| {
            bad("gave an expiration that is not of the form 2026-11-23T10:20:42Z")
        })?),
        None => None,
    };
    let (id, secret) = (part("access_key_id")?, part("access_key_secret")?);
    let fetched = FetchedCredentials::without_expiry(&id, &secret, token.as_deref());
    Ok(FetchedCredentials { expires, ..fetched })
}

/// Splits a command into words as a POSIX shell does: single quotes keep everything, double quotes everything but
/// a backslash before `"` and `\`. Returns `None` when a quote is not closed or a backslash ends the command.
fn split(command: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = command.chars();
    while let Some(next) = rest.next() {
        match next {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\'' => quoted(&mut rest, word.get_or_insert_default())?,
            '"' => double_quoted(&mut rest, word.get_or_insert_default())?,
            '\\' => word.get_or_insert_default().push(rest.next()?),
            plain => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    Some(words)
}

fn quoted(rest: &mut impl Iterator<Item = char>, word: &mut String) -> Option<()> {
    loop {
        match rest.next()? {
            '\'' => return Some(()),
            plain => word.push(plain),
        }
    }
}

fn double_quoted(rest: &mut impl Iterator<Item = char>, word: &mut String) -> Option<()> {
    loop {
        match rest.next()? {
            '"' => return Some(()),
            '\\' => match rest.next()? {
                escaped @ ('"' | '\\') => word.push(escaped),
                other => word.extend(['\\', other]),
            },
            plain => word.push(plain),
        }
    }
}

fn bad(problem: &str) -> SourceError {
    SourceError::Process {
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn external(command: &str) -> External {
        let path = ("PATH".to_owned(), "/usr/bin:/bin".to_owned());
        External {
            command: command.to_owned(),
            environment: [path].into(),
        }
    }

    async fn refusal(command: &str) -> String {
        let Err(error) = external(command).load().await else {
            panic!("{command}")
        };
        error.to_string()
    }

    #[test]
    fn words_are_split_as_a_shell_splits_them() {
        let words = |text: &str| split(text).map(|words| words.join("|"));
        assert_eq!(words(" a  b\tc\n").unwrap(), "a|b|c");
        assert_eq!(
            words(r#"a 'b "c' "d 'e" f'g'"h""#).unwrap(),
            r#"a|b "c|d 'e|fgh"#
        );
        assert_eq!(words(r#"a\ b "c\"d\e" '\'"#).unwrap(), r#"a b|c"d\e|\"#);
        assert_eq!(words("'' \"\"").unwrap(), "|");
        assert_eq!(words("").unwrap(), "");
        for open in ["'a", "\"a", "a\\", "\"a\\"] {
            assert_eq!(split(open), None, "{open}");
        }
    }

    #[tokio::test]
    async fn a_programs_answer_is_taken() {
        let json = r#"{"mode":"StsToken","access_key_id":"STS.x","access_key_secret":"s","sts_token":"t","expiration":"2026-11-23T10:20:42Z"}"#;
        let fetched = external(&format!("printf '%s' '{json}'")).load().await;
        let fetched = fetched.ok().unwrap();
        assert_eq!(fetched.credentials.access_key_id, "STS.x");
        assert_eq!(fetched.credentials.access_key_secret.expose_secret(), "s");
        assert_eq!(fetched.expires.unwrap().to_string(), "2026-11-23T10:20:42Z");
    }

    #[tokio::test]
    async fn no_shell_reads_the_command() {
        let json = r#"{"mode":"AK","access_key_id":"$HOME","access_key_secret":"a;b|c"}"#;
        let fetched = external(&format!("printf %s '{json}'")).load().await;
        let fetched = fetched.ok().unwrap();
        assert_eq!(fetched.credentials.access_key_id, "$HOME");
        assert_eq!(
            fetched.credentials.access_key_secret.expose_secret(),
            "a;b|c"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_hangs_is_given_up_after_a_minute() {
        let begun = tokio::time::Instant::now();
        let message = refusal("sleep 1000").await;
        assert!(message.contains("more than a minute"), "{message}");
        assert_eq!(begun.elapsed().as_secs(), 60);
    }

    #[tokio::test]
    async fn errors_do_not_quote_the_commands_output() {
        assert!(refusal("").await.contains("is empty"));
        assert!(refusal("'x").await.contains("not closed"));
        assert!(refusal("/no/such/program").await.contains("cannot be run"));
        assert!(refusal("false").await.contains("ended with"));
        let message = refusal("printf hunter2").await;
        assert!(
            message.contains("no JSON") && !message.contains("hunter2"),
            "{message}"
        );
        let message = refusal(r#"printf '{"mode":"hunter2"}'"#).await;
        assert!(
            message.contains("mode") && !message.contains("hunter2"),
            "{message}"
        );
    }
}
