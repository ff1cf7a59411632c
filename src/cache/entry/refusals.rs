//! The origin's wishes not to keep an answer, in one byte: a million entries have them.

use crate::cache::freshness::Directives;

/// `no-store` and `no-cache` of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusals(u8);

const NO_STORE: u8 = 1;
const NO_CACHE: u8 = 2;

impl Refusals {
    pub(super) const fn of(directives: Directives) -> Self {
        let no_store = if directives.no_store { NO_STORE } else { 0 };
        let no_cache = if directives.no_cache { NO_CACHE } else { 0 };
        Self(no_store | no_cache)
    }

    pub(super) const fn no_store(self) -> bool {
        self.0 & NO_STORE != 0
    }

    pub(super) const fn no_cache(self) -> bool {
        self.0 & NO_CACHE != 0
    }
}
