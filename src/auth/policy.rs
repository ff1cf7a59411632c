//! Grants of clients: permitted operations and visible images. All functions are pure.

use std::collections::BTreeSet;

use compact_str::CompactString;
use strum::{IntoStaticStr, VariantArray};

use crate::api::{Accessibility, Operation, Ownership, Query};

/// Permission for a group of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Permission {
    /// GetImage, and ListImageLabels of one image.
    Get,
    /// ListImages and ListImageLabels.
    List,
    /// Resolve: many images with one request.
    Resolve,
    /// Obedience to the client's `Cache-Control`.
    Refresh,
    /// AddImage, AddImageLabels, RemoveImageLabels, PublishImage, RemoveImage.
    Write,
}

impl Permission {
    /// All permissions.
    pub const ALL: [Self; Self::VARIANTS.len()] =
        *Self::VARIANTS.first_chunk().expect("it has its own length");

    /// Returns the name in the clients' file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns the permission that an operation needs. ListImageLabels of one image needs that for the image itself.
    #[must_use]
    pub fn of(operation: &Operation, query: &Query) -> Self {
        match operation {
            Operation::GetImage(_) => Self::Get,
            Operation::ListImageLabels if query.has("ImageId") => Self::Get,
            Operation::ListImages | Operation::ListImageLabels => Self::List,
            Operation::Resolve => Self::Resolve,
            Operation::AddImage
            | Operation::AddImageLabels(_)
            | Operation::RemoveImageLabels(..)
            | Operation::PublishImage(_)
            | Operation::RemoveImage(_) => Self::Write,
        }
    }
}

/// Set of ids in a grant, or all ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// Every id: `*` in the clients' file.
    All,
    /// The listed ids.
    Only(BTreeSet<CompactString>),
}

impl Allowed {
    /// Returns whether the set contains an id.
    #[must_use]
    pub fn contains(&self, id: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(ids) => ids.contains(id),
        }
    }
}

/// Grant of a client: permissions, and the images that it may view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Permitted operations.
    pub permissions: BTreeSet<Permission>,
    /// Workspaces whose PUBLIC images are visible.
    pub workspaces: Allowed,
    /// Users whose PRIVATE images are visible, within these workspaces.
    pub users: Allowed,
    /// Visibility of PUBLIC images without a workspace.
    pub official: bool,
}

impl Grant {
    /// Returns whether the grant includes an image. Every combination that has no arm of its own is denied.
    #[must_use]
    pub fn allows_viewing(&self, image: &Ownership) -> bool {
        let within = image
            .workspace
            .as_deref()
            .map(|workspace| self.workspaces.contains(workspace));
        match (image.accessibility, within) {
            (Some(Accessibility::Public), Some(within)) => within,
            (Some(Accessibility::Public), None) => self.official,
            (Some(Accessibility::Private), Some(true)) => match &self.users {
                Allowed::All => true,
                Allowed::Only(_) => image
                    .user
                    .as_deref()
                    .is_some_and(|user| self.users.contains(user)),
            },
            // Without a workspace, only a grant without limits includes it.
            (Some(Accessibility::Private), None) => {
                self.workspaces == Allowed::All && self.users == Allowed::All
            }
            (Some(Accessibility::Private), Some(false)) | (None, _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ImageId, ImageKey};

    fn scope(ids: &[&str]) -> Allowed {
        if ids == ["*"] {
            Allowed::All
        } else {
            Allowed::Only(ids.iter().copied().map(CompactString::from).collect())
        }
    }

    fn grant(workspaces: &[&str], users: &[&str], official: bool) -> Grant {
        Grant {
            permissions: BTreeSet::new(),
            workspaces: scope(workspaces),
            users: scope(users),
            official,
        }
    }

    fn image(
        accessibility: Option<Accessibility>,
        workspace: Option<&str>,
        user: Option<&str>,
    ) -> Ownership {
        Ownership {
            accessibility,
            workspace: workspace.map(CompactString::from),
            user: user.map(CompactString::from),
        }
    }

    /// The contract's table, every cell.
    #[test]
    fn an_image_is_seen_by_whom_the_table_says() {
        use Accessibility::{Private, Public};
        let (one, all) = (["1"], ["*"]);
        for (workspaces, users, official, image, seen) in [
            (
                &one,
                &["u"],
                true,
                image(Some(Public), Some("1"), None),
                true,
            ),
            (
                &one,
                &["u"],
                true,
                image(Some(Public), Some("2"), Some("u")),
                false,
            ),
            (
                &all,
                &["u"],
                false,
                image(Some(Public), Some("2"), None),
                true,
            ),
            (&one, &["u"], true, image(Some(Public), None, None), true),
            (&all, &["*"], false, image(Some(Public), None, None), false),
            (
                &one,
                &["u"],
                true,
                image(Some(Private), Some("1"), Some("u")),
                true,
            ),
            (
                &one,
                &["u"],
                true,
                image(Some(Private), Some("1"), Some("v")),
                false,
            ),
            (
                &one,
                &["u"],
                true,
                image(Some(Private), Some("1"), None),
                false,
            ),
            (
                &one,
                &["*"],
                true,
                image(Some(Private), Some("1"), None),
                true,
            ),
            (
                &one,
                &["*"],
                true,
                image(Some(Private), Some("2"), Some("u")),
                false,
            ),
            (
                &all,
                &["*"],
                true,
                image(Some(Private), None, Some("u")),
                true,
            ),
            (&all, &["*"], false, image(Some(Private), None, None), true),
            (
                &all,
                &["u"],
                true,
                image(Some(Private), None, Some("u")),
                false,
            ),
            (
                &one,
                &["*"],
                true,
                image(Some(Private), None, Some("u")),
                false,
            ),
            (&all, &["*"], true, image(None, Some("1"), Some("u")), false),
            (&all, &["*"], true, image(None, None, None), false),
        ] {
            let grant = grant(workspaces, users, official);
            assert_eq!(grant.allows_viewing(&image), seen, "{grant:?} {image:?}");
        }
    }

    #[test]
    fn each_operation_needs_the_permission_that_the_contract_names() {
        let image = ImageId::parse("i").unwrap();
        let get = Operation::GetImage(ImageKey {
            image: image.clone(),
            verbose: false,
        });
        for (operation, query, word) in [
            (get, "", "get"),
            (Operation::ListImageLabels, "ImageId=i", "get"),
            (Operation::ListImageLabels, "WorkspaceId=1", "list"),
            (Operation::ListImages, "ImageId=i", "list"),
            (Operation::Resolve, "", "resolve"),
            (Operation::AddImage, "", "write"),
            (Operation::PublishImage(image.clone()), "", "write"),
            (Operation::RemoveImage(image), "", "write"),
        ] {
            let permission = Permission::of(&operation, &Query::parse(query).unwrap());
            assert_eq!(permission.as_str(), word, "{operation:?} {query}");
        }
        assert_eq!(Permission::Refresh.as_str(), "refresh");
    }
}
