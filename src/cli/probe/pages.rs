//! Sizes of pages that are tried, and what the answers show. Pure: an answer in, the next size out.

use serde::Serialize;
use serde_json::{Value, json};

/// A page that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PageTry {
    /// `PageSize` of the request.
    pub(super) asked: u32,
    pub(super) result: PageResult,
}

/// Answer to a request for a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) enum PageResult {
    /// A page came, of so many items; `total` is its `TotalCount`.
    Given { items: u64, total: Option<u64> },
    /// The origin refused the request with this Code.
    Refused { code: String },
    /// No answer came, or one that cannot be used, for this reason.
    Failed { reason: String },
}

/// Size of the first page: alipai asks for as many.
pub(super) const FIRST: u32 = 50;
/// Larger sizes, tried while pages come full and are not the whole list.
const LARGER: [u32; 4] = [100, 200, 500, 1000];
/// Smaller sizes, tried while the first page does not come.
const SMALLER: [u32; 2] = [20, 10];

impl PageTry {
    /// Returns the size to ask for from now on, if a page came: the one that was asked for, or a smaller one if there
    /// are more images than came.
    fn usable(&self) -> Option<u32> {
        match self.result {
            PageResult::Given { items: 0, .. }
            | PageResult::Refused { .. }
            | PageResult::Failed { .. } => None,
            PageResult::Given { items, total } if total.is_some_and(|total| total > items) => {
                let items = u32::try_from(items).unwrap_or(u32::MAX);
                Some(items.min(self.asked))
            }
            PageResult::Given { .. } => Some(self.asked),
        }
    }

    /// Returns whether as many images came as were asked for, and there may be more.
    fn has_more(&self) -> bool {
        match self.result {
            PageResult::Given { items, total } => {
                items >= u64::from(self.asked) && total.is_none_or(|total| total > items)
            }
            PageResult::Refused { .. } | PageResult::Failed { .. } => false,
        }
    }

    /// Returns the object of `--json`.
    pub(super) fn as_json(&self) -> Value {
        let (items, total, code, failure) = match &self.result {
            PageResult::Given { items, total } => (Some(items), *total, None, None),
            PageResult::Refused { code } => (None, None, Some(code), None),
            PageResult::Failed { reason } => (None, None, None, Some(reason)),
        };
        json!({ "page_size": self.asked, "items": items, "total": total, "code": code, "failure": failure })
    }
}

/// Returns the next size to try: a larger one after a full page that is not the whole list, a smaller one while no page
/// has come.
pub(super) fn next(tries: &[PageTry]) -> Option<u32> {
    let Some(last) = tries.last() else {
        return Some(FIRST);
    };
    let has_come = tries
        .iter()
        .any(|page| matches!(page.result, PageResult::Given { .. }));
    if !has_come {
        return SMALLER.into_iter().find(|size| *size < last.asked);
    }
    let grows = last.has_more() && last.asked >= FIRST;
    LARGER.into_iter().find(|size| grows && *size > last.asked)
}

/// Returns the largest size that the origin has accepted, or the size of the pages that it gives instead.
pub(super) fn largest(tries: &[PageTry]) -> Option<u32> {
    tries.iter().filter_map(PageTry::usable).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays an origin, and returns the sizes that were tried and the largest one.
    fn tried(origin: impl Fn(u32) -> PageResult) -> (Vec<u32>, Option<u32>) {
        let mut tries = Vec::new();
        while let Some(asked) = next(&tries) {
            let result = origin(asked);
            tries.push(PageTry { asked, result });
        }
        let sizes = tries.iter().map(|page| page.asked).collect();
        (sizes, largest(&tries))
    }

    fn given(items: u32, total: u64) -> PageResult {
        PageResult::Given {
            items: items.into(),
            total: Some(total),
        }
    }

    fn refused() -> PageResult {
        let code = "InvalidParameter".to_owned();
        PageResult::Refused { code }
    }

    #[test]
    fn sizes_grow_until_a_page_is_refused_reduced_or_the_last() {
        let all = |size: u32| given(size.min(5000), 5000);
        assert_eq!(tried(all), (vec![50, 100, 200, 500, 1000], Some(1000)));
        let reduces = |size: u32| given(size.min(120), 5000);
        assert_eq!(tried(reduces), (vec![50, 100, 200], Some(120)));
        let refuses = |size: u32| if size > 100 { refused() } else { all(size) };
        assert_eq!(tried(refuses), (vec![50, 100, 200], Some(100)));
        let few = |size: u32| given(size.min(70), 70);
        assert_eq!(tried(few), (vec![50, 100], Some(100)));
        assert_eq!(tried(|size| given(size, 50)), (vec![50], Some(50)));
        let fails = |size: u32| match size {
            50 => all(size),
            _ => PageResult::Failed {
                reason: "too long".to_owned(),
            },
        };
        assert_eq!(tried(fails), (vec![50, 100], Some(50)));
    }

    #[test]
    fn sizes_shrink_while_no_page_comes() {
        let small = |size: u32| {
            if size > 20 {
                refused()
            } else {
                given(size, 70)
            }
        };
        assert_eq!(tried(small), (vec![50, 20], Some(20)));
        assert_eq!(tried(|_| refused()), (vec![50, 20, 10], None));
        assert_eq!(tried(|_| given(0, 0)), (vec![50], None));
    }

    /// Without a `TotalCount` a page that is not full may be the last one.
    #[test]
    fn a_page_without_a_total_is_believed() {
        let origin = |_| PageResult::Given {
            items: 30,
            total: None,
        };
        assert_eq!(tried(origin), (vec![50], Some(50)));
    }
}
