//! Routes of the API: its paths, and the methods of each.

use http::Method;

use super::{Action, RESOLVE};

/// Path of the API, split into segments; `image` and `labels` are still percent-encoded.
pub(super) struct Route<'a> {
    pattern: Pattern,
    /// Segment of the image's id; empty if the pattern has none.
    pub(super) image: &'a str,
    /// Segment of the label keys; empty if the pattern has none.
    pub(super) labels: &'a str,
}

#[derive(Clone, Copy)]
enum Pattern {
    Images,
    Image,
    Labels,
    Label,
    Publish,
    LabelSearch,
    Resolve,
}

impl<'a> Route<'a> {
    /// Finds the route of a path; `None` if the API has no such path.
    pub(super) fn find(path: &'a str) -> Option<Self> {
        let (pattern, image, labels) = match path.strip_prefix("/api/v1/") {
            None if path == RESOLVE => (Pattern::Resolve, "", ""),
            None => return None,
            Some("images") => (Pattern::Images, "", ""),
            Some("image/labels") => (Pattern::LabelSearch, "", ""),
            Some(rest) => Self::find_image(rest.strip_prefix("images/")?)?,
        };
        Some(Self {
            pattern,
            image,
            labels,
        })
    }

    fn find_image(rest: &'a str) -> Option<(Pattern, &'a str, &'a str)> {
        // Without an early exit, so that the loop is vectorized: nearly every path ends with a short id.
        if !rest
            .bytes()
            .fold(false, |found, byte| found | (byte == b'/'))
        {
            return Some((Pattern::Image, rest, ""));
        }
        let (image, rest) = rest.split_once('/')?;
        match rest {
            "labels" => Some((Pattern::Labels, image, "")),
            "publish" => Some((Pattern::Publish, image, "")),
            _ => {
                let labels = rest.strip_prefix("labels/")?;
                (!labels.contains('/')).then_some((Pattern::Label, image, labels))
            }
        }
    }

    /// Returns the methods of this route, as the `Allow` header lists them.
    pub(super) const fn methods(&self) -> &'static str {
        match self.pattern {
            Pattern::Images => "GET, POST",
            Pattern::Image => "GET, HEAD, DELETE",
            Pattern::Labels | Pattern::Resolve => "POST",
            Pattern::Label => "DELETE",
            Pattern::Publish => "PUT",
            Pattern::LabelSearch => "GET",
        }
    }

    /// Returns the action of a method on this route; `None` if the route lacks the method.
    pub(super) fn action(&self, method: &Method) -> Option<Action> {
        match (self.pattern, method) {
            // A HEAD is answered like the GET, without the body.
            (Pattern::Image, &Method::GET | &Method::HEAD) => Some(Action::GetImage),
            (Pattern::Image, &Method::DELETE) => Some(Action::RemoveImage),
            (Pattern::Images, &Method::GET) => Some(Action::ListImages),
            (Pattern::Images, &Method::POST) => Some(Action::AddImage),
            (Pattern::LabelSearch, &Method::GET) => Some(Action::ListImageLabels),
            (Pattern::Labels, &Method::POST) => Some(Action::AddImageLabels),
            (Pattern::Label, &Method::DELETE) => Some(Action::RemoveImageLabels),
            (Pattern::Publish, &Method::PUT) => Some(Action::PublishImage),
            (Pattern::Resolve, &Method::POST) => Some(Action::Resolve),
            _ => None,
        }
    }
}
