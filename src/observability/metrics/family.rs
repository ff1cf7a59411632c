//! Labelled metrics, whose children are made on first use.
//!
//! A child without counts costs the exposition nothing: a histogram is 21 lines. Prometheus'
//! `increase` does not see the sample with which a series begins, so the children that alerts ask for
//! are started at 0, by `at 0` in the declaration or by [`IndexedFamily::start`].

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::OnceLock;

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

use super::LATENCY_BUCKETS;
use super::label::{ClosedLabels, Labels};
use super::register::{Metric, MetricDescription, MetricSpec, add};

/// A family of closed labels. A child is found by index: no hash, no lock.
pub struct IndexedFamily<F: Family, L> {
    family: F,
    children: Box<[OnceLock<F::Child>]>,
    labels: PhantomData<fn() -> L>,
}

/// A family of which at least one label is open. A child is found by text.
pub struct TextFamily<F, L>(F, PhantomData<fn() -> L>);

/// Counters by closed labels.
pub type Counters<L> = IndexedFamily<IntCounterVec, L>;
/// Gauges by closed labels.
pub type Gauges<L> = IndexedFamily<IntGaugeVec, L>;
/// Gauges of fractions by closed labels.
pub type FloatGauges<L> = IndexedFamily<GaugeVec, L>;
/// Latency histograms by closed labels.
pub type Latencies<L> = IndexedFamily<HistogramVec, L>;
/// Counters of which at least one label is open.
pub type OpenCounters<L> = TextFamily<IntCounterVec, L>;
/// Gauges of which at least one label is open.
pub type OpenGauges<L> = TextFamily<IntGaugeVec, L>;

/// A type of labelled metric of the `prometheus` crate.
pub trait Family: Collector + Clone + 'static {
    /// One series of it.
    type Child;
    /// Keyword after `# TYPE`.
    const KIND: &'static str;

    /// An empty family.
    ///
    /// # Errors
    /// A name that is no metric's or label's.
    fn make(spec: MetricSpec, labels: &[&str]) -> Result<Self, prometheus::Error>;

    /// The child of these values, made if it is not there.
    fn child(&self, values: &[&str]) -> Self::Child;
}

impl<F: Family, L: ClosedLabels> IndexedFamily<F, L> {
    /// The child of these labels.
    pub fn of(&self, labels: L) -> &F::Child {
        self.children[labels.index()].get_or_init(|| self.family.child(&labels.texts()))
    }

    /// The child of these labels, if it has been used.
    pub fn get(&self, labels: L) -> Option<&F::Child> {
        self.children[labels.index()].get()
    }

    /// Exposes the children of these labels at 0.
    pub fn start(&self, labels: impl IntoIterator<Item = L>) {
        for labels in labels {
            self.of(labels);
        }
    }
}

impl<F: Family, L: ClosedLabels> Metric for IndexedFamily<F, L> {
    fn register(registry: &Registry, spec: MetricSpec) -> Self {
        let family = Self {
            family: add(registry, F::make(spec, L::NAMES)),
            children: L::all().iter().map(|_| OnceLock::new()).collect(),
            labels: PhantomData,
        };
        if spec.at_zero {
            family.start(L::all());
        }
        family
    }

    fn describe(spec: MetricSpec, into: &mut Vec<MetricDescription>) {
        into.push(MetricDescription::new(spec, F::KIND, L::described()));
    }
}

impl<F: Family, L> fmt::Debug for IndexedFamily<F, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndexedFamily").finish_non_exhaustive()
    }
}

impl<F: Family, L: Labels> Metric for TextFamily<F, L> {
    fn register(registry: &Registry, spec: MetricSpec) -> Self {
        Self(add(registry, F::make(spec, L::NAMES)), PhantomData)
    }

    fn describe(spec: MetricSpec, into: &mut Vec<MetricDescription>) {
        into.push(MetricDescription::new(spec, F::KIND, L::described()));
    }
}

impl<F, L> Deref for TextFamily<F, L> {
    type Target = F;

    fn deref(&self) -> &F {
        &self.0
    }
}

impl<F, L> fmt::Debug for TextFamily<F, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextFamily").finish_non_exhaustive()
    }
}

impl Family for IntCounterVec {
    type Child = IntCounter;
    const KIND: &'static str = "counter";

    fn make(spec: MetricSpec, labels: &[&str]) -> Result<Self, prometheus::Error> {
        Self::new(Opts::new(spec.name, spec.help()), labels)
    }

    fn child(&self, values: &[&str]) -> IntCounter {
        self.with_label_values(values)
    }
}

impl Family for IntGaugeVec {
    type Child = IntGauge;
    const KIND: &'static str = "gauge";

    fn make(spec: MetricSpec, labels: &[&str]) -> Result<Self, prometheus::Error> {
        Self::new(Opts::new(spec.name, spec.help()), labels)
    }

    fn child(&self, values: &[&str]) -> IntGauge {
        self.with_label_values(values)
    }
}

impl Family for GaugeVec {
    type Child = Gauge;
    const KIND: &'static str = "gauge";

    fn make(spec: MetricSpec, labels: &[&str]) -> Result<Self, prometheus::Error> {
        Self::new(Opts::new(spec.name, spec.help()), labels)
    }

    fn child(&self, values: &[&str]) -> Gauge {
        self.with_label_values(values)
    }
}

impl Family for HistogramVec {
    type Child = Histogram;
    const KIND: &'static str = "histogram";

    fn make(spec: MetricSpec, labels: &[&str]) -> Result<Self, prometheus::Error> {
        let opts = HistogramOpts::new(spec.name, spec.help()).buckets(LATENCY_BUCKETS.to_vec());
        Self::new(opts, labels)
    }

    fn child(&self, values: &[&str]) -> Histogram {
        self.with_label_values(values)
    }
}
