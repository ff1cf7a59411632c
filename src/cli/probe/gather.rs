//! The facts of one run: which calls are made, and what their answers show.

use serde_json::value::RawValue;

use super::calls::{Caller, Found, failed, found, list};
use super::error::ProbeFailure;
use super::facts::{Facts, Meaning, MissingImage};
use super::pages::{self, PageResult, PageTry};
use crate::api::{Action, Call, ImageFields, ImageId, ImageKey, ImagePage, OriginError};
use crate::cache::catalogue::Scope;
use crate::transport::Reply;
use crate::upstream::{AnswerKind, UpstreamError};

impl Caller<'_> {
    /// Gathers the facts by an image, or by the first one of the scope, which is the official images if none is given.
    ///
    /// Calls: pages (at most 5), GetImage twice without and once with labels, two lists of that one image, and a
    /// GetImage of an invented id.
    pub(super) async fn gather(
        &mut self,
        image: Option<&ImageId>,
        scope: Option<Scope>,
    ) -> Result<Facts, ProbeFailure> {
        let mut facts = Facts::default();
        let (image, plain) = match image {
            Some(image) => {
                let plain = self.image(image, false).await?;
                let own = plain.fields.ownership.workspace.as_ref();
                let own = own.map(|id| Scope::Workspace(id.to_string()));
                let scope = scope.or(own).unwrap_or(Scope::Official);
                self.pages(&scope, &mut facts).await?;
                (image.clone(), plain)
            }
            None => {
                let scope = scope.unwrap_or(Scope::Official);
                let first = self.pages(&scope, &mut facts).await?;
                let first = first.ok_or_else(|| ProbeFailure::NoImage(of(&scope)))?;
                let plain = self.image(&first, false).await?;
                (first, plain)
            }
        };
        let again = self.image(&image, false).await?;
        let verbose = self.image(&image, true).await?;
        facts.read_headers(&plain.reply, &again.reply);
        if !facts.read_verbose(&again.reply.body, &verbose.reply.body) {
            return Err(ProbeFailure::Unreadable(Action::GetImage));
        }
        let size = pages::largest(&facts.pages).map_or(pages::FIRST, |size| size.min(pages::FIRST));
        let items = [
            self.item(&again.fields, &image, (size, false)).await?,
            self.item(&again.fields, &image, (size, true)).await?,
        ];
        let answers = [&again.reply.body[..], &verbose.reply.body[..]];
        facts.read_items([items[0].as_deref(), items[1].as_deref()], answers);
        facts.missing_image = self.missing_image().await?;
        facts.image = image.to_string();
        facts.calls = self.calls();
        facts.clock = self.clock();
        Ok(facts)
    }

    /// Asks for pages of a scope, and returns the first image of one.
    async fn pages(
        &mut self,
        scope: &Scope,
        facts: &mut Facts,
    ) -> Result<Option<ImageId>, ProbeFailure> {
        let mut first = None;
        while let Some(asked) = pages::next(&facts.pages) {
            let has_come = first.is_some();
            let result = match self.send(&list(&[scope.parameter()], asked, false)).await {
                Ok(answer) => {
                    let found = found(Action::ListImages, answer)?;
                    let page = page(&found.reply)?;
                    first = first.or_else(|| page.images.iter().find_map(|item| id(item)));
                    PageResult::Given {
                        items: page.images.len() as u64,
                        total: page.total,
                    }
                }
                Err(UpstreamError::Refused(OriginError { code, .. })) => {
                    PageResult::Refused { code }
                }
                // A page may be too long, or take too long, where a smaller one came.
                Err(
                    error @ (UpstreamError::Timeout
                    | UpstreamError::Transport(_)
                    | UpstreamError::Server(_)),
                ) if has_come => PageResult::Failed {
                    reason: error.to_string(),
                },
                Err(error) => return Err(failed(Action::ListImages, error)),
            };
            facts.pages.push(PageTry { asked, result });
        }
        Ok(first)
    }

    async fn image(&mut self, image: &ImageId, verbose: bool) -> Result<Found, ProbeFailure> {
        let key = ImageKey {
            image: image.clone(),
            verbose,
        };
        let sent = self.send(&Call::get_image(key)).await;
        let answer = sent.map_err(|error| failed(Action::GetImage, error))?;
        if let AnswerKind::NotFound(_) = answer.kind {
            return Err(ProbeFailure::MissingImage(image.to_string()));
        }
        found(Action::GetImage, answer)
    }

    /// Asks for the image's item, by its URI; `None` where no list shows it.
    async fn item(
        &mut self,
        fields: &ImageFields,
        image: &ImageId,
        (size, verbose): (u32, bool),
    ) -> Result<Option<String>, ProbeFailure> {
        let Some(uri) = &fields.uri else {
            return Ok(None);
        };
        let mut search = vec![("ImageUri", uri.clone())];
        let workspace = fields.ownership.workspace.as_ref();
        search.extend(workspace.map(|id| ("WorkspaceId", id.to_string())));
        let answer = match self.send(&list(&search, size, verbose)).await {
            // A search that the origin refuses shows no item.
            Err(UpstreamError::Refused(_)) => return Ok(None),
            sent => sent.map_err(|error| failed(Action::ListImages, error))?,
        };
        let found = found(Action::ListImages, answer)?;
        let page = page(&found.reply)?;
        let mut items = page.images.into_iter();
        let item = items.find(|item| id(item).as_ref() == Some(image));
        Ok(item.map(|item| item.get().to_owned()))
    }

    /// Asks for an id that no image has.
    async fn missing_image(&mut self) -> Result<MissingImage, ProbeFailure> {
        let key = ImageKey {
            image: invented_id(),
            verbose: false,
        };
        let (error, meaning) = match self.send(&Call::get_image(key)).await {
            Ok(answer) => match answer.kind {
                AnswerKind::NotFound(error) => (error, Meaning::NotFound),
                AnswerKind::Forbidden(error) => (error, Meaning::Forbidden),
                AnswerKind::Success(_) => return Err(ProbeFailure::Unreadable(Action::GetImage)),
            },
            Err(UpstreamError::Refused(error)) => (error, Meaning::Refused),
            Err(UpstreamError::Foreign(error)) => (error, Meaning::Foreign),
            Err(error) => return Err(failed(Action::GetImage, error)),
        };
        Ok(MissingImage {
            status: error.status,
            code: error.code,
            meaning,
        })
    }
}

fn page(reply: &Reply) -> Result<ImagePage<'_>, ProbeFailure> {
    ImagePage::parse(&reply.body).ok_or(ProbeFailure::Unreadable(Action::ListImages))
}

fn id(item: &RawValue) -> Option<ImageId> {
    let fields = ImageFields::parse(item.get().as_bytes()).ok()?;
    ImageId::parse(&fields.image?).ok()
}

/// Returns the scope in words.
fn of(scope: &Scope) -> String {
    match scope {
        Scope::Workspace(id) => format!("workspace {id}"),
        Scope::Official => "official images".to_owned(),
    }
}

/// Draws an id of the service's own form: one of another form may be refused for that.
fn invented_id() -> ImageId {
    let letters: String = (0..18).map(|_| fastrand::lowercase()).collect();
    ImageId::parse(&format!("image-{letters}")).expect("lower-case letters and a dash form an id")
}
