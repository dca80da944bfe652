//! How far the reading has come: a bar on a terminal, lines elsewhere, both on standard error.

use std::{
    io::{self, IsTerminal as _, Write},
    path::Path,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{backfill::Totals, model::Target};

/// How often the bar is looked after while nothing else happens.
const REFRESH: Duration = Duration::from_millis(100);

/// Shows how far it has come.
#[derive(Debug)]
pub struct Progress {
    /// `None`: nobody watches, and lines are written.
    bar: Option<ProgressBar>,
    begun: Instant,
    done: usize,
    targets: usize,
}

impl Progress {
    /// So many targets will be read.
    pub fn begin(targets: usize) -> Self {
        let bar = io::stderr().is_terminal().then(|| ProgressBar::new(targets as u64));
        // How long it will take is not known before one is done.
        look(bar.as_ref(), "{wide_bar} {pos}/{len} {msg}, {elapsed}");
        Self { bar, begun: Instant::now(), done: 0, targets }
    }

    /// Where the log is to be written: the bar makes way for each line.
    pub fn log(&self) -> impl Fn() -> Beside + Send + Sync + 'static {
        let bar = self.bar.clone();
        move || Beside(bar.clone())
    }

    /// Waits for the reading of a target, and shows how many requests were made so far.
    pub async fn during<T>(&self, target: &Target, reading: impl Future<Output = T>, requests: impl Fn() -> u64) -> T {
        let Some(bar) = &self.bar else { return reading.await };
        let mut reading = std::pin::pin!(reading);
        loop {
            bar.set_message(format!("{target}, {} requests", requests()));
            bar.tick();
            tokio::select! {
                read = &mut reading => return read,
                () = tokio::time::sleep(REFRESH) => {}
            }
        }
    }

    /// A target was read: so many days and payouts.
    pub fn done(&mut self, target: &Target, days: usize, payments: usize) {
        self.done += 1;
        match &self.bar {
            Some(bar) => {
                bar.inc(1);
                look(Some(bar), "{wide_bar} {pos}/{len} {msg}, {elapsed}, {eta} left");
            }
            None => say(&format!("{}/{} {target}: {days} days, {payments} payouts", self.done, self.targets)),
        }
    }

    /// All is written.
    pub fn end(&mut self, output: &Path, totals: Totals, requests: u64) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let name = if output == Path::new("-") { "standard output".to_owned() } else { output.display().to_string() };
        let Totals { days, payments, series, samples } = totals;
        let seconds = self.begun.elapsed().as_secs_f64();
        say(&format!(
            "{name}: {samples} samples of {series} series, from {days} days and {payments} payouts; {requests} requests \
             in {seconds:.1} s"
        ));
    }
}

/// Gives the bar a look; it has one of its own otherwise.
fn look(bar: Option<&ProgressBar>, template: &str) {
    if let (Some(bar), Ok(style)) = (bar, ProgressStyle::with_template(template)) {
        bar.set_style(style);
    }
}

/// With standard error closed there is nobody to tell.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Standard error, where a bar may be in the way.
#[derive(Debug)]
pub struct Beside(Option<ProgressBar>);

impl Write for Beside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Some(bar) => bar.suspend(|| io::stderr().write(bytes)),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
