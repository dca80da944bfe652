//! Who mines at which moment: a function of the simulated time, which can be made to stand still.

use std::{
    collections::BTreeSet,
    sync::{Mutex, OnceLock, PoisonError},
};

use btcpool_exporter::clock::Clock;
use serde_json::{Value, json};

use crate::support::pool::faulty::{Asked, Good};

const HOUR: i64 = 3600;

/// The ids that an account has for its own.
const IDS_OF_ACCOUNT: u64 = 10_000_000;

/// The ids that a place in an account's racks has for its own: as many machines may stand there one after the other.
const IDS_OF_PLACE: u64 = 10_000;

/// A worker as it must be shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shown {
    pub account: String,
    pub id: u64,
    pub name: String,
}

/// Whose workers come and go.
pub struct Churn {
    clock: Clock,
    began: i64,
    accounts: Vec<(String, usize)>,
    frozen: Mutex<Option<i64>>,
    /// A row as the simulated pool has it, with every field that there is.
    sample: OnceLock<Value>,
}

impl Churn {
    /// Accounts by name and number of places.
    pub fn new(clock: Clock, accounts: impl IntoIterator<Item = (String, usize)>) -> Self {
        let began = clock.now().as_second();
        Self {
            clock,
            began,
            accounts: accounts.into_iter().collect(),
            frozen: Mutex::default(),
            sample: OnceLock::new(),
        }
    }

    /// Nobody comes or goes from now on.
    pub fn freeze(&self) {
        let now = self.clock.now().as_second();
        *self.frozen.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// Everything is again as the clock has it.
    pub fn thaw(&self) {
        *self.frozen.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn now(&self) -> i64 {
        let frozen = *self.frozen.lock().unwrap_or_else(PoisonError::into_inner);
        frozen.unwrap_or_else(|| self.clock.now().as_second())
    }

    /// Everybody who is there, of the accounts that are wanted.
    pub fn workers(&self, wanted: impl Fn(&str) -> bool) -> BTreeSet<Shown> {
        let accounts = (0..).zip(&self.accounts).filter(|(_, (account, _))| wanted(account));
        accounts
            .flat_map(|(index, (account, _))| {
                self.list(index).into_iter().map(|(id, name)| Shown { account: account.clone(), id, name })
            })
            .collect()
    }

    /// An account's list: newest id first, as the pool has it.
    fn list(&self, account: usize) -> Vec<(u64, String)> {
        let elapsed = self.now() - self.began;
        let mut workers: Vec<_> =
            (0..self.accounts[account].1).filter_map(|place| worker(account, place, elapsed)).collect();
        workers.sort_unstable_by(|a, b| b.cmp(a));
        workers
    }

    /// Puts the list of that moment into the pool's answer.
    pub fn rewrite(&self, asked: &Asked, offset: Option<usize>, good: Good) -> Good {
        let account = self.accounts.iter().position(|(name, _)| Some(name) == asked.account.as_ref());
        let Some(account) = account.filter(|_| asked.endpoint == "workers") else { return good };
        let query = asked.target.split_once('?').map_or("", |(_, query)| query);
        let limit = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "limit");
        let limit = limit.and_then(|(_, limit)| limit.parse().ok()).unwrap_or(50);
        let offset = offset.unwrap_or(0);
        let list = self.list(account);
        let now = self.now();
        // The first that is asked for is the beginning of a list, where somebody always is.
        let sample = self.sample.get_or_init(|| good.json()["data"][0].clone());
        let rows: Vec<_> = list.iter().skip(offset).take(limit).map(|(id, name)| row(sample, *id, name, now)).collect();
        let count = rows.len();
        let body = json!({
            "status": "OK", "data": rows, "count": count, "offset": offset, "limit": limit, "total": list.len(),
        });
        Good { status: 200, body: body.to_string().into_bytes() }
    }
}

/// Who stands at a place so many seconds after the beginning.
fn worker(account: usize, place: usize, elapsed: i64) -> Option<(u64, String)> {
    // Periods of two to eight hours that begin anywhere.
    let spread = (account as i64 * 1009 + place as i64) * 7919;
    let period = 2 * HOUR + spread.rem_euclid(6 * HOUR);
    let at = elapsed + spread * 31 % period;
    let (turn, within) = (at.div_euclid(period) as u64, at.rem_euclid(period));
    let id = (account as u64 + 1) * IDS_OF_ACCOUNT + place as u64 * IDS_OF_PLACE;
    let name = format!("rack{:03}.{:02}", place / 10, place % 10);
    match place % 3 {
        // Is taken away for a quarter of the time, and comes back.
        0 => (within < period * 3 / 4).then_some((id, name)),
        // Is replaced: the same name, another machine.
        1 => Some((id + turn % IDS_OF_PLACE, name)),
        // Is given another name each time.
        _ => Some((id, format!("{name}-{turn}"))),
    }
}

/// A row with the figures of another, but for those that one would look at.
fn row(sample: &Value, id: u64, name: &str, now: i64) -> Value {
    let hashrate = (100 + id % 41) * 1_000_000_000_000;
    let mut row = sample.clone();
    for (field, value) in [
        ("hashrate_10min", hashrate.to_string()),
        ("hashrate_1hour", (hashrate - 1_000_000).to_string()),
        ("hashrate_24hour", (hashrate - 2_000_000).to_string()),
        ("last_active", (now - now.rem_euclid(300)).to_string()),
        ("worker_id", id.to_string()),
        ("worker_name", name.to_owned()),
        ("worker_status", "1".to_owned()),
    ] {
        row[field] = value.into();
    }
    row
}
