//! The families whose past can be told: those that are drawn from the histories alone, which name the day or the moment
//! of each row.
//!
//! The catalogue's own functions draw them, from a [`View::past`], so that what is told of a day that is long over is
//! what a scrape of that day showed.

use std::fmt;

use super::{CATALOGUE, Family, Format, Value, View, kept::label};

/// What a history's figures tell of, and so when each has something new to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// The newest day that is over: news whenever a day is over, though its figure may be that of the day before.
    LastDay,
    /// Sums of days: news when the sum changes.
    Sums,
    /// The newest payout: news at each payout, though it may be of the same amount.
    LastPayout,
    /// All payouts: news when the figure changes.
    Payouts,
}

/// The families with a past, in the order of the exposition, and what each tells of.
pub const PAST: [(&str, About); 10] = [
    ("btcpool_account_income_last_day_coins", About::LastDay),
    ("btcpool_account_income_last_day_timestamp_seconds", About::LastDay),
    ("btcpool_account_income_last_day_hashrate_hashes_per_second", About::LastDay),
    ("btcpool_account_income_coins", About::Sums),
    ("btcpool_account_payments", About::Payouts),
    ("btcpool_account_paid_coins", About::Payouts),
    ("btcpool_account_last_payment_coins", About::LastPayout),
    ("btcpool_account_last_payment_timestamp_seconds", About::LastPayout),
    ("btcpool_account_payment_interval_seconds", About::Payouts),
    ("btcpool_account_payout_address_changed", About::Payouts),
];

/// The families of [`PAST`], each with its place there.
pub fn families() -> impl Iterator<Item = (usize, &'static Family, About)> {
    let named = |name| CATALOGUE.iter().find(|family| family.name == name);
    PAST.into_iter().enumerate().filter_map(move |(place, (name, about))| Some((place, named(name)?, about)))
}

impl Family {
    /// Draws the samples of a view: names and values of the labels, and the value.
    pub fn draw(&self, view: &View, mut out: impl FnMut(&[(&str, &str)], f64)) {
        let drawn = self.samples(view, &mut |labels, value| {
            match value {
                Value::Real(value) => out(labels, value),
                Value::Whole(value) => out(labels, value as f64),
                // No history is told in histograms.
                Value::Histogram(_) => return Err(fmt::Error),
            }
            Ok(())
        });
        debug_assert!(drawn.is_ok(), "{} has no past", self.name);
    }

    /// The lines that announce it in the OpenMetrics format, as the exposition has them.
    pub fn announcement(&self) -> String {
        let mut text = String::new();
        self.announce(Format::OpenMetrics, &mut text);
        text
    }
}

/// Labels as both formats write them, braces included.
pub fn labels_text<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::from("{");
    for (name, value) in labels {
        if text.len() > 1 {
            text.push(',');
        }
        label(&mut text, name, value);
    }
    text + "}"
}
