//! Making metrics and finding their labelled children.

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

use super::LATENCY_BUCKETS;

/// Resolves the child of every pair of labels.
pub(super) fn by_two<V: ByLabels, const A: usize, const B: usize>(
    a: &[&str; A],
    b: &[&str; B],
    family: &V,
) -> [[V::Child; B]; A] {
    a.map(|a| b.map(|b| family.child(&[a, b])))
}

pub(super) trait ByLabels {
    type Child;
    fn child(&self, labels: &[&str]) -> Self::Child;
}

impl ByLabels for IntCounterVec {
    type Child = IntCounter;
    fn child(&self, labels: &[&str]) -> IntCounter {
        self.with_label_values(labels)
    }
}

impl ByLabels for HistogramVec {
    type Child = Histogram;
    fn child(&self, labels: &[&str]) -> Histogram {
        self.with_label_values(labels)
    }
}

/// Makes metrics and registers them, all under one prefix.
pub(super) struct Register<'a>(pub(super) &'a Registry);

/// Names and labels are constants of this file, and each is registered once in a registry of its own.
const SOUND: &str = "metric names and labels are constants, each registered once";

impl Register<'_> {
    fn add<C: Collector + Clone + 'static>(&self, metric: Result<C, prometheus::Error>) -> C {
        let metric = metric.expect(SOUND);
        self.0.register(Box::new(metric.clone())).expect(SOUND);
        metric
    }

    fn opts(name: &str, help: &str) -> Opts {
        Opts::new(format!("pai_gateway_{name}"), help)
    }

    fn buckets(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
        HistogramOpts::new(format!("pai_gateway_{name}"), help).buckets(buckets.to_vec())
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::with_opts(Self::opts(name, help)))
    }

    pub(super) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(Self::opts(name, help), labels))
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::with_opts(Self::opts(name, help)))
    }

    pub(super) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(IntGaugeVec::new(Self::opts(name, help), labels))
    }

    pub(super) fn float(&self, name: &str, help: &str) -> Gauge {
        self.add(Gauge::with_opts(Self::opts(name, help)))
    }

    pub(super) fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.add(Histogram::with_opts(Self::buckets(name, help, buckets)))
    }

    pub(super) fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        self.add(HistogramVec::new(
            Self::buckets(name, help, &LATENCY_BUCKETS),
            labels,
        ))
    }

    /// CPU, memory and file descriptors of this process; nothing where there is no /proc.
    pub(super) fn process(&self) {
        let collector = ProcessCollector::for_self();
        self.0.register(Box::new(collector)).expect(SOUND);
    }
}
