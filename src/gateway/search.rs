//! Searches: ListImages, and ListImageLabels without an ImageId.
//!
//! A search is authorized before it is sent, by the request and the client's grant alone. So the answer reveals
//! nothing about hidden images, and neither does `TotalCount`, which the origin counts over all that a search
//! finds:
//!
//! 1. a client that may view everything the search can find gets the page as it came;
//! 2. a client that may view only PUBLIC images, in a workspace it holds, has `Accessibility=PUBLIC` added;
//! 3. a search for official images (`Labels` with `system.official=true`) needs only `official`;
//! 4. any other search is 403, whatever it would find.
//!
//! No page is filtered. A hidden image on a page shows that the origin does not search as documented, so the
//! page is an invalid response.

use serde_json::value::RawValue;

use crate::api::{ImageFields, ImagePage, OriginError, Query};
use crate::auth::{Allowed, Grant};
use crate::response::Error;
use crate::upstream::UpstreamError;

const NARROWER: &str = "this search could find images that this client may not see: name a WorkspaceId that it holds, \
     with Accessibility=PUBLIC, or ask for Labels=system.official=true";
const WHOLE_WORKSPACE: &str = "labels are listed to clients that see every image of the workspace: name one as \
     WorkspaceId, or an ImageId";

/// Returns the query to send for a ListImages of this client.
///
/// # Errors
/// [`Error::Forbidden`] by rule 4.
pub(super) fn admit(grant: &Grant, query: Query) -> Result<Query, Error> {
    let (workspace, accessibility) = (query.value("WorkspaceId"), query.value("Accessibility"));
    if sees_all(grant, workspace, accessibility) {
        return Ok(query);
    }
    let holds = workspace.is_some_and(|id| grant.workspaces.contains(id));
    let sees_public_alone = matches!(&grant.users, Allowed::Only(users) if users.is_empty());
    if holds && sees_public_alone && accessibility.is_none() {
        return Ok(query.with("Accessibility", "PUBLIC"));
    }
    if grant.official && is_for_official(&query) {
        return Ok(query);
    }
    Err(Error::Forbidden(NARROWER))
}

/// Authorizes a ListImageLabels that names no image: its labels may be those of any image.
///
/// # Errors
/// [`Error::Forbidden`] unless the client sees all of the workspace.
pub(super) fn admit_labels(grant: &Grant, query: &Query) -> Result<(), Error> {
    if sees_all(grant, query.value("WorkspaceId"), None) {
        Ok(())
    } else {
        Err(Error::Forbidden(WHOLE_WORKSPACE))
    }
}

/// Checks that the client may view each item of a page.
///
/// # Errors
/// [`UpstreamError::Unreadable`] if one may not, or if two parsers could read the page differently.
pub(super) fn check(page: &[u8], grant: &Grant) -> Result<(), UpstreamError> {
    let page = ImagePage::parse(page).ok_or(UpstreamError::Unreadable(OriginError::default()))?;
    let is_seen = |image: &&RawValue| {
        ImageFields::parse(image.get().as_bytes())
            .is_ok_and(|fields| grant.allows_viewing(&fields.ownership))
    };
    if page.images.iter().all(is_seen) {
        Ok(())
    } else {
        tracing::debug!("a page of ListImages has an image that the search must not find");
        Err(UpstreamError::Unreadable(OriginError::default()))
    }
}

/// Returns whether the client may view every image that matches.
fn sees_all(grant: &Grant, workspace: Option<&str>, accessibility: Option<&str>) -> bool {
    let private = accessibility == Some("PUBLIC") || grant.users == Allowed::All;
    match workspace {
        Some(id) => private && grant.workspaces.contains(id),
        None => {
            let official = accessibility == Some("PRIVATE") || grant.official;
            private && official && grant.workspaces == Allowed::All
        }
    }
}

/// Returns whether the search finds only images labelled official. Labels are `Key=Value,Key=Value` and must all
/// match; a repeated key counts as not official, because it could be read either way.
fn is_for_official(query: &Query) -> bool {
    let labels = query.value("Labels").unwrap_or("").split(',');
    let named = labels.filter(|label| {
        let key = label.split('=').next().unwrap_or("");
        key.trim().eq_ignore_ascii_case("system.official")
    });
    named.eq(["system.official=true"])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(ids: &[&str]) -> Allowed {
        match ids {
            ["*"] => Allowed::All,
            ids => Allowed::Only(ids.iter().map(|id| (*id).into()).collect()),
        }
    }

    fn grant(workspaces: &[&str], users: &[&str], official: bool) -> Grant {
        Grant {
            permissions: [].into(),
            workspaces: scope(workspaces),
            users: scope(users),
            official,
        }
    }

    /// The query as it is sent, or `403`.
    fn sent(grant: &Grant, query: &str) -> String {
        admit(grant, Query::parse(query).unwrap())
            .map_or_else(|_| "403".to_owned(), |query| query.canonical())
    }

    #[test]
    fn a_search_is_admitted_by_the_contracts_rules() {
        const ONE: &[&str] = &["1"];
        const ALL: &[&str] = &["*"];
        const OFFICIAL: &str = "Labels=system.official%3Dtrue";
        let public = "Accessibility=PUBLIC&WorkspaceId=1";
        for (grant, query, expected) in [
            // Everything that the search can find.
            (grant(ALL, ALL, true), "", ""),
            (grant(ALL, ALL, true), "WorkspaceId=9", "WorkspaceId=9"),
            (grant(ALL, ALL, false), "WorkspaceId=9", "WorkspaceId=9"),
            (grant(ALL, ALL, false), "", "403"),
            (grant(ALL, ALL, false), "Accessibility=PUBLIC", "403"),
            (
                grant(ALL, ALL, false),
                "Accessibility=PRIVATE",
                "Accessibility=PRIVATE",
            ),
            (
                grant(ALL, &["u"], true),
                "Accessibility=PUBLIC",
                "Accessibility=PUBLIC",
            ),
            (grant(ALL, &["u"], true), "", "403"),
            (
                grant(ONE, ALL, false),
                "WorkspaceId=1&PageNumber=3",
                "PageNumber=3&WorkspaceId=1",
            ),
            (grant(ONE, ALL, true), "", "403"),
            (grant(ONE, &["u"], false), public, public),
            // PUBLIC images alone.
            (grant(ONE, &[], false), "WorkspaceId=1", public),
            (grant(ONE, &[], false), public, public),
            (
                grant(ONE, &[], false),
                "WorkspaceId=1&Accessibility=",
                public,
            ),
            (
                grant(ALL, &[], false),
                "WorkspaceId=9",
                "Accessibility=PUBLIC&WorkspaceId=9",
            ),
            (grant(ONE, &["u"], false), "WorkspaceId=1", "403"),
            (
                grant(ONE, &[], false),
                "WorkspaceId=1&Accessibility=PRIVATE",
                "403",
            ),
            (
                grant(ONE, &[], false),
                "WorkspaceId=1&Accessibility=public",
                "403",
            ),
            (grant(ONE, &[], false), "WorkspaceId=2", "403"),
            (grant(ONE, &[], false), "WorkspaceId=", "403"),
            (grant(ONE, &[], false), "", "403"),
            // Official images.
            (grant(&[], &[], true), OFFICIAL, OFFICIAL),
            (grant(&[], &[], false), OFFICIAL, "403"),
            (
                grant(&[], &[], true),
                "Labels=a%3D1%2Csystem.official%3Dtrue",
                "Labels=a%3D1%2Csystem.official%3Dtrue",
            ),
            (
                grant(&[], &[], true),
                "Labels=system.official%3Dfalse",
                "403",
            ),
            (grant(&[], &[], true), "Labels=system.official%3D%2A", "403"),
            (
                grant(&[], &[], true),
                "Labels=xsystem.official%3Dtrue",
                "403",
            ),
            (
                grant(&[], &[], true),
                "Labels=system.official%3Dtrue%2Csystem.official%3Dfalse",
                "403",
            ),
            (
                grant(&[], &[], true),
                "Labels=System.Official%3Dfalse%2Csystem.official%3Dtrue",
                "403",
            ),
            (grant(&[], &[], true), "Name=system.official%3Dtrue", "403"),
        ] {
            assert_eq!(sent(&grant, query), expected, "{grant:?} {query}");
        }
    }

    #[test]
    fn labels_are_listed_to_clients_that_see_the_whole_workspace() {
        let may =
            |grant: &Grant, query: &str| admit_labels(grant, &Query::parse(query).unwrap()).is_ok();
        for (grant, query, expected) in [
            (grant(&["*"], &["*"], true), "", true),
            (grant(&["*"], &["*"], false), "", false),
            (grant(&["1"], &["*"], false), "WorkspaceId=1", true),
            (grant(&["1"], &["*"], false), "WorkspaceId=2", false),
            (grant(&["1"], &[], true), "WorkspaceId=1", false),
            (
                grant(&["*"], &[], true),
                "LabelFilter=system.official%3Dtrue",
                false,
            ),
        ] {
            assert_eq!(may(&grant, query), expected, "{grant:?} {query}");
        }
    }

    #[test]
    fn a_page_with_an_item_that_may_not_be_seen_is_invalid() {
        const PUBLIC: &str = r#"{"WorkspaceId":"1","Accessibility":"PUBLIC"}"#;
        let judge = |items: &str| {
            let page =
                format!(r#"{{"RequestId":"R","TotalCount":99,"Images":[{items}],"New":1.50}}"#);
            check(page.as_bytes(), &grant(&["1"], &["u"], false)).is_ok()
        };
        assert!(judge(""));
        assert!(judge(PUBLIC));
        assert!(judge(
            r#"{"WorkspaceId":"1","Accessibility":"PRIVATE","UserId":"u"}"#
        ));
        for hidden in [
            r#"{"WorkspaceId":"1","Accessibility":"PRIVATE","UserId":"v"}"#,
            r#"{"WorkspaceId":"2","Accessibility":"PUBLIC"}"#,
            r#"{"WorkspaceId":null,"Accessibility":"PUBLIC"}"#,
            r#"{"WorkspaceId":"1"}"#,
            r#"{"WorkspaceId":"1","WorkspaceId":"1","Accessibility":"PUBLIC"}"#,
            "1",
            "null",
        ] {
            assert!(!judge(hidden), "{hidden}");
            assert!(!judge(&format!("{PUBLIC},{hidden}")), "{hidden}");
        }
    }

    #[test]
    fn an_ambiguous_document_is_no_page() {
        let all = grant(&["*"], &["*"], true);
        for body in [
            "[]",
            "{}",
            r#"{"Images":[],"TotalCount":0,"Images":[]}"#,
            r#"{"Images":{},"TotalCount":0}"#,
            r#"{"Images":null}"#,
            r#"{"Images":[]}x"#,
        ] {
            let judged = check(body.as_bytes(), &all);
            assert!(
                matches!(judged, Err(UpstreamError::Unreadable(_))),
                "{body}"
            );
        }
        assert!(check(br#"{"Images":[]}"#, &all).is_ok());
    }
}
