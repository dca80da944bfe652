//! Reads the simulated pool's API with nothing of the exporter's own client, and adds up what it says.

use std::collections::BTreeMap;

use btcpool_exporter::{
    clock::Clock,
    demo::{Account, SimulatedPool},
};
use jiff::{ToSpan as _, civil::Date};
use serde_json::Value;
use url::Url;

use super::simulated::SEED;
use crate::support::http;

/// Label names and values.
pub type Labels = BTreeMap<String, String>;

/// Series and their values.
pub type Series = BTreeMap<Labels, f64>;

pub fn labels<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Labels {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A simulated pool with the accounts and keys of the one that the demo runs. Only its list of accounts is used: the
/// figures come from the demo's own.
pub fn twin() -> SimulatedPool {
    SimulatedPool::new(SEED, Clock::system())
}

/// What the pool says of one account's currency.
pub struct Said {
    pub account: String,
    pub currency: String,
    pub summary: Value,
    pub income: Vec<Value>,
    pub payments: Vec<Value>,
    pub workers: Vec<Value>,
}

/// All that the pool says to those whose key it takes.
pub async fn said(pool: &Url) -> Vec<Said> {
    let mut all = Vec::new();
    for account in twin().farm().accounts.iter().filter(|account| account.key_valid) {
        for holding in &account.holdings {
            let asker = Asker { url: pool, account, currency: holding.currency.as_str() };
            all.push(Said {
                account: account.name.to_owned(),
                currency: asker.currency.to_owned(),
                summary: asker.ask("summary_data", &[]).await["data"].clone(),
                income: asker.list("profit_history").await,
                payments: asker.list("payment_history").await,
                workers: asker.list("workers").await,
            });
        }
    }
    all
}

struct Asker<'a> {
    url: &'a Url,
    account: &'a Account,
    currency: &'a str,
}

impl Asker<'_> {
    async fn ask(&self, method: &str, more: &[(&str, String)]) -> Value {
        let mut url = self.url.clone();
        url.query_pairs_mut()
            .extend_pairs([("method", method), ("v", "1"), ("currency", self.currency)])
            .extend_pairs(more);
        let response = http().get(url).header("X-API-KEY", &self.account.key).send().await.unwrap();
        let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(answer["status"], "OK", "{method} of {}: {answer}", self.account.name);
        answer
    }

    /// A whole list, in pages of another size than the exporter's.
    async fn list(&self, method: &str) -> Vec<Value> {
        const LIMIT: usize = 37;
        let mut rows = Vec::new();
        loop {
            let parameters = [("limit", LIMIT.to_string()), ("offset", rows.len().to_string())];
            let answer = self.ask(method, &parameters).await;
            let page = answer["data"].as_array().unwrap();
            rows.extend(page.iter().cloned());
            if page.is_empty() || rows.len() as u64 == answer["total"].as_u64().unwrap() {
                assert_eq!(rows.len() as u64, answer["total"].as_u64().unwrap(), "{method} ends early");
                return rows;
            }
        }
    }
}

impl Said {
    /// The labels of what concerns the account and currency, with further ones.
    pub fn labels(&self, more: &[(&str, &str)]) -> Labels {
        labels([("account", &*self.account), ("currency", &*self.currency)].into_iter().chain(more.iter().copied()))
    }

    /// The labels of what concerns a worker, with further ones.
    pub fn worker_labels(&self, worker: &Value, more: &[(&str, &str)]) -> Labels {
        let own = [("worker", text(worker, "worker_name")), ("worker_id", text(worker, "worker_id"))];
        self.labels(&own.into_iter().chain(more.iter().copied()).collect::<Vec<_>>())
    }

    /// What the last `days` calendar days before today brought, in coins; today is the newest day on the books.
    pub fn income_of(&self, days: i32) -> f64 {
        let today = self.income.iter().map(date).max().unwrap();
        let first = today.checked_sub(days.days()).unwrap();
        let days = self.income.iter().filter(|row| (first..today).contains(&date(row)));
        sum(days, "total_profit")
    }
}

pub fn date(row: &Value) -> Date {
    text(row, "date").parse().unwrap()
}

pub fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_else(|| panic!("{field} is no text in {row}"))
}

pub fn number(row: &Value, field: &str) -> f64 {
    text(row, field).parse().unwrap()
}

/// The sum of an amount of coins, added up as whole 1e-8 coins, as the books have them.
pub fn sum<'a>(rows: impl IntoIterator<Item = &'a Value>, field: &str) -> f64 {
    sum_units(rows, field) as f64 / 1e8
}

/// The same in 1e-8 coins.
pub fn sum_units<'a>(rows: impl IntoIterator<Item = &'a Value>, field: &str) -> i64 {
    let units = |row| {
        let (whole, fraction) = text(row, field).split_once('.').unwrap_or((text(row, field), ""));
        format!("{whole}{fraction:0<8}").parse::<i64>().unwrap()
    };
    rows.into_iter().map(units).sum()
}
