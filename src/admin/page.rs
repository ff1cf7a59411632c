//! `GET /`: the status page. Its files are part of the program and hold no data: what it shows it asks
//! `/status` for, with the token that a person types in.
//!
//! Its policy forbids the browser everything but these files and this listener.

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};

use super::{Admin, method_not_allowed, text};
use crate::body::Body;

/// One file of the page.
pub(super) struct Asset {
    path: &'static str,
    content_type: &'static str,
    content: &'static str,
}

const ASSETS: [Asset; 16] = [
    Asset {
        path: "/",
        content_type: "text/html; charset=utf-8",
        content: include_str!("page/index.html"),
    },
    Asset {
        path: "/page.css",
        content_type: "text/css; charset=utf-8",
        content: include_str!("page/page.css"),
    },
    script("/ask.js", include_str!("page/ask.js")),
    script("/banner.js", include_str!("page/banner.js")),
    script("/cards.js", include_str!("page/cards.js")),
    script("/chart.js", include_str!("page/chart.js")),
    script("/dom.js", include_str!("page/dom.js")),
    script("/facts.js", include_str!("page/facts.js")),
    script("/history.js", include_str!("page/history.js")),
    script("/image.js", include_str!("page/image.js")),
    script("/lists.js", include_str!("page/lists.js")),
    script("/page.js", include_str!("page/page.js")),
    script("/purge.js", include_str!("page/purge.js")),
    script("/tables.js", include_str!("page/tables.js")),
    script("/units.js", include_str!("page/units.js")),
    script("/words.js", include_str!("page/words.js")),
];

const fn script(path: &'static str, content: &'static str) -> Asset {
    Asset {
        path,
        content_type: "text/javascript; charset=utf-8",
        content,
    }
}

const HEADERS: [(HeaderName, &str); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
];

/// The page's file of this path.
pub(super) fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

impl Admin {
    pub(super) fn page(&self, method: &Method, asset: &Asset) -> Response<Body> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return method_not_allowed("GET, HEAD");
        }
        let content = if self.token.is_some() {
            // So that the page asks for the token before it is refused.
            asset.content.replace(WITHOUT_TOKEN, WITH_TOKEN)
        } else {
            asset.content.to_owned()
        };
        let mut response = text(StatusCode::OK, asset.content_type, content);
        let headers = HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value)));
        response.headers_mut().extend(headers);
        response
    }
}

const WITHOUT_TOKEN: &str = r#"<meta name="admin-token" content="none">"#;
const WITH_TOKEN: &str = r#"<meta name="admin-token" content="needed">"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_says_whether_it_needs_the_token() {
        let index = find("/").unwrap();
        assert_eq!(index.content.matches(WITHOUT_TOKEN).count(), 1);
    }
}
