//! Which faults the pool has when: in each round every fault of the catalogue once, at an endpoint, an account and a
//! moment of chance, for some seconds, several at a time.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::support::{
    catalogue::{CATALOGUE, Entry, Kind, Scope},
    pool::faulty::{Fault, FaultyPool, Where},
};

/// How long a fault lasts, in milliseconds. A poll every second or every three meets it then.
const LASTS: std::ops::Range<u64> = 2000..5000;

/// The fault that is a date of the real clock.
const A_DATE: &str = "429, a date";

/// A fault, made.
struct Ready {
    entry: &'static Entry,
    fault: Fault,
}

struct Planned {
    from: Instant,
    until: Instant,
    place: Where,
    fault: usize,
}

/// The faults of a run.
pub struct Storm {
    rng: Rng,
    accounts: Vec<String>,
    ready: Vec<Ready>,
    left_out: Vec<&'static str>,
    planned: Vec<Planned>,
    /// Those of the planned ones that the pool has now.
    present: Vec<usize>,
    begun: usize,
}

impl Storm {
    /// Faults that follow from a seed. The authority is of a place where nobody is to come.
    pub fn new(seed: u64, elsewhere: &str, accounts: impl IntoIterator<Item = String>) -> Self {
        let (mut ready, mut left_out) = (Vec::new(), Vec::new());
        for entry in CATALOGUE {
            match entry.kind {
                Kind::Answer(fault) if matches!(entry.scope, Scope::Slot | Scope::Pause) && entry.name != A_DATE => {
                    ready.push(Ready { entry, fault: fault(elsewhere) });
                }
                // The whole pool is away, or behind TLS, or wants to be left alone for five minutes of real time: so long
                // is it until a date of the real clock, too, for who has the simulated one.
                _ => left_out.push(entry.name),
            }
        }
        let accounts = accounts.into_iter().collect();
        let rng = Rng::with_seed(seed);
        Self { rng, accounts, ready, left_out, planned: Vec::new(), present: Vec::new(), begun: 0 }
    }

    /// How many faults there are.
    pub fn faults(&self) -> usize {
        self.ready.len()
    }

    /// The names of those that there are not.
    pub fn left_out(&self) -> &[&'static str] {
        &self.left_out
    }

    /// How many were begun.
    pub fn begun(&self) -> usize {
        self.begun
    }

    /// Plans a round. Each complaint of the pool halves the exporter's rate for a minute, so that a round is with
    /// complaints or without; those that there are come together.
    pub fn begin_round(&mut self, lasts: Duration, with_complaints: bool) {
        let begin = Instant::now();
        let milliseconds = u64::try_from(lasts.as_millis()).unwrap();
        self.planned.clear();
        self.present.clear();
        for (index, ready) in self.ready.iter().enumerate() {
            let is_complaint = ready.entry.scope == Scope::Pause;
            if is_complaint && !with_complaints {
                continue;
            }
            let latest = if is_complaint { LASTS.start } else { milliseconds.saturating_sub(LASTS.end) };
            let from = begin + Duration::from_millis(self.rng.u64(0..latest.max(1)));
            let until = from + Duration::from_millis(self.rng.u64(LASTS));
            let endpoint = ready.entry.at[self.rng.usize(0..ready.entry.at.len())];
            let account = &self.accounts[self.rng.usize(0..self.accounts.len())];
            let place = Where::at(endpoint, Some(account.as_str()).filter(|_| endpoint != "main_stat"));
            self.planned.push(Planned { from, until, place, fault: index });
        }
    }

    /// Gives the pool the faults of this moment.
    pub fn go_on(&mut self, pool: &FaultyPool) {
        let now = Instant::now();
        let planned = self.planned.iter().enumerate();
        let present: Vec<_> = planned.filter(|(_, one)| one.from <= now && now < one.until).map(|(n, _)| n).collect();
        if present == self.present {
            return;
        }
        pool.heal();
        for &index in &present {
            let Planned { place, fault, .. } = &self.planned[index];
            pool.inject(place.clone(), self.ready[*fault].fault.clone());
        }
        self.begun += present.iter().filter(|index| !self.present.contains(index)).count();
        self.present = present;
    }
}
