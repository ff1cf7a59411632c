//! Events of the credential and of the clock, for metrics and the log.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

/// Receiver of what happens to the credential. It is called between two calls to a source, so it must not block.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// A source may be asked for the credential from now on.
    fn source_known(&self, source: &'static str);

    /// A source gave a credential that expires at this time; `None` for never.
    fn loaded(&self, source: &'static str, expires: Option<Timestamp>);

    /// A source gave no credential.
    fn failed(&self, source: &'static str);

    /// A renewal failed; the text has the errors, and what still signs.
    fn not_renewed(&self, text: &dyn fmt::Display);

    /// A value of a profile contains a `#`, which the vendor's SDKs read in two ways.
    fn doubtful_profile(&self, key: &str, profile: &dyn fmt::Display);

    /// A server's date has corrected the clock by this offset.
    fn clock_corrected(&self, server: &str, offset: SignedDuration);
}

/// Observer that drops every event.
#[derive(Debug, Clone, Copy)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn source_known(&self, _: &'static str) {}
    fn loaded(&self, _: &'static str, _: Option<Timestamp>) {}
    fn failed(&self, _: &'static str) {}
    fn not_renewed(&self, _: &dyn fmt::Display) {}
    fn doubtful_profile(&self, _: &str, _: &dyn fmt::Display) {}
    fn clock_corrected(&self, _: &str, _: SignedDuration) {}
}
