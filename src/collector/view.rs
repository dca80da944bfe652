//! What a scrape sees: everything that is known and not stale, at one moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{Timestamp, civil::Date, tz::Offset};

use crate::{
    config::{Config, Polling},
    history::{Income, Payments, pool_day},
    model::{AccountName, Currency, Endpoint, Hashrate, PoolStats, Summary, Target},
    process,
    store::{Failure, Outcome, SlotState, Store},
    telemetry::{Figures, Telemetry},
    wire::{Worker, Workers},
};

/// Whose series are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// Everything but the process' own figures, for a program that has its own under the same names.
    WithoutProcess,
    /// Only what belongs to these accounts.
    Accounts(BTreeSet<AccountName>),
}

/// A moment, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// For the calendar.
    pub wall: Timestamp,
    /// For the age of answers.
    pub monotonic: Instant,
}

/// Everything that is known at one moment.
#[derive(Debug)]
pub struct View {
    /// The accounts of this process that are in scope.
    pub accounts: Vec<AccountView>,
    /// Their currencies.
    pub targets: Vec<TargetView>,
    /// What belongs to no account, unless the scope leaves it out.
    pub common: Option<Common>,
    /// The exporter's own figures, unless the scope leaves them out.
    pub own: Option<Own>,
    /// Until when all of it is fresh; `None`: nothing of it goes stale.
    pub until: Option<Instant>,
    /// The pool's calendar day.
    pub today: Date,
    /// When the pool's day begins.
    pub day_utc_offset: Offset,
}

/// What the configuration says of one account; nothing of its key.
#[derive(Debug)]
pub struct AccountView {
    /// Its name.
    pub name: AccountName,
    /// Labels of `btcpool_account_info`, by name.
    pub labels: BTreeMap<String, String>,
    /// What it ought to deliver.
    pub expected_hashrate: BTreeMap<Currency, Hashrate>,
}

/// What belongs to no account.
#[derive(Debug)]
pub struct Common {
    /// `main_stat`.
    pub pool: Option<Arc<PoolStats>>,
    /// How its polling goes.
    pub poll: Poll,
    /// What a block of each coin pays, in coins.
    pub block_subsidies: BTreeMap<Currency, f64>,
}

/// What is new at each moment, whatever the pool says.
#[derive(Debug)]
pub struct Own {
    /// What this program did.
    pub figures: Figures,
    /// The process, unless the scope leaves it out.
    pub process: Option<process::Figures>,
}

impl View {
    /// Every worker that is exported, and whose it is.
    pub fn workers(&self) -> impl Iterator<Item = (&TargetView, &Worker)> {
        self.targets.iter().flat_map(move |target| target.exported().iter().map(move |worker| (target, worker)))
    }
}

impl Poll {
    /// Why the last poll failed, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        self.last.as_ref()?.error.as_ref()
    }
}

impl TargetView {
    /// The labels that name it.
    pub fn labels(&self) -> [(&'static str, &str); 2] {
        [("account", self.target.account.as_str()), ("currency", self.target.currency.as_str())]
    }

    /// Its workers that are exported. The oldest ids stay, so that which are cut does not change from poll to poll.
    pub fn exported(&self) -> &[Worker] {
        let list = self.workers.as_ref().map_or(&[][..], |workers| &workers.list);
        &list[..list.len().min(self.workers_max)]
    }
}

impl Own {
    /// The figures now.
    pub fn read(telemetry: &Telemetry) -> Self {
        Self { figures: telemetry.snapshot(), process: Some(process::Figures::read()) }
    }
}

/// One currency of one account.
#[derive(Debug)]
pub struct TargetView {
    /// Which.
    pub target: Target,
    /// `summary_data`.
    pub summary: Option<Arc<Summary>>,
    /// `profit_history`.
    pub income: Option<Arc<Income>>,
    /// `payment_history`.
    pub payments: Option<Arc<Payments>>,
    /// `workers`.
    pub workers: Option<Arc<Workers>>,
    /// How many of the workers are exported at the most.
    pub workers_max: usize,
    /// How the polling of each endpoint goes.
    pub polls: Vec<Poll>,
}

/// How the polling of one slot goes.
#[derive(Debug)]
pub struct Poll {
    /// Which endpoint.
    pub endpoint: Endpoint,
    /// Polls that ended.
    pub polls: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// When the last good answer came.
    pub last_success: Option<Timestamp>,
    /// How old that answer is, whatever was done to the wall's clock meanwhile.
    pub age: Option<Duration>,
    /// How old it may become.
    pub stale_after: Duration,
    /// Whether it is older, and so is not shown.
    pub is_stale: bool,
    /// How the last poll ended.
    pub last: Option<Outcome>,
    /// How long ago the last failure was, also when polls succeed again.
    pub last_failure: Option<(Duration, Failure)>,
}

impl View {
    /// One target with nothing but its histories, as it stood on a day of the pool: rows of that day and of later ones
    /// do not count for what is over.
    pub fn past(
        target: Target,
        income: Option<Arc<Income>>,
        payments: Option<Arc<Payments>>,
        today: Date,
        day_utc_offset: Offset,
    ) -> Self {
        let (summary, workers) = (None, None);
        let target = TargetView { target, summary, income, payments, workers, workers_max: 0, polls: Vec::new() };
        Self {
            accounts: Vec::new(),
            targets: vec![target],
            common: None,
            own: None,
            until: None,
            today,
            day_utc_offset,
        }
    }

    /// Everything that is to be told, as seen at a moment.
    pub fn take(config: &Config, store: &Store, telemetry: &Telemetry, scope: &Scope, now: Moment) -> Self {
        let own = match scope {
            Scope::All => Some(Own::read(telemetry)),
            Scope::WithoutProcess => Some(Own { figures: telemetry.snapshot(), process: None }),
            Scope::Accounts(_) => None,
        };
        Self { own, ..Self::known(config, store, scope, now) }
    }

    /// The same without the exporter's own figures: what does not change before a poll ends, or `until`, or the pool's
    /// day.
    pub fn known(config: &Config, store: &Store, scope: &Scope, now: Moment) -> Self {
        // Only those in scope are looked at: there may be thousands of others.
        let accounts: Vec<_> = match scope {
            Scope::Accounts(names) => names.iter().filter_map(|name| config.accounts.get_key_value(name)).collect(),
            Scope::All | Scope::WithoutProcess => config.accounts.iter().collect(),
        };
        let mut look = Look { polling: config.polling, now, until: None };
        let mut targets = Vec::new();
        for (target, account) in accounts.iter().flat_map(|(name, account)| account.targets(name)) {
            let Some(slots) = store.targets.get(&target) else { continue };
            let mut polls = Vec::with_capacity(4);
            targets.push(TargetView {
                summary: look.slot(Endpoint::SummaryData, slots.summary.snapshot(), &mut polls),
                income: look.slot(Endpoint::ProfitHistory, slots.income.snapshot(), &mut polls),
                payments: look.slot(Endpoint::PaymentHistory, slots.payments.snapshot(), &mut polls),
                workers: (slots.workers.as_ref())
                    .and_then(|slot| look.slot(Endpoint::Workers, slot.snapshot(), &mut polls)),
                workers_max: account.workers_max.unwrap_or(0),
                target,
                polls,
            });
        }
        let mut common = || {
            let mut polls = Vec::with_capacity(1);
            let pool = look.slot(Endpoint::MainStat, store.pool.snapshot(), &mut polls);
            let block_subsidies = config.block_subsidies.clone();
            polls.pop().map(|poll| Common { pool, poll, block_subsidies })
        };
        let common = if matches!(scope, Scope::Accounts(_)) { None } else { common() };
        Self {
            accounts: accounts
                .into_iter()
                .map(|(name, account)| AccountView {
                    name: name.clone(),
                    labels: account.labels.clone(),
                    expected_hashrate: account.expected_hashrate.clone(),
                })
                .collect(),
            targets,
            common,
            own: None,
            until: look.until,
            today: pool_day(now.wall, config.api.day_utc_offset),
            day_utc_offset: config.api.day_utc_offset,
        }
    }
}

/// How slots are looked at.
struct Look {
    polling: Polling,
    now: Moment,
    /// The first of the answers that were fresh goes stale then.
    until: Option<Instant>,
}

impl Look {
    /// A slot's answer if it is fresh; how its polling goes is added to `polls`.
    fn slot<T>(&mut self, endpoint: Endpoint, state: SlotState<T>, polls: &mut Vec<Poll>) -> Option<Arc<T>> {
        let stale_after = self.polling.of(endpoint).stale_after;
        let fresh = state.fresh(self.now.monotonic, stale_after).cloned();
        if let (Some(_), Some(good)) = (&fresh, &state.good) {
            let until = good.since.checked_add(stale_after);
            self.until = [self.until, until].into_iter().flatten().min();
        }
        let since = |at| self.now.monotonic.saturating_duration_since(at);
        polls.push(Poll {
            endpoint,
            polls: state.polls,
            failures: state.failures,
            last_success: state.good.as_ref().map(|good| good.at),
            age: state.good.as_ref().map(|good| since(good.since)),
            stale_after,
            is_stale: state.good.is_some() && fresh.is_none(),
            last: state.last,
            last_failure: state.last_failure.map(|(at, failure)| (since(at), failure)),
        });
        fresh
    }
}
