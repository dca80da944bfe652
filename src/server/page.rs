//! The status page: for the person who has just started the exporter, or was just woken by it.

use askama::Template;
use jiff::Timestamp;

use crate::{
    collector::{Poll, View},
    config::Config,
    history::IncomeDay,
    model::Currency,
};

/// What stands where nothing is known.
const UNKNOWN: &str = "–";

#[derive(Template)]
#[template(path = "status.html")]
struct Status<'a> {
    headline: String,
    troubles: usize,
    telemetry_path: &'a str,
    accounts: String,
    workers: String,
    hashrates: String,
    rows: Vec<Row>,
    polls: Vec<Line>,
    version: &'static str,
    revision: &'static str,
    pool: &'a str,
    live: String,
    history: String,
}

/// One currency of one account.
struct Row {
    account: String,
    currency: Currency,
    hashrate: String,
    active: String,
    inactive: String,
    balance: String,
    today: String,
    last_day: String,
}

/// One slot.
struct Line {
    account: String,
    currency: &'static str,
    endpoint: &'static str,
    class: &'static str,
    state: &'static str,
    success: String,
    error: String,
}

/// Draws the page.
///
/// # Errors
///
/// Only where a `String` cannot be written to, which does not happen.
pub fn render(config: &Config, view: &View, now: Timestamp) -> Result<String, askama::Error> {
    let rows = view.targets.iter().map(|target| {
        let summary = target.summary.as_deref();
        let income = target.income.as_deref();
        Row {
            account: target.target.account.to_string(),
            currency: target.target.currency,
            hashrate: shown(summary.and_then(|summary| summary.hashrate.one_hour)),
            active: shown(summary.and_then(|summary| summary.active_workers)),
            inactive: shown(summary.and_then(|summary| summary.inactive_workers)),
            balance: shown(summary.and_then(|summary| summary.balance)),
            today: earned(income.and_then(|income| income.today(view.today))),
            last_day: earned(income.and_then(|income| income.last_day(view.today))),
        }
    });
    let mut polls = Vec::new();
    if let Some(common) = &view.common {
        polls.push(line("", "", &common.poll, now));
    }
    for target in &view.targets {
        for poll in &target.polls {
            polls.push(line(target.target.account.as_str(), target.target.currency.as_str(), poll, now));
        }
    }
    let troubles = polls.iter().filter(|line| line.class == "bad").count();
    let waiting = polls.iter().filter(|line| line.class.is_empty()).count();
    let workers = view.targets.iter().filter_map(|target| target.workers.as_ref()).map(|list| list.list.len()).sum();
    // Trouble first; within it the order of the accounts.
    polls.sort_by_key(|line| line.class != "bad");
    let status = Status {
        headline: match (troubles, waiting) {
            (0, 0) => "All is well: every endpoint answers".to_owned(),
            (0, waiting) => format!("Starting: {waiting} of {} endpoints were not asked yet", polls.len()),
            (troubles, _) => format!("{troubles} of {} endpoints do not answer as they should", polls.len()),
        },
        troubles,
        telemetry_path: &config.web.telemetry_path,
        accounts: counted(view.accounts.len(), "account", "accounts"),
        workers: counted(workers, "worker", "workers"),
        hashrates: hashrates(view),
        rows: rows.collect(),
        polls,
        version: env!("CARGO_PKG_VERSION"),
        revision: env!("BTCPOOL_EXPORTER_REVISION"),
        pool: config.api.base_url.as_str(),
        live: format!("{:?}", config.polling.live.interval),
        history: format!("{:?}", config.polling.history.interval),
    };
    status.render()
}

/// The sum for each currency, of what is known.
fn hashrates(view: &View) -> String {
    let mut sums = Vec::new();
    for currency in Currency::ALL {
        let of_currency = view.targets.iter().filter(|target| target.target.currency == currency);
        let known: Vec<_> =
            of_currency.filter_map(|target| target.summary.as_ref()?.hashrate.one_hour).map(|h| h.as_f64()).collect();
        if !known.is_empty() {
            let sum = crate::model::Hashrate::new(known.iter().sum());
            sums.push(format!("{currency} {}", shown(sum)));
        }
    }
    if sums.is_empty() { "no hashrate known".to_owned() } else { sums.join(", ") }
}

fn line(account: &str, currency: &'static str, poll: &Poll, now: Timestamp) -> Line {
    let (class, state) = match &poll.last {
        None => ("", "not asked yet"),
        Some(last) if last.error.is_some() => ("bad", "failing"),
        Some(_) => ("good", "ok"),
    };
    let error = poll.last_failure.as_ref();
    Line {
        account: account.to_owned(),
        currency,
        endpoint: poll.endpoint.as_str(),
        class,
        state,
        success: poll.last_success.map_or_else(|| "never".to_owned(), |at| ago(at, now)),
        error: error.map_or_else(String::new, |(at, failure)| {
            format!("{}, {}: {}", ago(*at, now), failure.reason.as_str(), failure.message)
        }),
    }
}

/// How long ago, in the two largest units.
fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = u64::try_from(now.as_second() - at.as_second()).unwrap_or(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s ago"),
        (0, 0, _) => format!("{minutes} min {} s ago", seconds % 60),
        (0, ..) => format!("{hours} h {} min ago", minutes % 60),
        _ => format!("{days} d {} h ago", hours % 24),
    }
}

/// A number and what it counts.
fn counted(number: usize, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

fn shown(value: Option<impl std::fmt::Display>) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), |value| value.to_string())
}

/// Both schemes together, as the pool sums them.
fn earned(day: Option<&IncomeDay>) -> String {
    shown(day.and_then(|day| day.total))
}
