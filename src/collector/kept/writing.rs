//! The text of samples, written straight away.

use std::fmt;

use crate::{
    collector::{Family, Format, Kind, Labels, Samples, TargetView, Value, WorkerSamples},
    telemetry::{DURATION_BUCKETS, Durations},
    wire::Worker,
};

/// The labels of workers as both formats write them, with the end [`END`]: escaped once for all their samples.
pub struct WorkerLabels {
    text: String,
    /// Where each worker's end.
    ends: Vec<usize>,
}

impl WorkerLabels {
    /// Those of all exported workers of the targets.
    pub fn new(targets: &[TargetView]) -> Self {
        let count = targets.iter().map(|target| target.exported().len()).sum();
        let mut labels = Self { text: String::with_capacity(count * 96), ends: Vec::with_capacity(count) };
        let mut before = String::new();
        for target in targets {
            before.clear();
            before.push('{');
            for (name, value) in target.labels() {
                label(&mut before, name, value);
                before.push(',');
            }
            for worker in target.exported() {
                labels.text.push_str(&before);
                label(&mut labels.text, "worker", &worker.name);
                labels.text.push(',');
                label(&mut labels.text, "worker_id", worker.id.as_str());
                labels.text.push_str(END);
                labels.ends.push(labels.text.len());
            }
        }
        labels
    }

    fn each(&self) -> impl Iterator<Item = &str> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, &end)| &self.text[begin..end])
    }
}

/// What is between labels and a value.
const END: &str = "} ";

/// Writes samples.
pub struct Writer {
    /// What was written.
    pub text: String,
    format: Format,
}

impl Writer {
    /// One that has written nothing yet.
    pub fn new(format: Format) -> Self {
        /// Enough for the exporter's own figures.
        const CAPACITY: usize = 32 * 1024;
        Self { text: String::with_capacity(CAPACITY), format }
    }

    /// A family of which the samples bring their labels; nothing at all if there is no sample.
    pub fn family(&mut self, family: &Family, draw: impl FnOnce(&mut Samples<'_>) -> fmt::Result) -> fmt::Result {
        let mut announced = false;
        draw(&mut |labels, value| {
            if !announced {
                self.announce(family);
                announced = true;
            }
            match (family.kind, value) {
                (Kind::Histogram, Value::Histogram(durations)) => self.histogram(family, labels, durations),
                (Kind::Gauge | Kind::Counter, Value::Whole(whole)) => {
                    self.name(family.name, "", labels, None);
                    self.whole(whole);
                }
                (Kind::Gauge | Kind::Counter, Value::Real(real)) => {
                    self.name(family.name, "", labels, None);
                    self.real(real);
                }
                (_, _) => return Err(fmt::Error),
            }
            Ok(())
        })
    }

    /// The lines before a family's samples.
    pub fn announce(&mut self, family: &Family) {
        family.announce(self.format, &mut self.text);
    }

    /// The samples of a family of the workers, without those lines.
    pub fn workers(
        &mut self,
        family: &Family,
        draw: fn(&Worker, &mut WorkerSamples<'_>) -> fmt::Result,
        targets: &[TargetView],
        labels: &WorkerLabels,
    ) -> fmt::Result {
        let workers = targets.iter().flat_map(TargetView::exported);
        workers.zip(labels.each()).try_for_each(|(worker, labels)| {
            draw(worker, &mut |more, value| {
                let Some(value) = value else { return Ok(()) };
                self.text.push_str(family.name);
                if more.is_empty() {
                    self.text.push_str(labels);
                } else {
                    self.text.push_str(labels.strip_suffix(END).unwrap_or(labels));
                    for (name, value) in more {
                        self.text.push(',');
                        label(&mut self.text, name, value);
                    }
                    self.text.push_str(END);
                }
                match value {
                    Value::Whole(whole) => self.whole(whole),
                    Value::Real(real) => self.real(real),
                    Value::Histogram(_) => return Err(fmt::Error),
                }
                Ok(())
            })
        })
    }

    fn histogram(&mut self, family: &Family, labels: Labels<'_>, durations: &Durations) {
        self.name(family.name, "_sum", labels, None);
        self.real(durations.sum);
        self.name(family.name, "_count", labels, None);
        self.whole(durations.buckets.iter().sum());
        let mut so_far = 0;
        for (place, count) in durations.buckets.iter().enumerate() {
            so_far += count;
            match DURATION_BUCKETS.get(place) {
                Some(&bound) => {
                    let mut digits = dtoa::Buffer::new();
                    self.name(family.name, "_bucket", labels, Some(digits.format(bound)));
                }
                None => self.name(family.name, "_bucket", labels, Some("+Inf")),
            }
            self.whole(so_far);
        }
    }

    /// A sample's name and labels; `le` is a histogram's bound.
    fn name(&mut self, name: &str, suffix: &str, labels: Labels<'_>, le: Option<&str>) {
        self.extend(&[name, suffix]);
        let le = le.map(|le| ("le", le));
        for (place, (name, value)) in le.iter().chain(labels).enumerate() {
            self.text.push(if place == 0 { '{' } else { ',' });
            label(&mut self.text, name, value);
        }
        if le.is_some() || !labels.is_empty() {
            self.text.push('}');
        }
        self.text.push(' ');
    }

    fn whole(&mut self, value: u64) {
        self.text.push_str(itoa::Buffer::new().format(value));
        self.text.push('\n');
    }

    fn real(&mut self, value: f64) {
        /// Below it each whole number has a floating-point number of its own, and is written without an exponent.
        const WHOLE: f64 = 1e15;
        // Most are whole; it is the same text in a third of the time. Zero has a sign.
        let whole = value as i64;
        if whole as f64 == value && value.abs() < WHOLE && whole != 0 {
            self.text.push_str(itoa::Buffer::new().format(whole));
            self.text.push_str(".0\n");
        } else {
            self.text.push_str(dtoa::Buffer::new().format(value));
            self.text.push('\n');
        }
    }

    fn extend(&mut self, texts: &[&str]) {
        texts.iter().for_each(|text| self.text.push_str(text));
    }
}

/// A label's name and value, escaped as both formats have it.
pub fn label(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push_str("=\"");
    // To the end in any case, which is quicker with texts as short as these.
    if value.bytes().fold(false, |found, byte| found | matches!(byte, b'\\' | b'"' | b'\n')) {
        for c in value.chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                c => text.push(c),
            }
        }
    } else {
        text.push_str(value);
    }
    text.push('"');
}
