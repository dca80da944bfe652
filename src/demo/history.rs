//! The simulated pool's books: what each day brought, and what was paid out.

use jiff::{Timestamp, ToSpan as _, civil::Date, tz::Offset};

use super::farm::{Farm, Holding, REFRESH};
use crate::{
    history::pool_day,
    model::{Coins, Currency},
};

/// When the simulated pool's day begins.
pub const DAY_UTC_OFFSET: Offset = Offset::constant(8);

/// The share of the pay-per-share income that the pool keeps.
const PPS_FEE: f64 = 0.035;

/// One day of the books.
#[derive(Debug, Clone, PartialEq)]
pub struct Day {
    /// The day, as the pool counts days.
    pub date: Date,
    /// Mean hashrate, in hashes per second.
    pub hashrate: f64,
    /// Credited under pay-per-share.
    pub pps: Coins,
    /// Credited under pay-per-last-n-shares.
    pub pplns: Coins,
}

impl Day {
    /// Both schemes together.
    pub fn total(&self) -> Coins {
        Coins::from_units(self.pps.units() + self.pplns.units())
    }
}

/// One payout.
#[derive(Debug, Clone, PartialEq)]
pub struct Payout {
    /// The pool's id.
    pub id: u64,
    /// What was paid.
    pub amount: Coins,
    /// When, in Unix seconds.
    pub created: i64,
}

/// What the network pays: block subsidy in coins, and difficulty.
pub const fn network(currency: Currency) -> (f64, f64) {
    match currency {
        Currency::Btc => (3.125, 146.47e12),
        Currency::Bch => (3.125, 712.3e9),
        Currency::Ltc => (6.25, 93.1e6),
    }
}

/// Every day on the books, oldest first; the last one is running.
pub fn days(farm: &Farm, holding: &Holding, now: i64) -> Vec<Day> {
    let now = now - now.rem_euclid(REFRESH);
    let (Ok(began), Ok(at)) = (Timestamp::from_second(farm.began), Timestamp::from_second(now)) else {
        return Vec::new();
    };
    let (began, today) = (pool_day(began, DAY_UTC_OFFSET), pool_day(at, DAY_UTC_OFFSET));
    let Ok(mut date) = began.checked_sub(farm.days.days()) else { return Vec::new() };
    // One day is missing from the books: a gap, as real books have.
    let missing = began.checked_sub(77.days()).unwrap_or(began);
    let since_midnight = (now + i64::from(DAY_UTC_OFFSET.seconds())).rem_euclid(86_400);
    let mut days = Vec::new();
    while date <= today {
        if date != missing {
            let over = if date == today { since_midnight as f64 / 86_400.0 } else { 1.0 };
            days.push(day(farm, holding, date, over));
        }
        match date.tomorrow() {
            Ok(next) => date = next,
            Err(_) => break,
        }
    }
    days
}

fn day(farm: &Farm, holding: &Holding, date: Date, over: f64) -> Day {
    let number = u64::from(date.day_of_year().unsigned_abs()) + u64::from(date.year().unsigned_abs()) * 1000;
    let hashrate = holding.nominal_hashrate() * 0.98 * (0.95 + 0.05 * farm.chance([holding.salt, number, 8]));
    let (subsidy, difficulty) = network(holding.currency);
    let earned = hashrate * 86_400.0 * subsidy / (difficulty * 2_f64.powi(32)) * over;
    let coins = |amount: f64| Coins::from_units((amount * Coins::UNITS as f64).round() as i64);
    Day {
        date,
        hashrate,
        pps: coins(earned * (1.0 - PPS_FEE)),
        pplns: coins(earned * 0.04 * farm.chance([holding.salt, number, 9])),
    }
}

/// Every payout, oldest first, and what is left as the balance. The pool pays every one to four days, what was earned
/// on the days that are over.
pub fn payouts(farm: &Farm, holding: &Holding, now: i64) -> (Vec<Payout>, Coins) {
    let mut payouts: Vec<Payout> = Vec::new();
    let (mut earned, mut paid, mut due_in) = (0, 0, 1);
    for day in days(farm, holding, now) {
        // In the morning after the night on which it is due.
        let midnight = DAY_UTC_OFFSET.to_timestamp(day.date.at(0, 0, 0, 0)).map_or(0, Timestamp::as_second);
        let chance = |salt| farm.chance([holding.salt, midnight as u64, salt]);
        let due = midnight + 6 * 3600 + (chance(10) * 7200.0) as i64;
        let account = holding.machines.first().map_or("", |machine| &machine.account);
        let created = farm.withholds(account, due).unwrap_or(due);
        due_in -= 1;
        if due_in <= 0 && created <= now {
            let id = 38_000_000 + (holding.salt % 1000) * 10_000 + payouts.len() as u64;
            payouts.push(Payout { id, amount: Coins::from_units(earned - paid), created });
            paid = earned;
            due_in = 1 + (chance(11) * 4.0) as i32;
        }
        earned += day.total().units();
    }
    (payouts, Coins::from_units(earned - paid))
}
