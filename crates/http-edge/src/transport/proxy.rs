//! The HTTP proxy for outbound connections.
//!
//! Every connection is a tunnel (`CONNECT`, RFC 9110 §9.3.6), even to `http` origins: the proxy sees a host and a port,
//! never a signature or a credential that TLS protects. `NO_PROXY` lists hosts that are connected to directly.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;

use super::{BuildError, Section};

/// Value of the setting that takes the proxy from `HTTPS_PROXY` and its like.
const FROM_ENVIRONMENT: &str = "env";

/// Choice of the proxy for each address, with the credentials for it.
#[derive(Clone)]
pub struct Proxy {
    matcher: Arc<Matcher>,
    /// Credentials from the file; they take precedence over those in a variable's URL.
    authorization: Option<HeaderValue>,
}

/// Address of a proxy, with the credentials for it.
#[derive(Clone)]
pub(super) struct ProxyHop {
    pub(super) address: Uri,
    pub(super) authorization: Option<HeaderValue>,
}

/// Unusable `proxy` setting; the text is the remedy and never contains the value, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidProxy(pub &'static str);

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").finish_non_exhaustive()
    }
}

impl Proxy {
    /// Checks a `proxy` setting: `env`, or `http://` or `https://` with a host and no more than a port.
    ///
    /// # Errors
    /// [`InvalidProxy`].
    pub fn check(setting: &str) -> Result<(), InvalidProxy> {
        if setting == FROM_ENVIRONMENT {
            return Ok(());
        }
        let uri: Uri = setting.parse().map_err(|_| InvalidProxy(FORM))?;
        let authority = uri.authority().ok_or(InvalidProxy(FORM))?.as_str();
        if authority.contains('@') {
            return Err(InvalidProxy(
                "write it without user and password, which belong in the file that proxy_credentials_file names",
            ));
        }
        let known = matches!(uri.scheme_str(), Some("http" | "https"));
        if known && uri.path() == "/" && uri.query().is_none() {
            Ok(())
        } else {
            Err(InvalidProxy(FORM))
        }
    }

    /// Builds the proxy of a section; `None` without a setting. `variables` are those of the environment.
    ///
    /// # Errors
    /// [`BuildError::Proxy`] for a setting, a variable or a file that cannot be used.
    pub fn of_section(
        section: Section,
        setting: Option<&str>,
        credentials_file: Option<&str>,
        variables: &BTreeMap<String, String>,
    ) -> Result<Option<Self>, BuildError> {
        let Some(setting) = setting else {
            return Ok(None);
        };
        let bad = |key: &str, reason: &str| BuildError::Proxy {
            key: key.to_owned(),
            reason: reason.to_owned(),
        };
        let key = |key: &str| section.setting(key);
        Self::check(setting).map_err(|InvalidProxy(reason)| bad(&key("proxy"), reason))?;
        let variable = |name: &str| {
            let named = |name: String| Some((name.clone(), variables.get(&name)?.trim()));
            let found = named(name.to_owned()).or_else(|| named(name.to_lowercase()));
            found.filter(|(_, value)| !value.is_empty())
        };
        let mut matcher = Matcher::builder();
        if let Some((_, hosts)) = variable("NO_PROXY") {
            matcher = matcher.no(hosts);
        }
        if setting == FROM_ENVIRONMENT {
            for (name, set) in [
                ("HTTP_PROXY", Builder::http as Set),
                ("HTTPS_PROXY", Builder::https),
                ("ALL_PROXY", Builder::all),
            ] {
                let Some((name, value)) = variable(name) else {
                    continue;
                };
                if !is_usable(value) {
                    return Err(bad(&name, FORM));
                }
                matcher = set(matcher, value.to_owned());
            }
        } else {
            matcher = matcher.all(setting);
        }
        let authorization = match credentials_file {
            Some(path) => {
                let read = authorization(path);
                Some(read.map_err(|reason| bad(&key("proxy_credentials_file"), &reason))?)
            }
            None => None,
        };
        Ok(Some(Self {
            matcher: Arc::new(matcher.build()),
            authorization,
        }))
    }

    /// Returns the proxy for an address; `None` where it is connected to directly.
    pub(super) fn hop(&self, address: &Uri) -> Option<ProxyHop> {
        let intercept = self.matcher.intercept(address)?;
        Some(ProxyHop {
            address: intercept.uri().clone(),
            authorization: self
                .authorization
                .clone()
                .or_else(|| intercept.basic_auth().cloned()),
        })
    }
}

type Builder = hyper_util::client::proxy::matcher::Builder;
type Set = fn(Builder, String) -> Builder;

const FORM: &str = "write http:// or https:// and the proxy's host, such as \"http://proxy.example:3128\", or \"env\"";

/// Returns whether a variable's value names an HTTP proxy.
fn is_usable(value: &str) -> bool {
    let matcher = Matcher::builder().all(value).build();
    let intercept = matcher.intercept(&Uri::from_static("http://origin.example"));
    intercept.is_some_and(|proxy| matches!(proxy.uri().scheme_str(), Some("http" | "https")))
}

/// Builds `Proxy-Authorization` (RFC 7617) from a file that contains `user:password`.
fn authorization(path: &str) -> Result<HeaderValue, String> {
    let text = fs::read_to_string(path).map_err(|error| {
        format!("cannot read {path} ({error}): name a file that holds user:password")
    })?;
    let pair = text.trim();
    let is_pair = pair.find(':').is_some_and(|colon| colon > 0);
    if !is_pair || pair.chars().any(char::is_control) {
        return Err(format!("{path} does not hold one line of user:password"));
    }
    let basic = format!("Basic {}", STANDARD.encode(pair));
    let mut value = HeaderValue::try_from(basic).map_err(|error| error.to_string())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    /// The proxy's address for an origin, and its `Proxy-Authorization`.
    fn hop(setting: &str, pairs: &[(&str, &str)], origin: &str) -> Option<(String, String)> {
        let proxy =
            Proxy::of_section(Section::Upstream, Some(setting), None, &variables(pairs)).unwrap();
        let hop = proxy.unwrap().hop(&origin.parse().unwrap())?;
        let authorization = hop
            .authorization
            .map(|value| value.to_str().unwrap().to_owned());
        Some((hop.address.to_string(), authorization.unwrap_or_default()))
    }

    fn address(setting: &str, pairs: &[(&str, &str)], origin: &str) -> Option<String> {
        hop(setting, pairs, origin).map(|(address, _)| address)
    }

    fn refused(setting: &str, file: Option<&str>, pairs: &[(&str, &str)]) -> String {
        let made = Proxy::of_section(Section::Credentials, Some(setting), file, &variables(pairs));
        made.unwrap_err().to_string()
    }

    #[test]
    fn a_setting_names_one_proxy_for_all_but_the_hosts_of_no_proxy() {
        let proxy = "http://proxy.example:3128";
        let expected = Some("http://proxy.example:3128/".to_owned());
        for origin in [
            "https://a.example",
            "http://a.example",
            "https://127.0.0.1:1",
        ] {
            assert_eq!(
                address(proxy, &[("HTTPS_PROXY", "http://x")], origin),
                expected
            );
        }
        let no = [("no_proxy", "b.example, 10.0.0.0/8")];
        for (origin, through) in [
            ("https://a.example", true),
            ("https://b.example:444", false),
            ("https://sub.b.example", false),
            ("http://10.1.2.3", false),
        ] {
            assert_eq!(address(proxy, &no, origin).is_some(), through, "{origin}");
        }
        assert_eq!(
            address(proxy, &[("NO_PROXY", "*")], "https://a.example"),
            None
        );
    }

    #[test]
    fn the_usual_variables_are_obeyed_where_the_setting_says_so() {
        let both = [
            ("HTTPS_PROXY", "http://s.example"),
            ("http_proxy", "p.example:1"),
        ];
        let through = |origin| address("env", &both, origin).unwrap();
        assert_eq!(through("https://a.example"), "http://s.example/");
        assert_eq!(through("http://a.example"), "http://p.example:1/");
        assert_eq!(address("env", &both[1..], "https://a.example"), None);
        let all = [("ALL_PROXY", "https://u:p%40@all.example:444")];
        // Of RFC 7617: the base64 of "u:p@".
        let expected = (
            "https://all.example:444/".to_owned(),
            "Basic dTpwQA==".to_owned(),
        );
        assert_eq!(hop("env", &all, "https://a.example"), Some(expected));
        assert_eq!(address("env", &[], "https://a.example"), None);
        assert_eq!(
            address("env", &[("HTTPS_PROXY", " ")], "https://a.example"),
            None
        );
    }

    #[test]
    fn an_unusable_proxy_is_refused_by_its_key_and_not_by_its_value() {
        for bad in [
            "",
            "proxy",
            "proxy:3128",
            "socks5://hunter2",
            "http://h/hunter2",
            "http://u:hunter2@h",
        ] {
            let message = refused(bad, None, &[]);
            assert!(
                message.contains("credentials.proxy") && !message.contains("hunter2"),
                "{message}"
            );
        }
        let message = refused("env", None, &[("https_proxy", "socks5://u:hunter2@h")]);
        assert!(
            message.contains("https_proxy") && !message.contains("hunter2"),
            "{message}"
        );
    }

    #[test]
    fn user_and_password_come_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxy");
        let path = path.to_str().unwrap();
        fs::write(path, "Aladdin:open sesame\n").unwrap();
        let none = BTreeMap::new();
        let made = Proxy::of_section(Section::Upstream, Some("http://h"), Some(path), &none);
        let hop = made
            .unwrap()
            .unwrap()
            .hop(&Uri::from_static("https://a.example"));
        // The example of RFC 7617 §2.
        assert_eq!(
            hop.unwrap().authorization.unwrap(),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
        for bad in ["hunter2", ":hunter2", "hunter2:a\nb:c", ""] {
            fs::write(path, bad).unwrap();
            let message = refused("http://h", Some(path), &[]);
            assert!(
                message.contains("credentials.proxy_credentials_file"),
                "{message}"
            );
            assert!(!message.contains("hunter2"), "{message}");
        }
        assert!(refused("http://h", Some("/no/such/file"), &[]).contains("/no/such/file"));
    }

    #[test]
    fn without_a_setting_there_is_no_proxy() {
        let variables = variables(&[("HTTPS_PROXY", "http://s.example")]);
        let made = Proxy::of_section(Section::Upstream, None, None, &variables);
        assert!(made.unwrap().is_none());
    }
}
