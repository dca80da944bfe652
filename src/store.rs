//! The latest of everything: a slot for each endpoint of each account and currency.
//!
//! A slot keeps its last good answer whatever the other slots do, and whatever comes after it; whether the answer is
//! still worth showing is judged by who reads it, at the moment of reading.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::{
    config::Config,
    history::{Income, Payments},
    model::{PoolStats, Reason, Summary, Target},
    wire::Workers,
};

/// Every slot of a configuration.
#[derive(Debug)]
pub struct Store {
    /// `main_stat`, which is nobody's in particular.
    pub pool: Arc<Slot<PoolStats>>,
    /// The others, by whose they are.
    pub targets: BTreeMap<Target, Arc<TargetSlots>>,
    /// What was noted in any of them.
    pub changes: Changes,
}

/// Counts what is noted in slots.
#[derive(Debug, Clone, Default)]
pub struct Changes(watch::Sender<u64>);

impl Changes {
    /// How many there were.
    pub fn count(&self) -> u64 {
        *self.0.borrow()
    }

    /// Tells when there is one more.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }

    fn note(&self) {
        self.0.send_modify(|count| *count += 1);
    }
}

/// The slots of one currency of one account.
#[derive(Debug)]
pub struct TargetSlots {
    /// `summary_data`.
    pub summary: Slot<Summary>,
    /// `profit_history`.
    pub income: Slot<Income>,
    /// `payment_history`.
    pub payments: Slot<Payments>,
    /// `workers`; absent when the configuration does not want them.
    pub workers: Option<Slot<Workers>>,
}

impl Store {
    /// Empty slots for what is polled under a configuration.
    pub fn new(config: &Config) -> Self {
        Self::counting(config, Changes::default())
    }

    fn counting(config: &Config, changes: Changes) -> Self {
        let targets = config
            .targets()
            .map(|(target, account)| (target, Arc::new(TargetSlots::new(account.workers_max.is_some(), &changes))));
        Self { pool: Arc::new(Slot::new(&changes)), targets: targets.collect(), changes }
    }

    /// Slots for another configuration: those whose answers would be the same under both are carried over.
    pub fn successor(&self, before: &Config, config: &Config) -> Self {
        let fresh = Self::counting(config, self.changes.clone());
        let source = |config: &Config| {
            let api = &config.api;
            (api.base_url.clone(), api.reject_rate_unit, api.day_utc_offset)
        };
        if source(before) != source(config) {
            return fresh;
        }
        let key = |config: &Config, target: &Target| config.accounts.get(&target.account).map(|own| own.key.clone());
        let targets = fresh.targets.into_iter().map(|(target, slots)| {
            let known = self.targets.get(&target).filter(|known| {
                // Another key may be another account's.
                key(before, &target) == key(config, &target) && known.workers.is_some() == slots.workers.is_some()
            });
            let slots = known.cloned().unwrap_or(slots);
            (target, slots)
        });
        Self { pool: self.pool.clone(), targets: targets.collect(), changes: fresh.changes }
    }

    /// How the last polls ended.
    pub fn tally(&self) -> Tally {
        let targets = self.targets.values().flat_map(|slots| {
            let workers = slots.workers.as_ref().map(Slot::went_well);
            [slots.summary.went_well(), slots.income.went_well(), slots.payments.went_well()].into_iter().chain(workers)
        });
        let mut tally = Tally::default();
        for well in targets.chain([self.pool.went_well()]) {
            match well {
                Some(true) => tally.good += 1,
                Some(false) => tally.failed += 1,
                None => tally.waiting += 1,
            }
        }
        tally
    }
}

/// How the last polls of the slots ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Well.
    pub good: usize,
    /// Not well.
    pub failed: usize,
    /// None has ended yet.
    pub waiting: usize,
}

/// What is known of one endpoint of one account and currency.
#[derive(Debug)]
pub struct Slot<T> {
    state: Mutex<SlotState<T>>,
    changes: Changes,
}

/// A slot at one moment.
#[derive(Debug)]
pub struct SlotState<T> {
    /// The last good answer.
    pub good: Option<Good<T>>,
    /// How the last poll ended; `None` before the first one.
    pub last: Option<Outcome>,
    /// The last failure, also when polls succeed again.
    pub last_failure: Option<(Instant, Failure)>,
    /// Polls that ended.
    pub polls: u64,
    /// Those of them that failed.
    pub failures: u64,
}

/// A good answer and when it came.
#[derive(Debug)]
pub struct Good<T> {
    /// The answer; shared, so that a reader holds it while the next one is put in its place.
    pub value: Arc<T>,
    /// When, for people and for Prometheus.
    pub at: Timestamp,
    /// When, for reckoning its age.
    pub since: Instant,
}

/// How a poll ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// When it ended.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// Why it failed; `None` when it did not.
    pub error: Option<Failure>,
}

/// Why a poll failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The kind.
    pub reason: Reason,
    /// A sentence for people.
    pub message: String,
}

impl<T> Clone for SlotState<T> {
    fn clone(&self) -> Self {
        let good = self.good.as_ref();
        Self {
            good: good.map(|good| Good { value: good.value.clone(), at: good.at, since: good.since }),
            last: self.last.clone(),
            last_failure: self.last_failure.clone(),
            polls: self.polls,
            failures: self.failures,
        }
    }
}

impl<T> SlotState<T> {
    /// The last good answer, unless it is older than `stale_after`.
    pub fn fresh(&self, now: Instant, stale_after: Duration) -> Option<&Arc<T>> {
        let good = self.good.as_ref()?;
        (now.saturating_duration_since(good.since) < stale_after).then_some(&good.value)
    }
}

impl<T> Slot<T> {
    /// An empty slot, whose changes are counted there.
    fn new(changes: &Changes) -> Self {
        let state = SlotState { good: None, last: None, last_failure: None, polls: 0, failures: 0 };
        Self { state: Mutex::new(state), changes: changes.clone() }
    }

    /// Notes how a poll ended; a failure leaves the last good answer where it is. Tells how the poll before it ended.
    pub fn record(&self, at: Timestamp, took: Duration, result: Result<T, Failure>) -> Option<Outcome> {
        let mut state = self.lock();
        state.polls += 1;
        let error = match result {
            Ok(value) => {
                state.good = Some(Good { value: Arc::new(value), at, since: Instant::now() });
                None
            }
            Err(failure) => {
                state.failures += 1;
                state.last_failure = Some((Instant::now(), failure.clone()));
                Some(failure)
            }
        };
        let before = state.last.replace(Outcome { at, took, error });
        // While nobody can see it yet: whoever has seen it has it counted, and whoever counted before looking sees all that
        // is counted.
        self.changes.note();
        drop(state);
        before
    }

    /// The slot as it is now.
    pub fn snapshot(&self) -> SlotState<T> {
        self.lock().clone()
    }

    /// Whether its last poll succeeded; `None` before the first one.
    fn went_well(&self) -> Option<bool> {
        self.lock().last.as_ref().map(|last| last.error.is_none())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, SlotState<T>> {
        // Nothing between lock and unlock can panic, so a poisoned lock holds a sound state all the same.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TargetSlots {
    fn new(workers: bool, changes: &Changes) -> Self {
        let workers = workers.then(|| Slot::new(changes));
        Self { summary: Slot::new(changes), income: Slot::new(changes), payments: Slot::new(changes), workers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_are_counted_by_how_they_ended() {
        let accounts = "accounts: { farm: { api_key: 0a1b2c } }";
        let config = Config::from_yaml("test", accounts, &Default::default()).unwrap();
        let store = Store::new(&config);
        assert_eq!(store.tally(), Tally { good: 0, failed: 0, waiting: 5 });
        let failure = || Failure { reason: Reason::Timeout, message: String::new() };
        let (at, took) = (Timestamp::UNIX_EPOCH, Duration::ZERO);
        store.pool.record(at, took, Ok(PoolStats::default()));
        let slots = &store.targets.values().next().unwrap();
        slots.summary.record(at, took, Err(failure()));
        slots.income.record(at, took, Err(failure()));
        slots.payments.record(at, took, Ok(Payments::default()));
        assert_eq!(store.tally(), Tally { good: 2, failed: 2, waiting: 1 });
        slots.workers.as_ref().unwrap().record(at, took, Ok(Workers::default()));
        slots.income.record(at, took, Ok(Income::default()));
        assert_eq!(store.tally(), Tally { good: 4, failed: 1, waiting: 0 });
    }
}
