//! Reads expositions, holds each to what must always be true and to the one before it, and remembers what they say of
//! the process.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use btcpool_exporter::collector::CATALOGUE;

use crate::{
    churn::Shown,
    support::parser::{self, Family, Format, Sample},
};

/// How often everything is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// The families of each worker, and how many series it has in each.
fn of_workers() -> impl Iterator<Item = (&'static str, usize)> {
    let families = CATALOGUE.iter().filter(|family| family.name.starts_with("btcpool_worker_"));
    families.map(|family| (family.name, if family.labels.contains(&"window") { 3 } else { 1 }))
}

/// An exposition.
pub struct Scrape {
    families: BTreeMap<String, Family>,
}

impl Scrape {
    fn new(families: Vec<Family>) -> Self {
        let name = |family: Family| (family.name.trim_end_matches("_total").to_owned(), family);
        Self { families: families.into_iter().map(name).collect() }
    }

    /// A family's samples; a counter is named without its `_total`.
    fn samples(&self, family: &str) -> &[Sample] {
        self.families.get(family).map_or(&[], |family| &family.samples)
    }

    fn all(&self) -> impl Iterator<Item = &Sample> {
        self.families.values().flat_map(|family| &family.samples)
    }

    /// The value of a family without labels.
    pub fn value(&self, family: &str) -> f64 {
        self.samples(family).first().unwrap_or_else(|| panic!("there is no {family}")).value
    }

    /// Requests by endpoint.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        let mut requests = BTreeMap::new();
        for sample in self.samples("btcpool_exporter_api_requests") {
            *requests.entry(label(sample, "endpoint")).or_default() += sample.value as u64;
        }
        requests
    }

    /// Whether the last poll of an endpoint failed.
    pub fn fails(&self, endpoint: &str) -> bool {
        self.samples("btcpool_poll_error").iter().any(|sample| sample.label("endpoint") == Some(endpoint))
    }

    /// Polls by endpoint and account.
    pub fn polls(&self) -> BTreeMap<(String, Option<String>), u64> {
        let samples = self.samples("btcpool_exporter_polls").iter();
        samples.map(|sample| (slot(sample), sample.value as u64)).collect()
    }

    /// Holds what is shown to what there is: each account, each slot well, each worker with all its series, and nobody
    /// else.
    pub fn is_exactly(&self, wanted: &BTreeSet<Shown>, accounts: usize) -> Result<(), String> {
        let known: BTreeSet<_> = wanted.iter().map(|worker| worker.account.as_str()).collect();
        assert_eq!(known.len(), accounts);
        let shown: BTreeSet<_> = self.all().filter_map(|sample| sample.label("account")).collect();
        if shown != known {
            return Err(format!("accounts: {shown:?}"));
        }
        let up: Vec<_> = self.samples("btcpool_up").iter().filter(|sample| sample.value == 1.0).collect();
        let errors: Vec<_> = self.samples("btcpool_poll_error").iter().map(Sample::series).collect();
        if up.len() != 1 + crate::SLOTS * accounts || !errors.is_empty() {
            return Err(format!("{} slots are up; {errors:?}", up.len()));
        }
        for (family, series) in of_workers() {
            let mut shown: BTreeMap<Shown, usize> = BTreeMap::new();
            for sample in self.samples(family) {
                let id = label(sample, "worker_id").parse().map_err(|_| sample.series())?;
                let worker = Shown { account: label(sample, "account"), id, name: label(sample, "worker") };
                *shown.entry(worker).or_default() += 1;
            }
            let lingering: Vec<_> = shown.keys().filter(|worker| !wanted.contains(worker)).take(5).collect();
            let missing: Vec<_> = wanted.iter().filter(|worker| !shown.contains_key(worker)).take(5).collect();
            if !lingering.is_empty() || !missing.is_empty() || shown.values().any(|&count| count != series) {
                return Err(format!("{family}: lingering {lingering:?} ..., missing {missing:?} ..."));
            }
        }
        for family in ["btcpool_account_workers_listed", "btcpool_account_workers_reported"] {
            for sample in self.samples(family) {
                let there = wanted.iter().filter(|worker| Some(worker.account.as_str()) == sample.label("account"));
                if sample.value != there.count() as f64 {
                    return Err(sample.series());
                }
            }
        }
        Ok(())
    }

    /// What must be true of every exposition.
    fn check(&self) {
        let requests = self.requests();
        for sample in self.samples("btcpool_exporter_api_request_duration_seconds") {
            if sample.name.ends_with("_count") {
                let endpoint = label(sample, "endpoint");
                let counted = requests.get(&endpoint).copied().unwrap_or(0);
                assert_eq!(sample.value as u64, counted, "{endpoint}: durations and requests");
            }
        }
        let mut failed: BTreeMap<String, u64> = BTreeMap::new();
        for sample in self.samples("btcpool_exporter_api_request_failures") {
            // A list without an end is given up without a request that failed.
            if sample.label("reason") != Some("incomplete") {
                *failed.entry(label(sample, "endpoint")).or_default() += sample.value as u64;
            }
        }
        for (endpoint, failed) in failed {
            let made = requests.get(&endpoint).copied().unwrap_or(0);
            assert!(failed <= made, "{endpoint}: {failed} of {made} requests failed");
        }
        let polls = self.polls();
        for sample in self.samples("btcpool_exporter_poll_failures") {
            let polls = polls[&slot(sample)];
            assert!(sample.value as u64 <= polls, "{} of {polls}: {}", sample.value, sample.series());
        }
    }

    /// Counters, by series.
    fn counters(&self) -> BTreeMap<String, f64> {
        let families = self.families.values().filter(|family| family.kind != "gauge");
        families.flat_map(|family| &family.samples).map(|sample| (sample.series(), sample.value)).collect()
    }
}

fn label(sample: &Sample, name: &str) -> String {
    sample.label(name).unwrap_or_else(|| panic!("no {name}: {}", sample.series())).to_owned()
}

fn slot(sample: &Sample) -> (String, Option<String>) {
    (label(sample, "endpoint"), sample.label("account").map(str::to_owned))
}

/// The process at one moment.
struct Reading {
    at: Instant,
    memory: f64,
    descriptors: f64,
    processor: f64,
}

/// A tenth of a run.
pub struct Tenth {
    /// The median of the resident memory, in bytes.
    pub memory: f64,
    /// The median of the open descriptors.
    pub descriptors: f64,
    /// Processor time used until its end, in seconds.
    pub processor: f64,
}

/// Looks at the exporter from outside.
pub struct Watch {
    client: reqwest::Client,
    url: String,
    accounts: Vec<String>,
    counters: BTreeMap<String, f64>,
    readings: Vec<Reading>,
    begin: Instant,
    due: Instant,
    pub scrapes: usize,
    pub most_series: usize,
    /// Polls that were seen, and those of them that failed; also of an account that left.
    pub polls: u64,
    pub failures: u64,
}

impl Watch {
    /// Looks at the exporter at that address.
    pub fn new(url: String, accounts: impl IntoIterator<Item = String>) -> Self {
        // Fails when another provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // One connection, which stays: the exporter's descriptors are counted.
        let builder = reqwest::Client::builder().no_proxy().tls_certs_only([]).pool_max_idle_per_host(1);
        Self {
            client: builder.pool_idle_timeout(None).timeout(crate::PATIENCE).build().unwrap(),
            url,
            accounts: accounts.into_iter().collect(),
            counters: BTreeMap::new(),
            readings: Vec::new(),
            begin: Instant::now(),
            due: Instant::now(),
            scrapes: 0,
            most_series: 0,
            polls: 0,
            failures: 0,
        }
    }

    /// From now on counts for the tenths.
    pub fn begin_run(&mut self, at: Instant) {
        self.begin = at;
        self.readings.clear();
    }

    /// Every second: the exposition, one account's, the status page, the discovery.
    pub async fn look_when_due(&mut self) {
        if Instant::now() < self.due {
            return;
        }
        self.due = Instant::now() + EVERY;
        self.scrape().await;
        let account = self.accounts[self.scrapes % self.accounts.len()].clone();
        // The guest may not be there.
        if account != crate::GUEST {
            let of_one = self.exposition(&format!("/metrics?account={account}")).await;
            let mine = |sample: &Sample| sample.label("account") == Some(account.as_str());
            assert!(of_one.all().all(mine), "?account={account} shows others");
            assert_eq!(of_one.samples("btcpool_up").len(), crate::SLOTS, "?account={account}");
        }
        assert_eq!(self.get("/metrics?account=nobody", "").await.0, 404);
        let (status, page) = self.get("/", "text/html").await;
        assert!(status == 200 && page.trim_end().ends_with("</html>"), "/ answered {status}: {page}");
        let (status, discovered) = self.get("/sd", "").await;
        let groups = serde_json::from_str::<Vec<serde_json::Value>>(&discovered).unwrap();
        assert_eq!(status, 200);
        assert!((self.accounts.len() - 1..=self.accounts.len()).contains(&groups.len()), "{discovered}");
    }

    /// One scrape, in the two formats by turns.
    pub async fn scrape(&mut self) -> Scrape {
        self.scrapes += 1;
        let scrape = self.exposition("/metrics").await;
        scrape.check();
        let counters = scrape.counters();
        for (series, &before) in &self.counters {
            match counters.get(series) {
                Some(now) => assert!(*now >= before || of_guest(series), "{series} fell from {before} to {now}"),
                None => assert!(of_guest(series), "{series} is gone"),
            }
        }
        for (series, &now) in &counters {
            // A guest who returns begins anew.
            let before = self.counters.get(series).copied().filter(|&before| before <= now).unwrap_or(0.0);
            let more = (now - before) as u64;
            if series.starts_with("btcpool_exporter_polls_total") {
                self.polls += more;
            } else if series.starts_with("btcpool_exporter_poll_failures_total") {
                self.failures += more;
            }
        }
        self.counters = counters;
        self.most_series = self.most_series.max(scrape.all().count());
        self.readings.push(Reading {
            at: Instant::now(),
            memory: scrape.value("process_resident_memory_bytes"),
            descriptors: scrape.value("process_open_fds"),
            processor: scrape.value("process_cpu_seconds"),
        });
        scrape
    }

    async fn exposition(&self, path: &str) -> Scrape {
        let (format, accept) = match self.scrapes % 2 {
            0 => (Format::Classic, "text/plain"),
            _ => (Format::OpenMetrics, "application/openmetrics-text; version=1.0.0"),
        };
        let (status, text) = self.get(path, accept).await;
        assert_eq!(status, 200, "{path}: {text}");
        Scrape::new(parser::parse(&text, format).unwrap_or_else(|error| panic!("{path}: {error}")))
    }

    async fn get(&self, path: &str, accept: &str) -> (u16, String) {
        let request = self.client.get(format!("{}{path}", self.url)).header("accept", accept);
        let response = request.send().await.unwrap_or_else(|error| panic!("{path}: {error:?}"));
        let status = response.status().as_u16();
        (status, response.text().await.unwrap_or_else(|error| panic!("{path}: {error:?}")))
    }

    /// The run in ten parts.
    pub fn tenths(&self, duration: Duration) -> Vec<Tenth> {
        let tenth = |n: u32| {
            let (from, until) = (duration * n / 10, duration * (n + 1) / 10);
            let within = |reading: &&Reading| (from..until).contains(&(reading.at - self.begin));
            let readings: Vec<_> = self.readings.iter().filter(within).collect();
            Tenth {
                memory: median(readings.iter().map(|reading| reading.memory)),
                descriptors: median(readings.iter().map(|reading| reading.descriptors)),
                processor: readings.last().map_or(f64::NAN, |reading| reading.processor),
            }
        };
        (0..10).map(tenth).collect()
    }
}

fn of_guest(series: &str) -> bool {
    series.contains(&format!("account=\"{}\"", crate::GUEST))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
