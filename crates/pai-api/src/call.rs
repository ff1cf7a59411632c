//! Classification of a request line into an operation of the API.

use http::Method;

use super::query::decode;
use super::route::Route;
use super::{Action, ImageId, ImageKey, Malformed, Operation, Query, label_path};

/// Classified request: the operation, and the query to forward with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Operation with the parameters of the path.
    pub operation: Operation,
    /// Query without `RegionId`; for GetImage, `Verbose=true` or nothing.
    pub query: Query,
}

/// Error of a request line that is no operation of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteError {
    /// The API has no such path.
    UnknownRoute,
    /// The path lacks the request's method; it has these, in the form of an `Allow` header.
    Method(&'static str),
    /// Path and method are an operation's, but an id, a parameter or an escape is malformed.
    Malformed(Action, Malformed),
}

impl RouteError {
    /// Returns the intended operation; `Unknown` if path or method do not determine it.
    #[must_use]
    pub const fn action(&self) -> Action {
        match self {
            Self::Malformed(action, _) => *action,
            Self::UnknownRoute | Self::Method(_) => Action::Unknown,
        }
    }
}

impl Call {
    /// Classifies a request line; `path` and `query` are percent-encoded.
    ///
    /// The path is split into segments before they are decoded, so an escaped `/` never makes another route.
    ///
    /// # Errors
    /// [`RouteError`] for an unknown path, a method that the path lacks, and a malformed part.
    pub fn classify(method: &Method, path: &str, query: Option<&str>) -> Result<Self, RouteError> {
        let route = Route::find(path).ok_or(RouteError::UnknownRoute)?;
        let action = route
            .action(method)
            .ok_or(RouteError::Method(route.methods()))?;
        Self::parse(action, &route, query.unwrap_or(""))
            .map_err(|bad| RouteError::Malformed(action, bad))
    }

    /// Makes the GetImage call for a cache key, as the gateway itself sends it to the origin.
    #[must_use]
    pub fn get_image(key: ImageKey) -> Self {
        let query = key
            .verbose
            .then_some(("Verbose", "true"))
            .into_iter()
            .collect();
        Self {
            operation: Operation::GetImage(key),
            query,
        }
    }

    fn parse(action: Action, route: &Route<'_>, query: &str) -> Result<Self, Malformed> {
        let image = || parse_image(route.image);
        let query = Query::parse(query)?.only(action, action.parameters())?;
        let operation = match action {
            Action::GetImage => {
                return Ok(Self::get_image(ImageKey {
                    image: image()?,
                    verbose: parse_verbose(&query)?,
                }));
            }
            Action::ListImages => Operation::ListImages,
            Action::ListImageLabels => Operation::ListImageLabels,
            Action::AddImage => Operation::AddImage,
            Action::AddImageLabels => Operation::AddImageLabels(image()?),
            Action::RemoveImageLabels => {
                let keys = decode(route.labels)?.into_owned();
                label_path::check_keys(&keys)?;
                Operation::RemoveImageLabels(image()?, keys)
            }
            Action::PublishImage => Operation::PublishImage(image()?),
            Action::RemoveImage => Operation::RemoveImage(image()?),
            Action::Resolve => Operation::Resolve,
            Action::Unknown => return Err(Malformed::new("no such operation")),
        };
        check_length(&operation, &query)?;
        Ok(Self { operation, query })
    }
}

/// Longest path and query to send upstream together, in bytes after escaping. Common proxies reject a request line
/// of more than 8 KiB (nginx's `large_client_header_buffers`, Apache's `LimitRequestLine`) with an HTML page.
const MAX_TARGET: usize = 8000;

fn check_length(operation: &Operation, query: &Query) -> Result<(), Malformed> {
    if operation.path().len() + 1 + query.canonical().len() <= MAX_TARGET {
        return Ok(());
    }
    Err(Malformed(format!(
        "path and query must not be longer than {MAX_TARGET} bytes, escaped"
    )))
}

fn parse_image(segment: &str) -> Result<ImageId, Malformed> {
    match ImageId::parse(segment) {
        Err(_) if segment.contains('%') => ImageId::parse(&decode(segment)?),
        parsed => parsed,
    }
}

fn parse_verbose(query: &Query) -> Result<bool, Malformed> {
    match query.value("Verbose") {
        None => Ok(false),
        Some(value) if value.eq_ignore_ascii_case("true") => Ok(true),
        Some(value) if value.eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(Malformed::new("Verbose must be true or false")),
    }
}

#[cfg(test)]
mod tests;
