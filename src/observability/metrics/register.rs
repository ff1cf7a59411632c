//! Declaring metrics and registering them, all under one prefix.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::{Counter, Gauge, Histogram, HistogramOpts, IntCounter, IntGauge, Opts, Registry};

use super::AGE_BUCKETS;
use crate::observability::logging::Conditions;

/// Anything that a field of `metrics!` may be: a metric, a family, a group, or one of them that is
/// registered on first use.
pub trait Metric: Sized {
    /// Creates it and registers it, unless it is registered on first use.
    fn register(registry: &Registry, spec: MetricSpec) -> Self;

    /// Adds its description, or those of its group, for docs/metrics.md.
    fn describe(spec: MetricSpec, into: &mut Vec<MetricDescription>);
}

/// The declaration of one metric.
#[derive(Debug, Clone, Copy)]
pub struct MetricSpec {
    /// The full name; empty for a group.
    pub name: &'static str,
    /// The doc comment, with the space before its first word.
    pub doc: &'static str,
    /// Exposes every child of a family at 0 from the start.
    pub at_zero: bool,
}

impl MetricSpec {
    /// The help text.
    pub(super) fn help(self) -> &'static str {
        self.doc.trim()
    }
}

/// Description of one metric, for docs/metrics.md.
#[derive(Debug)]
pub struct MetricDescription {
    /// The full name.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Each label and its values, in Markdown.
    pub labels: Vec<(&'static str, String)>,
    /// The help text.
    pub help: &'static str,
}

impl MetricDescription {
    pub(super) fn new(
        spec: MetricSpec,
        kind: &'static str,
        labels: Vec<(&'static str, String)>,
    ) -> Self {
        Self {
            name: spec.name,
            kind,
            labels,
            help: spec.help(),
        }
    }
}

/// A metric or group of a part that may be switched off. It is registered on first use, so that a part that is off
/// exposes nothing; a part that is on calls [`OnFirstUse::expose`] at its start, so that its counters begin at 0.
#[derive(Debug)]
pub struct OnFirstUse<T> {
    registry: Registry,
    spec: MetricSpec,
    made: OnceLock<T>,
}

impl<T: Metric> OnFirstUse<T> {
    /// Registers it, unless it is registered already.
    pub fn expose(&self) {
        let _: &T = self;
    }

    /// Returns the metric, if it has been exposed.
    pub fn get(&self) -> Option<&T> {
        self.made.get()
    }
}

impl<T: Metric> Deref for OnFirstUse<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.made
            .get_or_init(|| T::register(&self.registry, self.spec))
    }
}

impl<T: Metric> Metric for OnFirstUse<T> {
    fn register(registry: &Registry, spec: MetricSpec) -> Self {
        Self {
            registry: registry.clone(),
            spec,
            made: OnceLock::new(),
        }
    }

    fn describe(spec: MetricSpec, into: &mut Vec<MetricDescription>) {
        T::describe(spec, into);
    }
}

/// A histogram of ages and lifetimes, in seconds.
#[derive(Debug)]
pub struct AgeHistogram(Histogram);

impl Deref for AgeHistogram {
    type Target = Histogram;

    fn deref(&self) -> &Histogram {
        &self.0
    }
}

impl Metric for AgeHistogram {
    fn register(registry: &Registry, spec: MetricSpec) -> Self {
        let opts = HistogramOpts::new(spec.name, spec.help()).buckets(AGE_BUCKETS.to_vec());
        Self(add(registry, Histogram::with_opts(opts)))
    }

    fn describe(spec: MetricSpec, into: &mut Vec<MetricDescription>) {
        into.push(MetricDescription::new(spec, "histogram", Vec::new()));
    }
}

/// A metric that parts share.
impl<T: Metric> Metric for Arc<T> {
    fn register(registry: &Registry, spec: MetricSpec) -> Self {
        Self::new(T::register(registry, spec))
    }

    fn describe(spec: MetricSpec, into: &mut Vec<MetricDescription>) {
        T::describe(spec, into);
    }
}

/// A group that is updated as a whole, by one scrape at a time.
impl<T: Metric> Metric for Mutex<T> {
    fn register(registry: &Registry, spec: MetricSpec) -> Self {
        Self::new(T::register(registry, spec))
    }

    fn describe(spec: MetricSpec, into: &mut Vec<MetricDescription>) {
        T::describe(spec, into);
    }
}

/// The registry itself is a field of the struct that it exposes.
impl Metric for Registry {
    fn register(registry: &Registry, _: MetricSpec) -> Self {
        registry.clone()
    }

    fn describe(_: MetricSpec, _: &mut Vec<MetricDescription>) {}
}

/// The log's episodes go wherever the metrics do, because both are reported from the same places; not exposed.
impl Metric for Conditions {
    fn register(_: &Registry, _: MetricSpec) -> Self {
        Self::default()
    }

    fn describe(_: MetricSpec, _: &mut Vec<MetricDescription>) {}
}

macro_rules! unlabelled {
    ($($Type:ty => $kind:literal),+) => {$(
        impl Metric for $Type {
            fn register(registry: &Registry, spec: MetricSpec) -> Self {
                add(registry, Self::with_opts(Opts::new(spec.name, spec.help())))
            }

            fn describe(spec: MetricSpec, into: &mut Vec<MetricDescription>) {
                into.push(MetricDescription::new(spec, $kind, Vec::new()));
            }
        }
    )+};
}

unlabelled!(Counter => "counter", IntCounter => "counter", IntGauge => "gauge", Gauge => "gauge");

/// Registers a metric.
pub(super) fn add<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: Result<C, prometheus::Error>,
) -> C {
    let metric = metric.expect(VALID_DECLARATION);
    registry
        .register(Box::new(metric.clone()))
        .expect(VALID_DECLARATION);
    metric
}

/// Declarations are constants, and each is registered once in a registry of its own.
pub(super) const VALID_DECLARATION: &str =
    "metric names and labels are constants, each registered once";

/// Declares a struct of metrics. A field's doc comment is its help text; `= "name"` its name without the prefix
/// `pai_gateway_`, or the one that `named` gives; a group of further metrics has none. `at 0` exposes every child of
/// a family from the start.
macro_rules! metrics {
    ($(#[$meta:meta])* $visibility:vis struct $Group:ident { $($fields:tt)+ }) => {
        $crate::observability::metrics::register::metrics! {
            $(#[$meta])* $visibility struct $Group named "pai_gateway_" { $($fields)+ }
        }
    };
    (
        $(#[$meta:meta])*
        $visibility:vis struct $Group:ident named $prefix:literal {
            $(
                $(#[doc = $help:literal])+
                $field_visibility:vis $field:ident: $Type:ty $(= $name:literal $(at $zero:literal)?)?
            ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug)]
        $visibility struct $Group {
            $($(#[doc = $help])+ $field_visibility $field: $Type),+
        }

        impl $crate::observability::metrics::register::Metric for $Group {
            fn register(
                registry: &prometheus::Registry,
                _: $crate::observability::metrics::register::MetricSpec,
            ) -> Self {
                Self {
                    $($field: <$Type as $crate::observability::metrics::register::Metric>::register(
                        registry,
                        $crate::observability::metrics::register::MetricSpec {
                            name: concat!($($prefix, $name)?),
                            doc: concat!($($help),+),
                            // One element for the end of the list, and one where the declaration says `at 0`.
                            at_zero: [$($($zero,)?)? -1].len() > 1,
                        },
                    )),+
                }
            }

            fn describe(
                _: $crate::observability::metrics::register::MetricSpec,
                into: &mut Vec<$crate::observability::metrics::register::MetricDescription>,
            ) {
                $(<$Type as $crate::observability::metrics::register::Metric>::describe(
                    $crate::observability::metrics::register::MetricSpec {
                        name: concat!($($prefix, $name)?),
                        doc: concat!($($help),+),
                        at_zero: false,
                    },
                    into,
                );)+
            }
        }
    };
}

pub(super) use metrics;
