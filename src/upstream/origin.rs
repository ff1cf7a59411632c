//! Address of the origin, from a region or an endpoint setting.

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Uri, uri};

use super::Config;

/// Scheme and authority of the origin, and the host name that is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: Scheme,
    authority: Authority,
    host: String,
}

/// Unusable endpoint; the text is the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidOrigin(String);

impl Origin {
    /// Returns the origin that the settings name.
    ///
    /// # Errors
    /// [`InvalidOrigin`] for a malformed address, or `http://` where the settings do not allow it.
    pub fn from_config(config: &Config) -> Result<Self, InvalidOrigin> {
        match &config.endpoint {
            Some(endpoint) => Self::parse(endpoint, config.allow_http),
            None => Self::parse(&Self::of_region(&config.region, &config.network), false),
        }
    }

    /// Returns the vendor's endpoint for a region, as its Python SDK (8.3.5) resolves it: a map of irregular and old
    /// regions, else `aiworkspace[-network].<region>.aliyuncs.com`. The stray TAB in the SDK's map is left out.
    #[must_use]
    pub fn of_region(region: &str, network: &str) -> String {
        if region == "ap-southeast-5" {
            return "aiworkspace-vpc.ap-southeast-5.aliyuncs.com".to_owned();
        }
        if CENTRAL_REGIONS.contains(&region) {
            return "aiworkspace.aliyuncs.com".to_owned();
        }
        let infix = if network.is_empty() || network == "public" {
            String::new()
        } else {
            format!("-{network}")
        };
        format!("aiworkspace{infix}.{region}.aliyuncs.com")
    }

    fn parse(endpoint: &str, allow_http: bool) -> Result<Self, InvalidOrigin> {
        let form = || {
            InvalidOrigin("write a host such as \"aiworkspace.cn-hangzhou.aliyuncs.com\", with https:// if you like, and no path".to_owned())
        };
        let uri: Uri = endpoint.trim().parse().map_err(|_| form())?;
        let authority = uri.authority().cloned().ok_or_else(form)?;
        let scheme = uri.scheme().cloned().unwrap_or(Scheme::HTTPS);
        let bare = uri.path_and_query().is_none_or(|rest| rest == "/");
        if !bare || authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(form());
        }
        if scheme == Scheme::HTTP && !allow_http {
            return Err(InvalidOrigin(
                "http:// sends signatures in the clear: write https://, or set upstream.allow_http = true for an origin on this machine".to_owned(),
            ));
        }
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(form());
        }
        // A final dot keeps a resolver from trying search domains; TLS and signatures know the name without it.
        let name = authority.host().trim_end_matches('.');
        let host = authority
            .port()
            .map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
        Ok(Self {
            scheme,
            authority,
            host,
        })
    }

    /// Returns the value of the signed `host` header: the name, with its port where the setting gives one.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Builds the URI of a path and query on the origin.
    ///
    /// # Errors
    /// Path and query that form no valid URI.
    pub fn uri(&self, path: &str, query: &str) -> Result<Uri, http::Error> {
        let target = if query.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{query}")
        };
        let target: PathAndQuery = target.parse()?;
        uri::Builder::new()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(target)
            .build()
    }
}

/// Regions that the vendor's SDK sends to the central endpoint.
const CENTRAL_REGIONS: [&str; 39] = [
    "ap-northeast-2-pop",
    "ap-southeast-2",
    "cn-beijing-finance-1",
    "cn-beijing-finance-pop",
    "cn-beijing-gov-1",
    "cn-beijing-nu16-b01",
    "cn-edge-1",
    "cn-fujian",
    "cn-haidian-cm12-c01",
    "cn-hangzhou-bj-b01",
    "cn-hangzhou-finance",
    "cn-hangzhou-internal-prod-1",
    "cn-hangzhou-internal-test-1",
    "cn-hangzhou-internal-test-2",
    "cn-hangzhou-internal-test-3",
    "cn-hangzhou-test-306",
    "cn-hongkong-finance-pop",
    "cn-huhehaote",
    "cn-huhehaote-nebula-1",
    "cn-qingdao",
    "cn-qingdao-nebula",
    "cn-shanghai-et15-b01",
    "cn-shanghai-et2-b01",
    "cn-shanghai-inner",
    "cn-shanghai-internal-test-1",
    "cn-shenzhen-finance-1",
    "cn-shenzhen-inner",
    "cn-shenzhen-st4-d01",
    "cn-shenzhen-su18-b01",
    "cn-wuhan",
    "cn-yushanfang",
    "cn-zhangbei",
    "cn-zhangbei-na61-b01",
    "cn-zhangjiakou-na62-a01",
    "cn-zhengzhou-nebula-1",
    "eu-west-1",
    "eu-west-1-oxs",
    "me-east-1",
    "rus-west-1-pop",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_resolve_as_in_the_sdk() {
        assert_eq!(
            Origin::of_region("cn-hangzhou", ""),
            "aiworkspace.cn-hangzhou.aliyuncs.com"
        );
        assert_eq!(
            Origin::of_region("cn-hangzhou", "public"),
            "aiworkspace.cn-hangzhou.aliyuncs.com"
        );
        assert_eq!(
            Origin::of_region("cn-shanghai", "vpc"),
            "aiworkspace-vpc.cn-shanghai.aliyuncs.com"
        );
        assert_eq!(
            Origin::of_region("cn-guangzhou", ""),
            "aiworkspace.cn-guangzhou.aliyuncs.com"
        );
        assert_eq!(
            Origin::of_region("ap-southeast-5", ""),
            "aiworkspace-vpc.ap-southeast-5.aliyuncs.com"
        );
        assert_eq!(
            Origin::of_region("eu-west-1", "vpc"),
            "aiworkspace.aliyuncs.com"
        );
    }

    #[test]
    fn endpoints_are_https_unless_http_is_allowed() {
        let host = |endpoint, http| {
            Origin::parse(endpoint, http).map(|origin| (origin.scheme.to_string(), origin.host))
        };
        let https = |host: &str| Ok(("https".to_owned(), host.to_owned()));
        assert_eq!(host("a.example", false), https("a.example"));
        assert_eq!(
            host("https://a.example:8443/", false),
            https("a.example:8443")
        );
        assert_eq!(host("a.example.", false), https("a.example"));
        assert_eq!(
            host("http://127.0.0.1:9100", true),
            Ok(("http".to_owned(), "127.0.0.1:9100".to_owned()))
        );
        for bad in [
            "http://127.0.0.1:9100",
            "",
            "https://",
            "ftp://a",
            "a/b",
            "https://a/b?c",
            "https://u:p@a",
            "a b",
        ] {
            assert!(host(bad, false).is_err(), "{bad}");
        }
    }
}
