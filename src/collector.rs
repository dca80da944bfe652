//! The metric catalogue, and a pure function from what is known to the exposition.
//!
//! Nothing is mutated to mirror the pool: a [`View`] is taken, and each [`Family`] of the [`CATALOGUE`] draws its samples
//! from it. What is stale at that moment is not in the view, and what is not in the view has no sample.
//!
//! There are two ways from a view to the text. [`render`] is the plain one: prometheus-client writes the OpenMetrics
//! text, from which `classic` makes the older format. [`kept`] is the fast one, for `/metrics`; it is held to the plain
//! one byte for byte.

pub mod catalogue;
pub mod kept;
pub mod past;
mod view;

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::{Registry, Unit},
};

use crate::{
    telemetry::{DURATION_BUCKETS, Durations},
    wire::Worker,
};
pub use catalogue::CATALOGUE;
pub use view::{AccountView, Common, Moment, Own, Poll, Scope, TargetView, View};

/// One metric family.
#[derive(Debug)]
pub struct Family {
    /// Its full name, with unit and, for a counter, `_total`.
    pub name: &'static str,
    /// The unit that the name carries.
    pub unit: Option<&'static str>,
    /// Its type.
    pub kind: Kind,
    /// The names of its labels; where the configuration names them, only those known in advance.
    pub labels: &'static [&'static str],
    /// What it tells, in a sentence.
    pub help: &'static str,
    /// Draws its samples.
    samples: Source,
}

/// What a family's samples are drawn from.
#[derive(Debug)]
enum Source {
    /// What is known of the pool and the accounts, and how polling goes: the same until a poll ends.
    Known(fn(&View, &mut Samples<'_>) -> fmt::Result),
    /// A worker. Apart from the others because they are so many.
    Worker(fn(&Worker, &mut WorkerSamples<'_>) -> fmt::Result),
    /// The exporter's own figures: others at each moment. Those families come last.
    Own(fn(&Own, &mut Samples<'_>) -> fmt::Result),
}

/// A family's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A figure that goes up and down.
    Gauge,
    /// A count that only grows.
    Counter,
    /// Counts by size.
    Histogram,
}

impl Kind {
    /// As Prometheus spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// A sample's value.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A count.
    Whole(u64),
    /// A measure.
    Real(f64),
    /// A whole histogram.
    Histogram(&'a Durations),
}

/// Label names and values, in order.
type Labels<'a> = &'a [(&'a str, &'a str)];

/// Takes a family's samples, one by one.
type Samples<'a> = dyn FnMut(Labels<'_>, Value<'_>) -> fmt::Result + 'a;

/// Takes a worker's samples: the labels beyond those that name the worker, and the value if it is known.
type WorkerSamples<'a> = dyn FnMut(Labels<'_>, Option<Value<'_>>) -> fmt::Result + 'a;

/// The two formats of the exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; version=0.0.4`.
    Classic,
    /// `application/openmetrics-text; version=1.0.0`.
    OpenMetrics,
}

impl Format {
    /// The content type that announces it.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes the exposition of a view.
///
/// # Errors
///
/// Only where a `String` cannot be written to, which does not happen.
pub fn render(view: View, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(view));
    let mut exposition = String::new();
    text::encode(&mut exposition, &registry)?;
    Ok(match format {
        Format::OpenMetrics => exposition,
        Format::Classic => classic(&exposition),
    })
}

impl Collector for View {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Family by family, so that each is announced once with all its samples behind it.
        for family in CATALOGUE {
            family.encode(self, &mut encoder)?;
        }
        Ok(())
    }
}

impl Family {
    /// The name as OpenMetrics has it for the family: without a counter's `_total`.
    fn stem(&self) -> &'static str {
        match self.kind {
            Kind::Counter => self.name.strip_suffix("_total").unwrap_or(self.name),
            Kind::Gauge | Kind::Histogram => self.name,
        }
    }

    /// The lines before its samples.
    fn announce(&self, format: Format, text: &mut String) {
        let (name, unit) = match format {
            Format::OpenMetrics => (self.stem(), self.unit),
            Format::Classic => (self.name, None),
        };
        let kind = self.kind.as_str();
        text.extend(["# HELP ", name, " ", self.help, "\n# TYPE ", name, " ", kind, "\n"]);
        if let Some(unit) = unit {
            text.extend(["# UNIT ", name, " ", unit, "\n"]);
        }
    }

    /// Draws its samples, whatever they are drawn from.
    fn samples(&self, view: &View, out: &mut Samples<'_>) -> fmt::Result {
        match self.samples {
            Source::Known(draw) => draw(view, out),
            Source::Own(draw) => view.own.iter().try_for_each(|own| draw(own, out)),
            Source::Worker(draw) => view.workers().try_for_each(|(target, worker)| {
                let [account, currency] = target.labels();
                let [name, id] = [("worker", &*worker.name), ("worker_id", worker.id.as_str())];
                draw(worker, &mut |more, value| match (more, value) {
                    (_, None) => Ok(()),
                    ([], Some(value)) => out(&[account, currency, name, id], value),
                    (more, Some(value)) => out(&[&[account, currency, name, id], more].concat(), value),
                })
            }),
        }
    }

    /// Whether there is a sample of it.
    fn has_samples(&self, view: &View) -> bool {
        // The first sample is refused, which ends the drawing.
        self.samples(view, &mut |_, _| Err(fmt::Error)).is_err()
    }

    fn encode(&self, view: &View, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        if !self.has_samples(view) {
            return Ok(());
        }
        let unit = self.unit.map(|unit| Unit::Other(unit.to_owned()));
        // The library appends the unit again.
        let suffix = self.unit.map_or(0, |unit| unit.len() + 1);
        let name = &self.stem()[..self.stem().len() - suffix];
        let kind = match self.kind {
            Kind::Gauge => MetricType::Gauge,
            Kind::Counter => MetricType::Counter,
            Kind::Histogram => MetricType::Histogram,
        };
        let mut family = encoder.encode_descriptor(name, self.help, unit.as_ref(), kind)?;
        self.samples(view, &mut |labels, value| match labels {
            [] => self.encode_sample(&mut family, value),
            labels => self.encode_sample(&mut family.encode_family(&labels)?, value),
        })
    }

    fn encode_sample(&self, sample: &mut MetricEncoder<'_>, value: Value<'_>) -> fmt::Result {
        match (self.kind, value) {
            (Kind::Gauge, Value::Real(value)) => sample.encode_gauge(&value),
            (Kind::Gauge, Value::Whole(value)) => sample.encode_gauge(&value),
            (Kind::Counter, Value::Real(value)) => sample.encode_counter::<NoLabelSet, _, f64>(&value, None),
            (Kind::Counter, Value::Whole(value)) => sample.encode_counter::<NoLabelSet, _, f64>(&value, None),
            (Kind::Histogram, Value::Histogram(durations)) => {
                let bounds = DURATION_BUCKETS.into_iter().chain([f64::INFINITY]);
                let buckets: Vec<_> = bounds.zip(durations.buckets).collect();
                let count = durations.buckets.iter().sum();
                sample.encode_histogram::<NoLabelSet>(durations.sum, count, &buckets, None)
            }
            (_, _) => Err(fmt::Error),
        }
    }
}

/// Makes the classic format of an OpenMetrics text: counters are announced with their `_total`, units and the end mark
/// fall away. Every line that begins with `#` is ours, because label values hold no line break unescaped.
fn classic(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut lines = open_metrics.lines().peekable();
    while let Some(line) = lines.next() {
        let total = |kind: &str| if kind.ends_with(" counter") { "_total" } else { "" };
        if let Some(help) = line.strip_prefix("# HELP ") {
            let suffix = lines.peek().map_or("", |kind| total(kind));
            let (name, help) = help.split_once(' ').unwrap_or((help, ""));
            text.extend(["# HELP ", name, suffix, " ", help, "\n"]);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind_word) = kind.split_once(' ').unwrap_or((kind, "untyped"));
            text.extend(["# TYPE ", name, total(line), " ", kind_word, "\n"]);
        } else if !line.starts_with("# ") {
            text.extend([line, "\n"]);
        }
    }
    text
}
