//! The `instance` object of `/status`: which of several gateways this is.

use serde::Serialize;

use crate::auth::Mode;
use crate::environment::Environment;

/// Name of this gateway, and the settings that tell it from others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GatewayInstance {
    /// Name of the pod or the host, at most 253 characters; empty where neither is known.
    pub name: String,
    /// Host that is called, with its port where one is set: the origin or a parent gateway.
    pub origin: String,
    /// Region of the origin; `None` where `upstream.endpoint` replaces it.
    pub region: Option<String>,
    /// Authentication of clients, as `auth.mode`.
    pub auth: &'static str,
}

impl GatewayInstance {
    /// Creates the object. The name is that of `POD_NAME`, else of `HOSTNAME`, which containers have, else `host`.
    #[must_use]
    pub fn new(
        environment: &Environment,
        host: &str,
        origin: &str,
        region: Option<&str>,
        auth: Mode,
    ) -> Self {
        let named = ["POD_NAME", "HOSTNAME"].map(|name| environment.get(name).map(String::as_str));
        let names = named.into_iter().flatten().chain([host]);
        let name = names.map(str::trim).find(|name| !name.is_empty());
        Self {
            name: name.unwrap_or_default().chars().take(MAX_NAME).collect(),
            origin: origin.to_owned(),
            region: region.map(str::to_owned),
            auth: auth.as_str(),
        }
    }
}

/// Length of the longest name, in characters: that of a DNS name, as a pod's name is.
const MAX_NAME: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pods_name_comes_before_the_hosts() {
        let name = |variables: &[(&str, &str)]| {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let environment = variables.iter().map(owned).collect();
            GatewayInstance::new(&environment, "node-1\n", "origin", None, Mode::None).name
        };
        assert_eq!(name(&[]), "node-1");
        assert_eq!(name(&[("HOSTNAME", "gateway-0")]), "gateway-0");
        assert_eq!(name(&[("POD_NAME", "a"), ("HOSTNAME", "b")]), "a");
        assert_eq!(name(&[("POD_NAME", " "), ("HOSTNAME", "")]), "node-1");
    }
}
