//! The `[upstream]` settings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::Action;
use crate::environment::Environment;
use crate::transport::{BuildError, Proxy, Section, TransportConfig};
use crate::units::{ByteSize, HumanDuration};

/// The `[upstream]` settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Kind of origin.
    pub kind: UpstreamKind,
    /// Region whose endpoint is asked, as the vendor's SDK resolves it.
    pub region: String,
    /// Infix of the regional endpoint, such as `vpc`; empty for the public one.
    pub network: String,
    /// URL that is asked instead of the region's endpoint.
    pub endpoint: Option<String>,
    /// Allows `http://`: signatures then travel in the clear.
    pub allow_http: bool,
    /// PEM file of roots to trust instead of the system's.
    pub ca_file: Option<String>,
    /// Proxy to the origin: `http://` or `https://` and a host, or `env` for the usual variables.
    pub proxy: Option<String>,
    /// File that holds `user:password` for the proxy.
    pub proxy_credentials_file: Option<String>,
    /// Time to connect, TLS included.
    pub connect_timeout: HumanDuration,
    /// Time for one attempt, answer included.
    pub attempt_timeout: HumanDuration,
    /// Time for all attempts of one call.
    pub deadline: HumanDuration,
    /// Time after which an idle connection is closed; the origin closes at 25 s.
    pub idle_timeout: HumanDuration,
    /// Bytes of the longest answer that is read.
    pub max_body: ByteSize,
    /// Retries per hundred calls that go without; ten a second are always allowed.
    pub retry_percent: u8,
    /// Part of each quota that this gateway uses, above 0 and up to 1. With a shared cache, the fleet uses the whole
    /// quota, and a replica this part until the shared cache has answered for the first time.
    pub rate_share: f64,
    /// Number of calls in flight.
    pub max_in_flight: u32,
    /// Number of an operation's calls that may wait for their turn; one more is refused.
    pub max_queue: u32,
    /// Number of failures in a row after which calls are held back.
    pub breaker_failures: u32,
    /// Time that calls are held back, at first; it doubles with each failed probe.
    pub breaker_pause: HumanDuration,
    /// Longest time that calls are held back.
    pub breaker_max_pause: HumanDuration,
    /// Code of the not-found answer the gateway makes itself.
    pub not_found_code: String,
    /// Codes (`*` matches any text) of an authoritative not-found answer.
    pub not_found_codes: Vec<String>,
    /// Codes that refuse permission, beside every status 403 that has a Code.
    pub forbidden_codes: Vec<String>,
    /// Codes about the account's state rather than about what was asked: known images are answered meanwhile.
    pub account_codes: Vec<String>,
    /// Codes of throttles, whatever their status.
    pub throttle_codes: Vec<String>,
    /// Codes about the gateway's own credential, which never reach a client.
    pub credential_codes: Vec<String>,
    /// Messages that never reach a client, whatever their Code; nor does one that holds the key's id or token.
    pub private_messages: Vec<String>,
    /// Quota of each operation.
    pub calls_per_second: CallsPerSecond,
}

/// The `[upstream.calls_per_second]` settings: the account's quota of each operation, in calls a second; 0 means that
/// the gateway does not limit the operation's calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CallsPerSecond {
    /// Quota of GetImage.
    pub get_image: f64,
    /// Quota of ListImages.
    pub list_images: f64,
    /// Quota of ListImageLabels.
    pub list_image_labels: f64,
    /// Quota of AddImage.
    pub add_image: f64,
    /// Quota of AddImageLabels.
    pub add_image_labels: f64,
    /// Quota of RemoveImageLabels.
    pub remove_image_labels: f64,
    /// Quota of PublishImage.
    pub publish_image: f64,
    /// Quota of RemoveImage.
    pub remove_image: f64,
}

impl Default for CallsPerSecond {
    /// The vendor's documented quotas, per region and account.
    fn default() -> Self {
        let (reads, writes) = (50.0, 20.0);
        Self {
            get_image: reads,
            list_images: reads,
            list_image_labels: reads,
            add_image: writes,
            add_image_labels: writes,
            remove_image_labels: writes,
            publish_image: writes,
            remove_image: writes,
        }
    }
}

impl CallsPerSecond {
    /// Returns each quota with the name of its setting.
    #[must_use]
    pub const fn by_name(&self) -> [(&'static str, f64); 8] {
        [
            ("get_image", self.get_image),
            ("list_images", self.list_images),
            ("list_image_labels", self.list_image_labels),
            ("add_image", self.add_image),
            ("add_image_labels", self.add_image_labels),
            ("remove_image_labels", self.remove_image_labels),
            ("publish_image", self.publish_image),
            ("remove_image", self.remove_image),
        ]
    }
}

/// Kind of origin that calls are sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamKind {
    /// The vendor's API.
    Api,
    /// A parent gateway, which `endpoint` names.
    Gateway,
}

impl UpstreamKind {
    /// Returns the name of the origin in messages.
    #[must_use]
    pub const fn asked(self) -> &'static str {
        match self {
            Self::Api => "the origin",
            Self::Gateway => "the parent gateway",
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        Self {
            kind: UpstreamKind::Api,
            region: "cn-hangzhou".to_owned(),
            network: String::new(),
            endpoint: None,
            allow_http: false,
            ca_file: None,
            proxy: None,
            proxy_credentials_file: None,
            connect_timeout: HumanDuration::secs(3),
            attempt_timeout: HumanDuration::secs(5),
            deadline: HumanDuration::secs(10),
            idle_timeout: HumanDuration::secs(20),
            max_body: ByteSize(8 << 20),
            retry_percent: 20,
            rate_share: 1.0,
            max_in_flight: 256,
            max_queue: 10_000,
            breaker_failures: 5,
            breaker_pause: HumanDuration::secs(1),
            breaker_max_pause: HumanDuration::secs(30),
            not_found_code: "ImageNotFound".to_owned(),
            not_found_codes: texts(&["*Image*NotFound", "*Image*NotExist*", "EntityNotExist*"]),
            forbidden_codes: texts(&["Forbidden", "Forbidden.*", "NoPermission", "NoPermission.*"]),
            account_codes: texts(&["*Overdue*", "*Arrear*", "*InDebt*", "*NotActivated*"]),
            throttle_codes: texts(&["Throttling", "Throttling.*", "*.Throttling", "*Throttled*"]),
            credential_codes: texts(&[
                "*Signature*",
                "*AccessKey*",
                "*SecurityToken*",
                "*TimeStamp*",
                "*Nonce*",
            ]),
            private_messages: texts(&["*string to sign*", "*stringtosign*", "*canonical*"]),
            calls_per_second: CallsPerSecond::default(),
        }
    }
}

impl Config {
    /// Returns the quota of an operation in calls a second; 0 for none. A parent gateway has none: it paces its own
    /// calls, and answers from its cache as often as it is asked.
    #[must_use]
    pub const fn calls_per_second(&self, action: Action) -> f64 {
        let quota = &self.calls_per_second;
        if matches!(self.kind, UpstreamKind::Gateway) {
            return 0.0;
        }
        match action {
            Action::GetImage => quota.get_image,
            Action::ListImages => quota.list_images,
            Action::ListImageLabels => quota.list_image_labels,
            Action::AddImage => quota.add_image,
            Action::AddImageLabels => quota.add_image_labels,
            Action::RemoveImageLabels => quota.remove_image_labels,
            Action::PublishImage => quota.publish_image,
            Action::RemoveImage => quota.remove_image,
            Action::Resolve | Action::Unknown => 0.0,
        }
    }

    /// Settings of the transport to the origin. `environment` is where `proxy = "env"` looks.
    ///
    /// # Errors
    /// [`BuildError`] for a proxy that cannot be used.
    pub fn transport(&self, environment: &Environment) -> Result<TransportConfig, BuildError> {
        let (proxy, file) = (&self.proxy, &self.proxy_credentials_file);
        Ok(TransportConfig {
            proxy: Proxy::of_section(
                Section::Upstream,
                proxy.as_deref(),
                file.as_deref(),
                environment,
            )?,
            unix: None,
            section: Section::Upstream,
            ca_file: self.ca_file.clone(),
            connect_timeout: self.connect_timeout.0,
            idle_timeout: self.idle_timeout.0,
            max_body: self.max_body.0,
        })
    }
}
