//! A worker: what is known of it, and how that is read of the pool's answer.
//!
//! Both stand here together, because the pool may tell more of a worker one day. What one more field needs: its place in
//! [`Worker`], its name in [`FIELDS`], its reading in [`read`]; then a family in the catalogue of the collector, and the
//! simulated pool that serves it. The tests follow from these.

use smol_str::SmolStr;

use super::{Anomalies, Object, count, figure, place, printable, status, time, windows};
use crate::{
    config::RejectRateUnit,
    model::{HashrateWindows, Id, Ratio, UnixSeconds},
};

/// One row of `workers`.
#[derive(Clone, Debug, PartialEq)]
pub struct Worker {
    /// The pool's own id: unique, unlike the name.
    pub id: Id,
    /// The name that the miner chose, made safe to show; empty when the pool did not tell it.
    pub name: SmolStr,
    /// The worker's hashrate.
    pub hashrate: HashrateWindows,
    /// Share of its shares that the pool rejected.
    pub reject_ratio: Option<Ratio>,
    /// When the pool last heard of it (republished about every five minutes).
    pub last_active: Option<UnixSeconds>,
    /// Whether the pool calls it active; flips for healthy machines too.
    pub active: Option<bool>,
}

impl Worker {
    /// A worker of whom nothing else is known.
    pub fn new(id: Id, name: impl Into<SmolStr>) -> Self {
        Self {
            id,
            name: name.into(),
            hashrate: HashrateWindows::default(),
            reject_ratio: None,
            last_active: None,
            active: None,
        }
    }
}

/// The answer of `workers`: every page of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Workers {
    /// Distinct workers by id, in the order of their ids.
    pub list: Vec<Worker>,
    /// How many the pool says there are.
    pub reported: Option<u64>,
    /// Rows of the list that were not read, because it is longer than its bound; by the pool's own total.
    pub not_read: u64,
    /// Requests that a poll of the list takes.
    pub pages: usize,
}

impl Workers {
    /// How many workers the pool's list has, those that were not read included.
    pub fn listed(&self) -> u64 {
        self.list.len() as u64 + self.not_read
    }

    /// How many of them are not exported when at most `max` are.
    pub fn dropped(&self, max: usize) -> u64 {
        self.list.len().saturating_sub(max) as u64 + self.not_read
    }
}

/// The API's names, in the order in which the pool sends them. That is only an expectation, which makes reading quick: a
/// name that comes elsewhere is found, too. They are read by name ([`at`]), so that one more may be put at the end, or
/// anywhere but among the three hashrates, and nothing is to be numbered anew.
pub const FIELDS: [&str; 8] = [
    "hashrate_10min",
    "hashrate_1hour",
    "hashrate_24hour",
    "last_active",
    "reject_rate",
    "worker_id",
    "worker_name",
    "worker_status",
];

/// Where a name stands among them.
const fn at(name: &str) -> usize {
    place(&FIELDS, name)
}

/// Where the identity of a row stands among them.
pub const ID: usize = at("worker_id");

/// One row.
pub fn read(
    row: &Object<'_, { FIELDS.len() }>,
    unit: RejectRateUnit,
    anomalies: &mut Anomalies,
) -> Option<(Id, Worker)> {
    let id = row.identity(ID, anomalies, Id::new)?;
    let name = row.read(const { at("worker_name") }, anomalies, |text| Some(printable(text)));
    let mut above_one = false;
    let reject_ratio = row.read(const { at("reject_rate") }, anomalies, |text| {
        let rate = figure(text)?;
        above_one = rate > 1.0;
        Ratio::new(match unit {
            RejectRateUnit::Ratio => rate,
            RejectRateUnit::Percent => rate / 100.0,
        })
    });
    anomalies.reject_rate_above_one |= above_one;
    let worker = Worker {
        id: id.clone(),
        name: name.unwrap_or_default(),
        hashrate: windows(row, const { at("hashrate_10min") }, anomalies),
        reject_ratio,
        // PHP's word for "never" is 0.
        last_active: row
            .read(const { at("last_active") }, anomalies, |text| {
                if count(text) == Some(0) { Some(None) } else { time(text).map(Some) }
            })
            .flatten(),
        active: row.read(const { at("worker_status") }, anomalies, status),
    };
    Some((id, worker))
}
