//! What stands in each part of the page.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::{
    BudgetUse, Case, Cell, Coin, ENDPOINTS, Note, Page, Past, Row, SlotCell, Subject, Sum, TroubleArticle, UNKNOWN,
    Wanted,
    reasons::Explanation,
    shown,
    state::{Slot, Trouble, has_trouble},
    words::{Language, Words},
};
use crate::{
    collector::{AccountView, Poll, TargetView},
    history::IncomeDay,
    model::{Coins, Currency, Endpoint, Hashrate, Reason},
};

/// Rows of the table of accounts on one page.
const ROWS: usize = 100;

/// Cases of one reason that are shown.
const CASES: usize = 20;

/// Errors that are over that are shown.
const PAST: usize = 10;

/// The page in the making.
pub struct Draft<'a> {
    /// What it is about.
    pub subject: &'a Subject<'a>,
    /// Its language.
    pub language: Language,
    /// The words of that.
    pub w: &'static Words,
}

impl Draft<'_> {
    /// The columns of figures, of the sums and of the accounts alike.
    pub const fn columns(&self) -> [&'static str; 7] {
        let w = self.w;
        [w.hashrate, w.active, w.inactive, w.listed, w.balance, w.today, w.last_day]
    }

    /// What is not about one account.
    pub fn notes(&self) -> Vec<Note> {
        let Subject { config, figures, usage, demand, .. } = self.subject;
        let mut notes = Vec::new();
        if !figures.reload_succeeded {
            notes.push(self.w.reload_failed.to_owned());
        }
        notes.extend(usage.pause_left.map(|left| self.language.paused(left)));
        if usage.slowed {
            notes.push(self.language.slowed(usage.per_second));
        }
        // `total` is often off, and counted by itself.
        let anomalies = figures.anomalies.iter().filter(|((_, field), count)| **count > 0 && *field != "total");
        let anomalies: Vec<_> =
            anomalies.map(|((endpoint, field), count)| format!("{endpoint} {field} ({count})")).collect();
        if !anomalies.is_empty() {
            notes.push(self.language.anomalies(&anomalies.join(", ")));
        }
        let own = notes.into_iter().map(|text| Note { text, is_english: false });
        let logged = demand.complaint(config).into_iter().chain(config.warnings.iter().cloned());
        own.chain(logged.map(|text| Note { text, is_english: true })).collect()
    }

    /// What is wrong, by kind; what concerns most comes first.
    pub fn troubles(&self, slots: &[Slot<'_>], wanted: &Wanted) -> Vec<TroubleArticle> {
        let mut by_reason = BTreeMap::<Option<Reason>, Vec<_>>::new();
        for slot in slots {
            if let Some(trouble) = slot.trouble() {
                by_reason.entry(trouble.reason()).or_default().push((*slot, trouble));
            }
        }
        let mut by_reason: Vec<_> = by_reason.into_iter().collect();
        // Of failures; they may well be why other data are old.
        by_reason.sort_by_key(|(reason, slots)| (reason.is_none(), std::cmp::Reverse(slots.len())));
        by_reason.iter().map(|(reason, slots)| self.trouble(*reason, slots, wanted)).collect()
    }

    fn trouble(&self, reason: Option<Reason>, slots: &[(Slot<'_>, Trouble<'_>)], wanted: &Wanted) -> TroubleArticle {
        let mut cases = self.cases(slots);
        let mut accounts: Vec<_> =
            slots.iter().filter_map(|(slot, _)| slot.target.map(|target| &target.target.account)).collect();
        accounts.dedup();
        let more = cases.len().saturating_sub(CASES);
        cases.truncate(CASES);
        for case in &mut cases {
            case.last_success = case.age.map_or_else(|| self.w.never.to_owned(), |age| self.language.ago(age));
        }
        let usage = &self.subject.usage;
        let asked_to_wait = usage.slowed || usage.pause_left.is_some();
        let Explanation { title, meaning, advice } =
            reason.map_or_else(|| self.language.explain_old(asked_to_wait), |reason| self.language.explain(reason));
        let all = Wanted { filter: String::new(), only_trouble: true, ..*wanted };
        TroubleArticle {
            title,
            id: reason.map_or("old", Reason::as_str),
            reason,
            extent: self.language.extent(slots.len(), accounts.len()),
            meaning: marked(meaning),
            advice: marked(advice),
            cases,
            more: if more > 0 { self.language.more(more) } else { String::new() },
            more_query: all.query(1, wanted.chosen.then_some(wanted.language)),
        }
    }

    /// The slots of one trouble, those of one target that say the same together.
    fn cases(&self, slots: &[(Slot<'_>, Trouble<'_>)]) -> Vec<Case> {
        let mut cases: Vec<Case> = Vec::new();
        for (slot, trouble) in slots {
            let message = match trouble {
                Trouble::Fails(failure) => failure.message.clone(),
                Trouble::Old => self.language.older_than(&self.language.span(slot.poll.stale_after)),
            };
            let whose = self.whose(slot);
            match cases.last_mut() {
                // The slots of one target follow each other.
                Some(case)
                    if case.whose == whose
                        && case.message == message
                        && case.age.is_some() == slot.poll.age.is_some() =>
                {
                    case.endpoints = format!("{}, {}", case.endpoints, slot.poll.endpoint);
                    case.age = case.age.zip(slot.poll.age).map(|(one, other)| one.max(other));
                }
                _ => cases.push(Case {
                    whose,
                    endpoints: slot.poll.endpoint.to_string(),
                    age: slot.poll.age,
                    last_success: String::new(),
                    message,
                }),
            }
        }
        cases
    }

    fn whose(&self, slot: &Slot<'_>) -> String {
        slot.target.map_or_else(|| self.w.everybody.to_owned(), |target| target.target.to_string())
    }

    pub fn counts(&self) -> String {
        let view = self.subject.view;
        let known: Vec<_> = view.targets.iter().filter_map(|target| target.workers.as_ref()).collect();
        let workers = known.iter().map(|workers| workers.listed()).sum::<u64>();
        let workers = shown((!known.is_empty()).then_some(workers));
        let lists = view.targets.iter().filter(|target| has_list(target)).count();
        self.language.counts(view.accounts.len(), &workers, known.len(), lists)
    }

    /// A line for each currency.
    pub fn sums(&self) -> Vec<Sum> {
        let view = self.subject.view;
        let of =
            |currency| -> Vec<_> { view.targets.iter().filter(|target| target.target.currency == currency).collect() };
        let currencies = Currency::ALL.into_iter().map(|currency| (currency, of(currency)));
        let sums = currencies.filter(|(_, targets)| !targets.is_empty()).map(|(currency, targets)| {
            let hashrates: Vec<_> = (targets.iter())
                .filter_map(|target| target.summary.as_ref()?.hashrate.one_hour.map(Hashrate::as_f64))
                .collect();
            let count = |of: fn(&TargetView) -> Option<u64>, all| {
                let known: Vec<_> = targets.iter().filter_map(|target| of(target)).collect();
                self.sum(known.len(), all, known.iter().sum::<u64>())
            };
            let with_lists = targets.iter().filter(|target| has_list(target)).count();
            let coins = |of: &dyn Fn(&TargetView) -> Option<Coins>| {
                let known: Vec<_> = targets.iter().filter_map(|target| of(target)).collect();
                let sum = known.iter().try_fold(Coins::default(), |sum, &coins| sum.checked_add(coins));
                self.sum(known.len(), targets.len(), shown(sum))
            };
            let cells = [
                self.sum(hashrates.len(), targets.len(), shown(Hashrate::new(hashrates.iter().sum()))),
                count(|target| target.summary.as_ref()?.active_workers, targets.len()),
                count(|target| target.summary.as_ref()?.inactive_workers, targets.len()),
                count(|target| Some(target.workers.as_ref()?.listed()), with_lists),
                coins(&|target| target.summary.as_ref()?.balance),
                coins(&|target| target.income.as_ref()?.today(view.today)?.total),
                // Days are not mixed: where the newest is an older one, yesterday's is not known.
                coins(&|target| {
                    let day = target.income.as_ref()?.last_day(view.today)?;
                    if is_yesterday(day.date, view.today) { day.total } else { None }
                }),
            ];
            let cells = self.columns().into_iter().zip(cells).collect();
            Sum { currency, accounts: targets.len(), cells }
        });
        sums.collect()
    }

    /// A sum of what is known, which says so when something is not.
    fn sum(&self, known: usize, all: usize, sum: impl std::fmt::Display) -> Cell {
        match known {
            0 => Cell { value: UNKNOWN.to_owned(), ..Cell::default() },
            _ if known < all => {
                Cell { value: sum.to_string(), note: self.language.of_accounts(known, all), is_bad: false }
            }
            _ => Cell { value: sum.to_string(), ..Cell::default() },
        }
    }

    /// The rows of the table of accounts, which they are, and its other pages.
    pub fn table(&self, wanted: &Wanted) -> (Vec<Row>, String, Vec<Page>) {
        let view = self.subject.view;
        let accounts: BTreeMap<_, _> = view.accounts.iter().map(|account| (&account.name, account)).collect();
        let account = |target: &TargetView| accounts.get(&target.target.account).copied();
        let filter = wanted.filter.to_lowercase();
        let is_wanted = |target: &&TargetView| {
            let mut texts = vec![target.target.account.to_string(), target.target.currency.to_string()];
            texts.extend(labels(account(target)));
            let texts = texts.join("\n").to_lowercase();
            filter.split_whitespace().all(|word| texts.contains(word)) && (!wanted.only_trouble || has_trouble(target))
        };
        let mut found: Vec<_> = view.targets.iter().filter(is_wanted).collect();
        // Trouble first; within it the order of the accounts.
        found.sort_by_key(|target| !has_trouble(target));
        let last_page = found.len().div_ceil(ROWS).max(1);
        let page = wanted.page.min(last_page);
        let first = (page - 1) * ROWS;
        let rows: Vec<_> = (found.iter().skip(first).take(ROWS))
            .map(|target| {
                let account = account(target);
                let expected = account.and_then(|account| account.expected_hashrate.get(&target.target.currency));
                self.row(target, labels(account).collect::<Vec<_>>().join(", "), expected.copied())
            })
            .collect();
        let extent = match (view.targets.len(), self.subject.config.accounts_in_all_shards) {
            (0, 0) => self.w.no_accounts.to_owned(),
            (0, configured) => self.language.other_shards(configured) + ".",
            (all, _) => self.language.shown(first + 1, first + rows.len(), found.len(), all),
        };
        let chosen = wanted.chosen.then_some(wanted.language);
        // A link to the first page has a query, too: an empty one would be no link.
        let query = |number| {
            let query = wanted.query(number, chosen);
            if query.is_empty() { "page=1".to_owned() } else { query }
        };
        let pages = (1..=last_page)
            .map(|number| Page { number, query: if number == page { String::new() } else { query(number) } });
        (rows, extent, if last_page > 1 { pages.collect() } else { Vec::new() })
    }

    fn row(&self, target: &TargetView, labels: String, expected: Option<Hashrate>) -> Row {
        let view = self.subject.view;
        let (summary, income) = (target.summary.as_deref(), target.income.as_deref());
        let plain = |value: String| Cell { value, ..Cell::default() };
        let hashrate = summary.and_then(|summary| summary.hashrate.one_hour);
        let of_expected = hashrate.zip(expected).map(|(is, expected)| {
            self.language.of_expected(is.as_f64() / expected.as_f64() * 100.0, &expected.to_string())
        });
        let last_day = income.and_then(|income| income.last_day(view.today));
        // The newest day that is over may be another than yesterday.
        let date = last_day.map(|day| day.date).filter(|&date| !is_yesterday(date, view.today));
        let cells = [
            Cell { value: shown(hashrate), note: of_expected.unwrap_or_default(), is_bad: false },
            plain(shown(summary.and_then(|summary| summary.active_workers))),
            plain(shown(summary.and_then(|summary| summary.inactive_workers))),
            self.listed(target),
            plain(shown(summary.and_then(|summary| summary.balance))),
            plain(earned(income.and_then(|income| income.today(view.today)))),
            Cell {
                value: earned(last_day),
                note: date.map(|date| date.to_string()).unwrap_or_default(),
                is_bad: false,
            },
        ];
        Row {
            account: target.target.account.to_string(),
            labels,
            currency: target.target.currency,
            cells: self.columns().into_iter().zip(cells).collect(),
            states: ENDPOINTS.map(|endpoint| (endpoint, self.slot(poll(target, endpoint)))).into(),
        }
    }

    /// How many workers there are, and whether some are missing.
    fn listed(&self, target: &TargetView) -> Cell {
        let Some(workers) = &target.workers else {
            return Cell { value: UNKNOWN.to_owned(), ..Cell::default() };
        };
        let listed = workers.listed();
        let withheld = workers.reported.filter(|&reported| reported > listed);
        let cut = workers.dropped(target.workers_max);
        let notes =
            [withheld.map(|reported| self.language.withheld(reported)), (cut > 0).then(|| self.language.cut(cut))];
        let note = notes.into_iter().flatten().collect::<Vec<_>>().join("; ");
        Cell { value: listed.to_string(), is_bad: !note.is_empty(), note }
    }

    pub fn slot(&self, poll: Option<&Poll>) -> SlotCell {
        let cell = |tone, text: &str, note| SlotCell { tone, text: text.to_owned(), note };
        let Some(poll) = poll else { return cell("", self.w.not_asked, String::new()) };
        let age = poll.age.map(|age| self.language.span(age));
        let old = if poll.is_stale { self.w.too_old } else { "" };
        match (&poll.last, poll.failure(), age) {
            (None, ..) => cell("wait", self.w.not_asked_yet, String::new()),
            (_, Some(failure), age) => {
                let age = age.map(|age| self.language.data_age(&age)).unwrap_or_default();
                let note = if old.is_empty() { age } else { format!("{age}; {old}") };
                cell("bad", &self.language.fails(failure.reason), note)
            }
            (_, None, Some(age)) => cell(if old.is_empty() { "good" } else { "bad" }, &age, old.to_owned()),
            (_, None, None) => cell("", UNKNOWN, String::new()),
        }
    }

    pub fn coins(&self) -> Vec<Coin> {
        let stats = self.subject.view.common.iter().filter_map(|common| common.pool.as_ref());
        let coins = stats.flat_map(|stats| stats.iter()).map(|(currency, coin)| Coin {
            currency: *currency,
            cells: [
                (self.w.pool_hashrate, shown(coin.pool_hashrate)),
                (self.w.network_hashrate, shown(coin.network_hashrate)),
                (self.w.fee, shown(coin.fee.map(|fee| format!("{} %", (fee.as_f64() * 1e4).round() / 100.0)))),
                (self.w.miners, shown(coin.miners)),
            ],
        });
        coins.collect()
    }

    pub fn budget(&self) -> BudgetUse {
        let Subject { config, usage, demand, .. } = self.subject;
        let allowed = usage.per_second * 60.0;
        let percent = usage.last_minute as f64 / allowed.max(1.0) * 100.0;
        BudgetUse {
            sentence: self.language.used(usage.last_minute, allowed, usage.in_flight, usage.concurrency),
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 100")]
            percent: percent.clamp(0.0, 100.0).round() as u64,
            demand: self.language.demand(demand.per_second, config.api.requests_per_second),
        }
    }

    /// The last errors that are over, and that there are more.
    pub fn past(&self, slots: &[Slot<'_>]) -> (Vec<Past>, String) {
        let over = slots.iter().filter(|slot| slot.poll.failure().is_none());
        let mut past: Vec<_> = over.filter_map(|slot| Some((slot, slot.poll.last_failure.as_ref()?))).collect();
        past.sort_by_key(|(_, (ago, _))| *ago);
        let more = past.len().saturating_sub(PAST);
        let shown = past.into_iter().take(PAST).map(|(slot, (ago, failure))| Past {
            whose: self.whose(slot),
            endpoint: slot.poll.endpoint,
            when: self.language.ago(*ago),
            reason: failure.reason.as_str(),
            message: failure.message.clone(),
        });
        (shown.collect(), if more > 0 { self.language.more(more) } else { String::new() })
    }
}

/// How the polling of an endpoint goes; `None`: it is not polled.
fn poll(target: &TargetView, endpoint: Endpoint) -> Option<&Poll> {
    target.polls.iter().find(|poll| poll.endpoint == endpoint)
}

/// Whether its workers are asked for; one without lacks none.
fn has_list(target: &TargetView) -> bool {
    poll(target, Endpoint::Workers).is_some()
}

/// Whether a day is the one that was over last.
fn is_yesterday(date: Date, today: Date) -> bool {
    today.yesterday().ok() == Some(date)
}

/// An account's labels, as one would write them.
fn labels(account: Option<&AccountView>) -> impl Iterator<Item = String> {
    account.into_iter().flat_map(|account| &account.labels).map(|(name, value)| format!("{name}={value}"))
}

/// A text's parts, and whether they are code: what stands between backticks.
fn marked(text: &'static str) -> Vec<(bool, &'static str)> {
    text.split('`').enumerate().map(|(index, part)| (index % 2 == 1, part)).collect()
}

/// Both schemes together, as the pool sums them.
fn earned(day: Option<&IncomeDay>) -> String {
    shown(day.and_then(|day| day.total))
}
