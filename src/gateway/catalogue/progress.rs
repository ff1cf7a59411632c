//! Progress of one walk through the pages of a list, and its end. Pure: pages in, the next page out.

use std::collections::HashSet;

use crate::api::ImageId;

/// Pages that a walk reads at most, whatever the origin says.
const MAX_PAGES: u64 = 10_000;

/// Pages that a walk has read.
#[derive(Debug)]
pub(super) struct WalkProgress {
    page_size: u64,
    pages: u64,
    /// Items on all pages, repeated ones included.
    items: u64,
    seen: HashSet<ImageId>,
    /// `TotalCount` of the first page.
    total: Option<u64>,
    /// Every page told the same `TotalCount`.
    is_steady: bool,
    /// Two pages told different ones, or images were repeated or skipped between them.
    has_moved: bool,
}

/// Step of a walk after a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WalkStep {
    /// Another page is to be read.
    Page,
    /// Every page was read; `is_steady` says that none can have been missed.
    Done { is_steady: bool },
}

/// Values of one page that the progress depends on.
#[derive(Debug)]
pub(super) struct PageRead {
    /// Its images, as far as they have readable ids.
    pub(super) images: Vec<ImageId>,
    /// Number of its items.
    pub(super) items: u64,
    pub(super) total: Option<u64>,
}

impl WalkProgress {
    pub(super) fn new(page_size: u32) -> Self {
        Self {
            page_size: page_size.into(),
            pages: 0,
            items: 0,
            seen: HashSet::new(),
            total: None,
            is_steady: true,
            has_moved: false,
        }
    }

    /// Returns whether images came or went during the walk, as far as the pages show.
    pub(super) const fn has_moved(&self) -> bool {
        self.has_moved
    }

    /// Returns the number of the next page, from 1, and the number of items to ask for.
    pub(super) const fn next_page(&self) -> (u64, u64) {
        (self.pages + 1, self.page_size)
    }

    /// Returns the number of pages read.
    pub(super) const fn pages(&self) -> u64 {
        self.pages
    }

    /// Returns the size of a page, which may be less than was asked for.
    pub(super) const fn page_size(&self) -> u64 {
        self.page_size
    }

    /// Takes note of a page.
    ///
    /// The walk ends with a page that is empty or shows only images of earlier pages, with `TotalCount` items, and
    /// without a `TotalCount` with a page that is not full. Where the first page has fewer items than were asked for,
    /// although there are more, the origin gives no larger pages.
    pub(super) fn read(&mut self, page: PageRead) -> WalkStep {
        let seen_before = self.seen.len();
        let named = page.images.len();
        self.seen.extend(page.images);
        let shows_new = self.seen.len() > seen_before;
        // An image that an earlier page has shown too.
        self.has_moved |= self.seen.len() - seen_before < named;
        self.pages += 1;
        self.items += page.items;
        if self.pages == 1 {
            self.total = page.total;
            if page.items > 0 && page.total.is_some_and(|total| total > page.items) {
                self.page_size = self.page_size.min(page.items);
            }
        }
        self.is_steady &= page.total.is_some() && page.total == self.total;
        self.has_moved |= page.total != self.total;
        let is_last = match page.total {
            Some(total) => self.items >= total,
            None => page.items < self.page_size,
        };
        if page.items > 0 && shows_new && !is_last && self.pages < MAX_PAGES {
            return WalkStep::Page;
        }
        WalkStep::Done {
            is_steady: self.is_steady && self.total == Some(self.seen.len() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(range: std::ops::Range<u64>) -> Vec<ImageId> {
        range
            .map(|number| ImageId::parse(&format!("image-{number}")).unwrap())
            .collect()
    }

    fn page(range: std::ops::Range<u64>, total: impl Into<Option<u64>>) -> PageRead {
        PageRead {
            items: range.end - range.start,
            images: ids(range),
            total: total.into(),
        }
    }

    /// The steps after each page, up to the end.
    fn steps(size: u32, pages: impl IntoIterator<Item = PageRead>) -> Vec<WalkStep> {
        let mut progress = WalkProgress::new(size);
        let mut steps = Vec::new();
        for page in pages {
            steps.push(progress.read(page));
            if steps.last() != Some(&WalkStep::Page) {
                break;
            }
        }
        steps
    }

    const STEADY: WalkStep = WalkStep::Done { is_steady: true };
    const UNSTEADY: WalkStep = WalkStep::Done { is_steady: false };

    #[test]
    fn a_walk_ends_with_the_last_image() {
        assert_eq!(steps(50, [page(0..0, 0)]), [STEADY]);
        assert_eq!(steps(50, [page(0..50, 50)]), [STEADY]);
        assert_eq!(
            steps(50, [page(0..50, 60), page(50..60, 60)]),
            [WalkStep::Page, STEADY]
        );
    }

    #[test]
    fn a_walk_in_which_images_come_and_go_is_not_steady() {
        // One more, one less, and one of each: the page then shows one image twice, or misses one.
        assert_eq!(
            steps(50, [page(0..50, 60), page(50..61, 61)]),
            [WalkStep::Page, UNSTEADY]
        );
        assert_eq!(
            steps(50, [page(0..50, 60), page(51..60, 59)]),
            [WalkStep::Page, UNSTEADY]
        );
        assert_eq!(
            steps(50, [page(0..50, 60), page(49..59, 60)]),
            [WalkStep::Page, UNSTEADY]
        );
    }

    #[test]
    fn without_a_total_a_page_that_is_not_full_is_the_last() {
        let pages = [page(0..50, None), page(50..100, None), page(100..101, None)];
        assert_eq!(steps(50, pages), [WalkStep::Page, WalkStep::Page, UNSTEADY]);
    }

    #[test]
    fn pages_smaller_than_asked_for_set_the_size() {
        let mut progress = WalkProgress::new(100);
        assert_eq!(progress.next_page(), (1, 100));
        assert_eq!(progress.read(page(0..20, 50)), WalkStep::Page);
        assert_eq!(progress.next_page(), (2, 20));
        assert_eq!(progress.read(page(20..40, 50)), WalkStep::Page);
        assert_eq!(progress.read(page(40..50, 50)), STEADY);
    }

    #[test]
    fn a_list_without_end_ends() {
        assert_eq!(
            steps(50, std::iter::repeat_with(|| page(0..50, 1_000_000))),
            [WalkStep::Page, UNSTEADY]
        );
        let growing = (0..).map(|at| page(at * 2..at * 2 + 2, at * 2 + 4));
        let steps = steps(2, growing);
        assert_eq!(
            (steps.len() as u64, steps.last()),
            (MAX_PAGES, Some(&UNSTEADY))
        );
    }
}
