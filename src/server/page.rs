//! The status page: for the person who has just started the exporter, or was just woken by it.
//!
//! What is wrong comes first, with what to do about it; then the sums; then every currency of every account, those with
//! trouble first, a hundred at a time, with a filter. It is whole without its script, which only takes the parts that
//! change out of a fresh copy of the page, and says so when there is none to be had.

pub mod words;

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use askama::Template;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use ring::digest;

use self::words::{Language, State, Words};
use crate::{
    budget::Usage,
    collector::{Poll, TargetView, View},
    config::{Config, duration_text, utc_offset_text},
    demand::Demand,
    history::IncomeDay,
    model::{Coins, Currency, Endpoint, Hashrate, Reason},
    telemetry::Figures,
};

/// What stands where nothing is known.
const UNKNOWN: &str = "–";

/// Rows of the table of accounts on one page.
const ROWS: usize = 100;

/// Cases of one reason that are shown.
const CASES: usize = 20;

/// Errors that are over that are shown.
const PAST: usize = 10;

/// The longest filter that is heard, in characters.
const LONGEST_FILTER: usize = 200;

const CSS: &str = include_str!("../../templates/status.css");
const JS: &str = include_str!("../../templates/status.js");

/// The columns of the table of accounts that tell how old things are.
const ENDPOINTS: [Endpoint; 4] =
    [Endpoint::SummaryData, Endpoint::Workers, Endpoint::ProfitHistory, Endpoint::PaymentHistory];

/// What the page may load and run: its own style and script, by their hashes; its own figures, again; nothing else.
pub fn content_security_policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let hash = |text: &str| BASE64_STANDARD.encode(digest::digest(&digest::SHA256, text.as_bytes()));
        format!(
            "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; img-src data:; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            hash(CSS),
            hash(JS)
        )
    });
    &POLICY
}

/// What the page is about.
pub struct Subject<'a> {
    /// What the exporter is to do.
    pub config: &'a Config,
    /// What is known.
    pub view: &'a View,
    /// What it did.
    pub figures: &'a Figures,
    /// What of the request budget is used.
    pub usage: Usage,
    /// What polling takes of it.
    pub demand: Demand,
    /// What time it is.
    pub now: Timestamp,
    /// For how long the exporter runs.
    pub up: Duration,
}

/// What of it is wanted, and how.
#[derive(Debug, PartialEq, Eq)]
pub struct Wanted {
    language: Language,
    /// Whether the language was asked for by the address, and not by a header.
    chosen: bool,
    /// What the account's name, its labels or the currency hold, whatever the case.
    filter: String,
    only_trouble: bool,
    /// From 1.
    page: usize,
}

impl Wanted {
    /// What a query asks for; `accepted` is the language that the browser prefers. What it does not understand it leaves.
    pub fn of(query: &str, accepted: Language) -> Self {
        let mut wanted =
            Self { language: accepted, chosen: false, filter: String::new(), only_trouble: false, page: 1 };
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "q" => wanted.filter = value.trim().chars().take(LONGEST_FILTER).collect(),
                "trouble" => wanted.only_trouble = value == "1",
                "page" => wanted.page = value.parse().unwrap_or(1).max(1),
                "lang" => {
                    if let Some(language) = Language::of_tag(&value) {
                        (wanted.language, wanted.chosen) = (language, true);
                    }
                }
                _ => {}
            }
        }
        wanted
    }

    /// The query of the same with another page or language.
    fn query(&self, page: usize, language: Option<Language>) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        if !self.filter.is_empty() {
            query.append_pair("q", &self.filter);
        }
        if self.only_trouble {
            query.append_pair("trouble", "1");
        }
        if page > 1 {
            query.append_pair("page", &page.to_string());
        }
        if let Some(language) = language {
            query.append_pair("lang", language.words().tag);
        }
        query.finish()
    }
}

#[derive(Template)]
#[template(path = "status.html")]
struct Status<'a> {
    w: &'static Words,
    css: &'static str,
    js: &'static str,
    headline: String,
    tone: &'static str,
    icon: &'static str,
    now: String,
    now_shown: String,
    up: String,
    telemetry_path: &'a str,
    repository: &'static str,
    other_language: OtherLanguage,
    notes: Vec<String>,
    troubles: Vec<Trouble>,
    columns: [&'static str; 7],
    counts: String,
    sums: Vec<Sum>,
    has_accounts: bool,
    filter: &'a str,
    only_trouble: bool,
    chosen_language: &'static str,
    extent: String,
    endpoints: [Endpoint; 4],
    rows: Vec<Row>,
    pages: Vec<Page>,
    pool_state: SlotCell,
    coins: Vec<Coin>,
    budget: BudgetUse,
    past: Vec<Past>,
    settings: Vec<(&'static str, String)>,
    version: &'static str,
    revision: &'static str,
    rustc: &'static str,
}

struct OtherLanguage {
    query: String,
    tag: &'static str,
    name: &'static str,
}

/// One reason for which endpoints fail.
struct Trouble {
    title: &'static str,
    reason: &'static str,
    extent: String,
    meaning: Vec<(bool, &'static str)>,
    advice: Vec<(bool, &'static str)>,
    cases: Vec<Case>,
    more: String,
}

/// Endpoints of one account and currency that fail in the same way.
struct Case {
    whose: String,
    endpoints: String,
    /// The last success of any of them.
    newest: Option<Timestamp>,
    last_success: String,
    message: String,
}

/// A currency, over all accounts.
struct Sum {
    currency: Currency,
    accounts: usize,
    cells: Vec<(&'static str, Cell)>,
}

/// One currency of one account.
struct Row {
    account: String,
    labels: String,
    currency: Currency,
    cells: Vec<(&'static str, Cell)>,
    states: Vec<(Endpoint, SlotCell)>,
}

/// A figure.
#[derive(Default)]
struct Cell {
    value: String,
    note: String,
    is_bad: bool,
}

/// How the polling of a slot goes.
struct SlotCell {
    tone: &'static str,
    text: String,
    note: String,
}

struct Page {
    number: usize,
    /// Empty for the page that is shown.
    query: String,
}

struct Coin {
    currency: Currency,
    cells: [(&'static str, String); 4],
}

struct BudgetUse {
    sentence: String,
    percent: u64,
    demand: String,
}

/// The last error of a slot that is well again.
struct Past {
    whose: String,
    endpoint: Endpoint,
    when: String,
    reason: &'static str,
    message: String,
}

/// Draws the page.
///
/// # Errors
///
/// Only where a `String` cannot be written to, which does not happen.
pub fn render(subject: &Subject<'_>, wanted: &Wanted) -> Result<String, askama::Error> {
    let draft = Draft { subject, language: wanted.language, w: wanted.language.words() };
    let Subject { config, view, now, up, .. } = subject;
    let slots: Vec<_> = slots(view).collect();
    let state = state(view, &slots);
    let (tone, icon) = match state {
        State::Well => ("good", "green"),
        State::NoAccounts | State::Starting { .. } => ("wait", "orange"),
        _ => ("bad", "red"),
    };
    let (rows, extent, pages) = draft.table(wanted);
    let other = wanted.language.other();
    let status = Status {
        w: draft.w,
        css: CSS,
        js: JS,
        headline: draft.language.headline(&state),
        tone,
        icon,
        now: now.to_string(),
        now_shown: now.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        up: draft.language.span(*up),
        telemetry_path: &config.web.telemetry_path,
        repository: env!("CARGO_PKG_REPOSITORY"),
        other_language: OtherLanguage {
            query: wanted.query(wanted.page, Some(other)),
            tag: other.words().tag,
            name: other.words().name,
        },
        notes: draft.notes(),
        troubles: draft.troubles(&slots),
        columns: draft.columns(),
        counts: draft.counts(),
        sums: draft.sums(),
        has_accounts: !view.targets.is_empty(),
        filter: &wanted.filter,
        only_trouble: wanted.only_trouble,
        chosen_language: if wanted.chosen { draft.w.tag } else { "" },
        extent,
        endpoints: ENDPOINTS,
        rows,
        pages,
        pool_state: draft.slot(view.common.as_ref().map(|common| &common.poll)),
        coins: draft.coins(),
        budget: draft.budget(),
        past: draft.past(&slots),
        settings: settings(config),
        version: env!("CARGO_PKG_VERSION"),
        revision: env!("BTCPOOL_EXPORTER_REVISION"),
        rustc: env!("BTCPOOL_EXPORTER_RUSTC"),
    };
    status.render()
}

/// A slot, and whose it is; `None`: `main_stat`, which is nobody's.
type Slot<'a> = (Option<&'a TargetView>, &'a Poll);

fn slots(view: &View) -> impl Iterator<Item = Slot<'_>> {
    let common = view.common.iter().map(|common| (None, &common.poll));
    common.chain(view.targets.iter().flat_map(|target| target.polls.iter().map(move |poll| (Some(target), poll))))
}

/// Why the last poll failed, if it did.
fn failure(poll: &Poll) -> Option<&crate::store::Failure> {
    poll.last.as_ref()?.error.as_ref()
}

fn has_trouble(target: &TargetView) -> bool {
    target.polls.iter().any(|poll| failure(poll).is_some())
}

/// How everything is, in short.
fn state<'a>(view: &'a View, slots: &[Slot<'a>]) -> State<'a> {
    let all = slots.len();
    let waiting = slots.iter().filter(|(_, poll)| poll.last.is_none()).count();
    let failing: Vec<_> = slots.iter().filter_map(|(whose, poll)| Some((whose, failure(poll)?))).collect();
    // By account: how many fail, and whether only because of the key.
    let mut accounts = BTreeMap::<_, (usize, bool)>::new();
    for (target, failure) in &failing {
        if let Some(target) = target {
            let (count, refused) = accounts.entry(target.target.account.as_str()).or_insert((0, true));
            *count += 1;
            *refused &= failure.reason == Reason::Auth;
        }
    }
    let of_accounts: usize = accounts.values().map(|(count, _)| count).sum();
    let only_refused = accounts.values().all(|&(_, refused)| refused);
    match (failing.len(), accounts.iter().next()) {
        (0, _) if waiting > 0 => State::Starting { waiting, all },
        (0, _) if view.targets.is_empty() => State::NoAccounts,
        (0, _) => State::Well,
        (failing, _) if failing == all => State::Nothing { all },
        (_, None) if waiting > 0 => State::Starting { waiting, all },
        (_, None) => State::OnlyPool,
        // The pool's statistics fail, too, which is no single account's trouble.
        (failing, Some(_)) if failing > of_accounts => {
            State::Accounts { failing: accounts.len(), all: view.accounts.len() }
        }
        (_, Some((account, _))) if only_refused && accounts.len() == 1 => State::KeyRefused { account },
        (_, Some(_)) if only_refused => State::KeysRefused { accounts: accounts.len() },
        (_, Some((account, &(failing, _)))) if accounts.len() == 1 => {
            let own = view.targets.iter().filter(|target| target.target.account.as_str() == *account);
            State::OneAccount { account, failing, all: own.map(|target| target.polls.len()).sum() }
        }
        (_, Some(_)) => State::Accounts { failing: accounts.len(), all: view.accounts.len() },
    }
}

/// The page in the making.
struct Draft<'a> {
    subject: &'a Subject<'a>,
    language: Language,
    w: &'static Words,
}

impl Draft<'_> {
    /// The columns of figures, of the sums and of the accounts alike.
    const fn columns(&self) -> [&'static str; 7] {
        let w = self.w;
        [w.hashrate, w.active, w.inactive, w.listed, w.balance, w.today, w.last_day]
    }

    fn since(&self, at: Timestamp) -> Duration {
        self.subject.now.duration_since(at).try_into().unwrap_or(Duration::ZERO)
    }

    /// What is not about one account.
    fn notes(&self) -> Vec<String> {
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
        notes.extend(demand.complaint(config));
        notes.extend(config.warnings.iter().cloned());
        notes
    }

    fn troubles(&self, slots: &[Slot<'_>]) -> Vec<Trouble> {
        let mut by_reason = BTreeMap::<Reason, Vec<_>>::new();
        for (target, poll) in slots {
            if let Some(failure) = failure(poll) {
                by_reason.entry(failure.reason).or_default().push((*target, *poll, failure));
            }
        }
        let mut by_reason: Vec<_> = by_reason.into_iter().collect();
        // What concerns most comes first.
        by_reason.sort_by_key(|(_, failing)| std::cmp::Reverse(failing.len()));
        let troubles = by_reason.into_iter().map(|(reason, failing)| {
            let mut cases: Vec<Case> = Vec::new();
            for (target, poll, failure) in &failing {
                let whose = target.map_or_else(|| self.w.everybody.to_owned(), |target| target.target.to_string());
                match cases.last_mut() {
                    // The slots of one target follow each other.
                    Some(case) if case.whose == whose && case.message == failure.message => {
                        case.endpoints = format!("{}, {}", case.endpoints, poll.endpoint);
                        case.newest = case.newest.max(poll.last_success);
                    }
                    _ => cases.push(Case {
                        whose,
                        endpoints: poll.endpoint.to_string(),
                        newest: poll.last_success,
                        last_success: String::new(),
                        message: failure.message.clone(),
                    }),
                }
            }
            let mut accounts: Vec<_> =
                failing.iter().filter_map(|(target, ..)| target.map(|target| &target.target.account)).collect();
            accounts.dedup();
            let more = cases.len().saturating_sub(CASES);
            cases.truncate(CASES);
            for case in &mut cases {
                case.last_success = self.last_success(case.newest);
            }
            let words = self.language.explain(reason);
            Trouble {
                title: words.title,
                reason: reason.as_str(),
                extent: self.language.extent(failing.len(), accounts.len()),
                meaning: marked(words.meaning),
                advice: marked(words.advice),
                cases,
                more: if more > 0 { self.language.more(more) } else { String::new() },
            }
        });
        troubles.collect()
    }

    fn last_success(&self, at: Option<Timestamp>) -> String {
        at.map_or_else(|| self.w.never.to_owned(), |at| self.language.ago(self.since(at)))
    }

    fn counts(&self) -> String {
        let view = self.subject.view;
        let workers = view.targets.iter().filter_map(|target| target.workers.as_ref()).map(|list| list.list.len());
        self.language.counts(view.accounts.len(), workers.sum())
    }

    /// A line for each currency.
    fn sums(&self) -> Vec<Sum> {
        let view = self.subject.view;
        let of =
            |currency| -> Vec<_> { view.targets.iter().filter(|target| target.target.currency == currency).collect() };
        let currencies = Currency::ALL.into_iter().map(|currency| (currency, of(currency)));
        let sums = currencies.filter(|(_, targets)| !targets.is_empty()).map(|(currency, targets)| {
            let summary = |target: &&TargetView| target.summary.clone();
            let hashrate = |targets: &[&TargetView]| -> Vec<f64> {
                targets.iter().filter_map(|t| summary(t)?.hashrate.one_hour).map(Hashrate::as_f64).collect()
            };
            let hashrates = hashrate(&targets);
            let count = |of: fn(&TargetView) -> Option<u64>| {
                let known: Vec<_> = targets.iter().filter_map(|target| of(target)).collect();
                self.sum(known.len(), targets.len(), known.iter().sum::<u64>())
            };
            let coins = |of: &dyn Fn(&TargetView) -> Option<Coins>| {
                let known: Vec<_> = targets.iter().filter_map(|target| of(target)).collect();
                let sum = known.iter().try_fold(Coins::default(), |sum, &coins| sum.checked_add(coins));
                self.sum(known.len(), targets.len(), shown(sum))
            };
            let cells = [
                self.sum(hashrates.len(), targets.len(), shown(Hashrate::new(hashrates.iter().sum()))),
                count(|target| target.summary.as_ref()?.active_workers),
                count(|target| target.summary.as_ref()?.inactive_workers),
                count(|target| Some(target.workers.as_ref()?.list.len() as u64)),
                coins(&|target| target.summary.as_ref()?.balance),
                coins(&|target| target.income.as_ref()?.today(view.today)?.total),
                coins(&|target| target.income.as_ref()?.last_day(view.today)?.total),
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
    fn table(&self, wanted: &Wanted) -> (Vec<Row>, String, Vec<Page>) {
        let view = self.subject.view;
        let labels: BTreeMap<_, _> = view.accounts.iter().map(|account| (&account.name, account)).collect();
        let filter = wanted.filter.to_lowercase();
        let is_wanted = |target: &&TargetView| {
            let holds = |text: &str| text.to_lowercase().contains(&filter);
            let labels = labels.get(&target.target.account).into_iter().flat_map(|account| account.labels.values());
            let found = filter.is_empty()
                || holds(target.target.account.as_str())
                || holds(target.target.currency.as_str())
                || labels.into_iter().any(|value| holds(value));
            found && (!wanted.only_trouble || has_trouble(target))
        };
        let mut found: Vec<_> = view.targets.iter().filter(is_wanted).collect();
        // Trouble first; within it the order of the accounts.
        found.sort_by_key(|target| !has_trouble(target));
        let last_page = found.len().div_ceil(ROWS).max(1);
        let page = wanted.page.min(last_page);
        let first = (page - 1) * ROWS;
        let rows: Vec<_> = (found.iter().skip(first).take(ROWS))
            .map(|target| {
                let account = labels.get(&target.target.account);
                let labels = account.map(|account| account.labels.values().cloned().collect::<Vec<_>>().join(", "));
                let expected = account.and_then(|account| account.expected_hashrate.get(&target.target.currency));
                self.row(target, labels.unwrap_or_default(), expected.copied())
            })
            .collect();
        let extent = self.language.shown(first + 1, first + rows.len(), found.len(), view.targets.len());
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
        let date = last_day.map(|day| day.date).filter(|date| view.today.yesterday().ok() != Some(*date));
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
        let poll = |endpoint| target.polls.iter().find(|poll| poll.endpoint == endpoint);
        Row {
            account: target.target.account.to_string(),
            labels,
            currency: target.target.currency,
            cells: self.columns().into_iter().zip(cells).collect(),
            states: ENDPOINTS.map(|endpoint| (endpoint, self.slot(poll(endpoint)))).into(),
        }
    }

    /// How many workers there are, and whether some are missing.
    fn listed(&self, target: &TargetView) -> Cell {
        let Some(workers) = &target.workers else {
            return Cell { value: UNKNOWN.to_owned(), ..Cell::default() };
        };
        let listed = workers.list.len();
        let withheld = workers.reported.filter(|&reported| reported > listed as u64);
        let cut = listed.saturating_sub(target.workers_max);
        let notes =
            [withheld.map(|reported| self.language.withheld(reported)), (cut > 0).then(|| self.language.cut(cut))];
        let note = notes.into_iter().flatten().collect::<Vec<_>>().join("; ");
        Cell { value: listed.to_string(), is_bad: !note.is_empty(), note }
    }

    fn slot(&self, poll: Option<&Poll>) -> SlotCell {
        let cell = |tone, text: &str, note| SlotCell { tone, text: text.to_owned(), note };
        let Some(poll) = poll else { return cell("", self.w.not_asked, String::new()) };
        let age = poll.last_success.map(|at| self.since(at));
        match (&poll.last, failure(poll), age) {
            (None, ..) => cell("wait", self.w.not_asked_yet, String::new()),
            (_, Some(failure), age) => {
                let note = age.map(|age| self.language.data_age(age)).unwrap_or_default();
                cell("bad", &self.language.fails(failure.reason), note)
            }
            (_, None, Some(age)) => cell("good", &self.language.span(age), String::new()),
            (_, None, None) => cell("", UNKNOWN, String::new()),
        }
    }

    fn coins(&self) -> Vec<Coin> {
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

    fn budget(&self) -> BudgetUse {
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

    fn past(&self, slots: &[Slot<'_>]) -> Vec<Past> {
        let over = slots.iter().filter(|(_, poll)| failure(poll).is_none());
        let mut past: Vec<_> =
            over.filter_map(|(target, poll)| Some((target, poll, poll.last_failure.as_ref()?))).collect();
        past.sort_by_key(|(.., (at, _))| std::cmp::Reverse(*at));
        let past = past.into_iter().take(PAST).map(|(target, poll, (at, failure))| Past {
            whose: target.map_or_else(|| self.w.everybody.to_owned(), |target| target.target.to_string()),
            endpoint: poll.endpoint,
            when: self.language.ago(self.since(*at)),
            reason: failure.reason.as_str(),
            message: failure.message.clone(),
        });
        past.collect()
    }
}

/// The configuration that is in use, without accounts and their keys.
fn settings(config: &Config) -> Vec<(&'static str, String)> {
    let (api, polling, web) = (&config.api, &config.polling, &config.web);
    let addresses: Vec<_> = web.listen_addresses.iter().map(ToString::to_string).collect();
    let file = web.config_file.as_ref().map(|file| file.display());
    let mut settings = vec![
        ("api.base_url", api.base_url.to_string()),
        ("api.timeout", duration_text(api.timeout)),
        ("api.concurrency", api.concurrency.to_string()),
        ("api.requests_per_second", api.requests_per_second.to_string()),
        ("api.page_size", api.page_size.to_string()),
        ("api.max_response_bytes", api.max_response_bytes.to_string()),
        ("api.reject_rate_unit", api.reject_rate_unit.as_str().to_owned()),
        ("api.day_utc_offset", utc_offset_text(api.day_utc_offset)),
        ("polling.live.interval", duration_text(polling.live.interval)),
        ("polling.live.stale_after", duration_text(polling.live.stale_after)),
        ("polling.history.interval", duration_text(polling.history.interval)),
        ("polling.history.stale_after", duration_text(polling.history.stale_after)),
        ("shard.index", config.shard.index.to_string()),
        ("shard.count", config.shard.count.to_string()),
        ("web.listen_addresses", addresses.join(", ")),
        ("web.telemetry_path", web.telemetry_path.clone()),
        ("web.max_requests", web.max_requests.to_string()),
        ("web.config_file", shown(file)),
        ("web.enable_lifecycle", web.enable_lifecycle.to_string()),
        ("web.systemd_socket", web.systemd_socket.to_string()),
        ("log.level", config.log.level.as_str().to_owned()),
        ("log.format", config.log.format.as_str().to_owned()),
    ];
    let subsidies = config.block_subsidies.iter().map(|(currency, coins)| {
        let key = match currency {
            Currency::Btc => "coins.BTC.block_subsidy",
            Currency::Bch => "coins.BCH.block_subsidy",
            Currency::Ltc => "coins.LTC.block_subsidy",
        };
        (key, coins.to_string())
    });
    settings.extend(subsidies);
    settings
}

/// A text's parts, and whether they are code: what stands between backticks.
fn marked(text: &'static str) -> Vec<(bool, &'static str)> {
    text.split('`').enumerate().map(|(index, part)| (index % 2 == 1, part)).collect()
}

fn shown(value: Option<impl std::fmt::Display>) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), |value| value.to_string())
}

/// Both schemes together, as the pool sums them.
fn earned(day: Option<&IncomeDay>) -> String {
    shown(day.and_then(|day| day.total))
}
