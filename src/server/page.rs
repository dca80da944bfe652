//! The status page: for the person who has just started the exporter, or was just woken by it.
//!
//! What is wrong comes first, with what to do about it; then the sums; then every currency of every account, those with
//! trouble first, a hundred at a time, with a filter. It is whole without its script, which only takes the parts that
//! change out of a fresh copy of the page, and says so when there is none to be had.

mod state;
pub mod words;

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use askama::Template;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use ring::digest;

use self::{
    state::{Slot, Trouble, has_trouble},
    words::{Explanation, Language, State, Words},
};
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
    /// Words, each of which is in the account's name, the currency or a label (`name=value`), whatever the case.
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
    notes: Vec<Note>,
    troubles: Vec<TroubleText>,
    columns: [&'static str; 7],
    counts: String,
    sums: Vec<Sum>,
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
    more_past: String,
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

/// What is not about one account.
struct Note {
    text: String,
    /// Whether it is English, whatever the page is.
    is_english: bool,
}

/// One reason for which endpoints have no data, or will have none.
struct TroubleText {
    title: &'static str,
    /// Empty for data that are too old, which is no failure of a poll.
    reason: &'static str,
    extent: String,
    meaning: Vec<(bool, &'static str)>,
    advice: Vec<(bool, &'static str)>,
    cases: Vec<Case>,
    more: String,
    /// Where all of them are.
    more_query: String,
}

/// Endpoints of one account and currency that have the same trouble.
struct Case {
    whose: String,
    endpoints: String,
    /// How long ago the last success was, of that of them where it was the longest; `None`: none has one.
    age: Option<Duration>,
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
    let slots: Vec<_> = state::slots(view).collect();
    let notes = draft.notes();
    let summary = state::of(view, &slots, config.accounts.len(), notes.len());
    let (tone, icon) = match summary.state {
        State::Well => ("good", "green"),
        State::Noted { .. } | State::NoAccounts | State::OtherShards { .. } | State::Waiting { .. } => {
            ("wait", "orange")
        }
        _ => ("bad", "red"),
    };
    let (past, more_past) = draft.past(&slots);
    let (rows, extent, pages) = draft.table(wanted);
    let other = wanted.language.other();
    let status = Status {
        w: draft.w,
        css: CSS,
        js: JS,
        headline: draft.language.headline(&summary.state) + &draft.language.besides(summary.old, summary.waiting),
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
        notes,
        troubles: draft.troubles(&slots, wanted),
        columns: draft.columns(),
        counts: draft.counts(),
        sums: draft.sums(),
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
        past,
        more_past,
        settings: settings(config),
        version: env!("CARGO_PKG_VERSION"),
        revision: env!("BTCPOOL_EXPORTER_REVISION"),
        rustc: env!("BTCPOOL_EXPORTER_RUSTC"),
    };
    status.render()
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

    /// What is not about one account.
    fn notes(&self) -> Vec<Note> {
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
    fn troubles(&self, slots: &[Slot<'_>], wanted: &Wanted) -> Vec<TroubleText> {
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

    fn trouble(&self, reason: Option<Reason>, slots: &[(Slot<'_>, Trouble<'_>)], wanted: &Wanted) -> TroubleText {
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
        TroubleText {
            title,
            reason: reason.map_or("", Reason::as_str),
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

    fn counts(&self) -> String {
        let view = self.subject.view;
        let known: Vec<_> = view.targets.iter().filter_map(|target| target.workers.as_ref()).collect();
        let workers = known.iter().map(|workers| workers.list.len()).sum::<usize>();
        let workers = shown((!known.is_empty()).then_some(workers));
        let lists = view.targets.iter().filter(|target| poll(target, Endpoint::Workers).is_some()).count();
        self.language.counts(view.accounts.len(), &workers, known.len(), lists)
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
            let count = |of: fn(&TargetView) -> Option<u64>, all| {
                let known: Vec<_> = targets.iter().filter_map(|target| of(target)).collect();
                self.sum(known.len(), all, known.iter().sum::<u64>())
            };
            // Those whose workers are not asked for lack nothing.
            let with_lists = targets.iter().filter(|target| poll(target, Endpoint::Workers).is_some()).count();
            let coins = |of: &dyn Fn(&TargetView) -> Option<Coins>| {
                let known: Vec<_> = targets.iter().filter_map(|target| of(target)).collect();
                let sum = known.iter().try_fold(Coins::default(), |sum, &coins| sum.checked_add(coins));
                self.sum(known.len(), targets.len(), shown(sum))
            };
            let cells = [
                self.sum(hashrates.len(), targets.len(), shown(Hashrate::new(hashrates.iter().sum()))),
                count(|target| target.summary.as_ref()?.active_workers, targets.len()),
                count(|target| target.summary.as_ref()?.inactive_workers, targets.len()),
                count(|target| Some(target.workers.as_ref()?.list.len() as u64), with_lists),
                coins(&|target| target.summary.as_ref()?.balance),
                coins(&|target| target.income.as_ref()?.today(view.today)?.total),
                // Days are not mixed: where the newest is an older one, yesterday's is not known.
                coins(&|target| {
                    let day = target.income.as_ref()?.last_day(view.today)?;
                    if view.today.yesterday().ok() == Some(day.date) { day.total } else { None }
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
    fn table(&self, wanted: &Wanted) -> (Vec<Row>, String, Vec<Page>) {
        let view = self.subject.view;
        let labels: BTreeMap<_, _> = view.accounts.iter().map(|account| (&account.name, account)).collect();
        let filter = wanted.filter.to_lowercase();
        let is_wanted = |target: &&TargetView| {
            let account = labels.get(&target.target.account);
            let labels = account.into_iter().flat_map(|account| account.labels.iter());
            let mut texts = vec![target.target.account.to_string(), target.target.currency.to_string()];
            texts.extend(labels.map(|(name, value)| format!("{name}={value}")));
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
                let account = labels.get(&target.target.account);
                let labels = account.into_iter().flat_map(|account| account.labels.iter());
                let labels: Vec<_> = labels.map(|(name, value)| format!("{name}={value}")).collect();
                let expected = account.and_then(|account| account.expected_hashrate.get(&target.target.currency));
                self.row(target, labels.join(", "), expected.copied())
            })
            .collect();
        let extent = match (view.targets.len(), self.subject.config.accounts.len()) {
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
        let age = poll.age.map(|age| self.language.span(age));
        let old = if poll.is_stale() { self.w.too_old } else { "" };
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

    /// The last errors that are over, and that there are more.
    fn past(&self, slots: &[Slot<'_>]) -> (Vec<Past>, String) {
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
