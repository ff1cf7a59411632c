//! Labels: a name, and the values that it may have.
//!
//! A [`ClosedLabel`] has the values of an enum, so a family of closed labels finds a child by index. An
//! open label has values that come from the operator's files, such as a client's name; its family finds a
//! child by text, which costs a hash and a lock. No value ever comes from a request, so that no client can
//! grow the number of series.

use strum::{EnumCount, IntoStaticStr, VariantArray};

use crate::api::Action;
use crate::observability::outcome::{CallResult, Outcome, StaleReason, named_variants};

/// One label of a family.
pub trait Label {
    /// The label's name.
    const NAME: &'static str;

    /// The values, in Markdown, for docs/metrics.md.
    fn values() -> String;
}

/// A label whose values are those of an enum.
pub trait ClosedLabel: Label + Copy + 'static {
    /// Every value, in the order of [`ClosedLabel::index`].
    const ALL: &'static [Self];

    /// The value as it is exposed.
    fn text(self) -> &'static str;

    /// The value's place in [`ClosedLabel::ALL`].
    fn index(self) -> usize;
}

/// The labels of a family, one or two.
pub trait Labels {
    /// Their names.
    const NAMES: &'static [&'static str];

    /// Each label's name and values.
    fn described() -> Vec<(&'static str, String)>;
}

/// Closed labels of a family, by which a child is found without hashing.
pub trait ClosedLabels: Labels + Copy + 'static {
    /// Every combination, in the order of [`ClosedLabels::index`].
    fn all() -> Vec<Self>;

    /// The combination's place among all.
    fn index(self) -> usize;

    /// The values as they are exposed.
    fn texts(self) -> Vec<&'static str>;
}

impl<A: Label> Labels for A {
    const NAMES: &'static [&'static str] = &[A::NAME];

    fn described() -> Vec<(&'static str, String)> {
        vec![(A::NAME, A::values())]
    }
}

impl<A: Label, B: Label> Labels for (A, B) {
    const NAMES: &'static [&'static str] = &[A::NAME, B::NAME];

    fn described() -> Vec<(&'static str, String)> {
        vec![(A::NAME, A::values()), (B::NAME, B::values())]
    }
}

impl<A: ClosedLabel> ClosedLabels for A {
    fn all() -> Vec<Self> {
        A::ALL.to_vec()
    }

    fn index(self) -> usize {
        ClosedLabel::index(self)
    }

    fn texts(self) -> Vec<&'static str> {
        vec![self.text()]
    }
}

impl<A: ClosedLabel, B: ClosedLabel> ClosedLabels for (A, B) {
    fn all() -> Vec<Self> {
        let with_each = |a: &A| B::ALL.iter().map(|b| (*a, *b)).collect::<Vec<_>>();
        A::ALL.iter().flat_map(with_each).collect()
    }

    fn index(self) -> usize {
        ClosedLabel::index(self.0) * B::ALL.len() + ClosedLabel::index(self.1)
    }

    fn texts(self) -> Vec<&'static str> {
        vec![self.0.text(), self.1.text()]
    }
}

/// Makes an enum with `ALL`, in the order of its discriminants, and `as_str` a label's values.
macro_rules! closed_labels {
    ($($Type:ty => $name:literal),+ $(,)?) => {$(
        impl $crate::observability::metrics::label::Label for $Type {
            const NAME: &'static str = $name;

            fn values() -> String {
                let quoted = Self::ALL.iter().map(|value| format!("`{}`", value.as_str()));
                quoted.collect::<Vec<_>>().join(", ")
            }
        }

        impl $crate::observability::metrics::label::ClosedLabel for $Type {
            const ALL: &'static [Self] = &Self::ALL;

            fn text(self) -> &'static str {
                self.as_str()
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    )+};
}

/// Makes types that stand for open labels: `Type => "name", "where the values come from"`.
macro_rules! open_labels {
    ($($(#[$meta:meta])* $Type:ident => $name:literal, $values:literal;)+) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy)]
        pub struct $Type;

        impl $crate::observability::metrics::label::Label for $Type {
            const NAME: &'static str = $name;

            fn values() -> String {
                $values.to_owned()
            }
        }
    )+};
}

pub(super) use closed_labels;

closed_labels! {
    Action => "operation",
    Outcome => "outcome",
    CallResult => "result",
    TimedOperation => "operation",
    CacheStore => "store",
    EvictionCause => "cause",
    Success => "result",
    HoldReason => "reason",
    StaleReason => "reason",
    QuotaScope => "scope",
}

named_variants! {
    TimedOperation,
    CacheStore,
    EvictionCause,
    Success,
    pub HoldReason,
    pub QuotaScope,
}

open_labels! {
    /// A client of this gateway.
    ClientName => "client", "names in `auth.clients_file`; `anonymous`, `unauthenticated`";
    /// A listener.
    ListenerName => "listener", "`data`, `admin`, `observe`";
    /// A part whose files are read again.
    ReloadedPart => "part", "`settings`, `clients`, `tls`";
    /// The cause of a refused authentication.
    RefusalReason => "reason", "see [operations.md](operations.md#paigatewaysigninsrefused)";
    /// The origin of a credential.
    CredentialSource => "source", "as `credentials.source`";
    /// The breaker's position.
    BreakerStateLabel => "state", "`closed`, `open`, `probing`";
    /// A workspace that the catalogue walks.
    WalkedScope => "workspace", "ids in `catalogue.workspaces`; `official`";
    /// The parameter Verbose of a request.
    VerboseOption => "verbose", "`false`, `true`";
    /// A member in which an item and GetImage's answer differ.
    MemberName => "field", "members of an image; `image` where GetImage denies it, `other`, `unreadable`";
    /// The version of a program.
    BuildVersion => "version", "this build's";
}

/// Operation as a label of durations: GetImage by itself, the others together, to bound the number of histograms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum TimedOperation {
    /// GetImage, the operation that nearly all requests are.
    #[strum(serialize = "GetImage")]
    GetImage,
    /// Every other operation.
    Other,
}

/// Reason why an operation is held back; the `reason` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum HoldReason {
    /// The origin fails, or does not answer in time.
    Failing,
    /// The origin asked for a pause.
    Throttled,
    /// The credential has no permission for it.
    Permission,
    /// The last tenth of the account's quota is kept for clients that wait.
    Quota,
}

/// Scope of a quota of the account; the label `scope`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum QuotaScope {
    /// The account's calls of this operation.
    UserApi,
    /// The account's calls of all.
    User,
}

/// A store of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum CacheStore {
    /// Images.
    Images,
    /// Not-found and forbidden answers.
    Negative,
    /// Pages of lists.
    Lists,
}

/// The cause of an eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum EvictionCause {
    /// Past every use.
    Expired,
    /// Purged or replaced.
    Removed,
    /// No room.
    Size,
}

/// The result of an attempt that has no finer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Success {
    /// Done.
    Ok,
    /// Failed.
    Error,
}

impl From<Action> for TimedOperation {
    fn from(action: Action) -> Self {
        if action == Action::GetImage {
            Self::GetImage
        } else {
            Self::Other
        }
    }
}

impl<T, E> From<&Result<T, E>> for Success {
    fn from(result: &Result<T, E>) -> Self {
        if result.is_ok() {
            Self::Ok
        } else {
            Self::Error
        }
    }
}
