//! An account's income and payouts, and every figure that is made of them.
//!
//! One piece for whatever needs these figures. The rule throughout: a figure that a row which could not be read might
//! change is not known, and a figure that is not known is `None`. A smaller sum would be a lie.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp, ToSpan as _, civil::Date, tz::Offset};

use crate::model::{Coins, Hashrate, Id, UnixSeconds};

/// Rows of which only the newest still change, so that they need not all be read each time.
pub trait History: Clone {
    /// Takes up a later read of the rows from a day on: new ones, corrected ones, and that some are there no more.
    fn merge(&mut self, from: Date, newer: Self);

    /// From which day on to read next time so that every row that may still change is read again; `None` when only a
    /// complete read will do: there is nothing yet, or something that could not be read.
    fn resume_from(&self, today: Date) -> Option<Date>;

    /// Marks the rows as read at a moment when days before this one were final.
    fn read_on(&mut self, final_before: Date);
}

/// One row of `profit_history`.
#[derive(Clone, Debug, PartialEq)]
pub struct IncomeDay {
    /// The day, as the pool counts days.
    pub date: Date,
    /// The account's mean hashrate over the day.
    pub hashrate: Option<Hashrate>,
    /// Credited under the pay-per-share scheme.
    pub pps: Option<Coins>,
    /// Credited under the pay-per-last-n-shares scheme.
    pub pplns: Option<Coins>,
    /// Both together, as the pool sums them.
    pub total: Option<Coins>,
}

/// The days whose income is summed; the running day is in none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// The seven calendar days before today.
    Week,
    /// The thirty calendar days before today.
    Month,
    /// Every day that is over.
    All,
}

impl Period {
    /// Every period, in the order of the exposition.
    pub const ALL: [Self; 3] = [Self::Week, Self::Month, Self::All];

    /// The value of the `period` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Week => "7d",
            Self::Month => "30d",
            Self::All => "all",
        }
    }
}

/// The answer of `profit_history`, or several answers merged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Income {
    /// The rows, by day.
    pub days: BTreeMap<Date, IncomeDay>,
    /// Rows that came without a readable date.
    pub unread: u64,
    /// Days before this one were final when the last read began ([`final_before`]).
    pub read_on: Date,
}

impl Income {
    /// The running day's row.
    pub fn today(&self, today: Date) -> Option<&IncomeDay> {
        self.days.get(&today)
    }

    /// The newest day that is over. Unknown while an unread row might be a newer one, and between midnight and the next
    /// read: the row that there is then is of a day that was still running.
    pub fn last_day(&self, today: Date) -> Option<&IncomeDay> {
        let (date, day) = self.days.range(..today).next_back()?;
        let nothing_newer = self.unread == 0 || date.tomorrow().is_ok_and(|next| next == today);
        (nothing_newer && self.is_final(day)).then_some(day)
    }

    /// Whether a day was final when its row was read.
    fn is_final(&self, day: &IncomeDay) -> bool {
        day.date < self.read_on
    }

    /// What the period's days brought. A day without a row adds nothing; one that was still running when it was read
    /// makes the sum unknown.
    pub fn sum(&self, period: Period, today: Date) -> Option<Coins> {
        if self.unread > 0 {
            return None;
        }
        let first = match period {
            Period::Week => today.checked_sub(7.days()).ok()?,
            Period::Month => today.checked_sub(30.days()).ok()?,
            Period::All => Date::MIN,
        };
        self.days
            .range(first..today)
            .try_fold(Coins::default(), |sum, (_, day)| sum.checked_add(day.total.filter(|_| self.is_final(day))?))
    }
}

impl History for Income {
    fn merge(&mut self, from: Date, newer: Self) {
        self.days.retain(|&date, _| !is_surely_within(date, from));
        self.days.extend(newer.days);
        self.unread += newer.unread;
    }

    fn resume_from(&self, today: Date) -> Option<Date> {
        if self.unread > 0 || self.days.values().any(|day| day.total.is_none()) {
            return None;
        }
        // A row of a day that is yet to come must not hide today's.
        let newest = *self.days.range(..=today).next_back()?.0;
        newest.checked_sub(RESUME_OVERLAP_DAYS.days()).ok()
    }

    fn read_on(&mut self, final_before: Date) {
        self.read_on = final_before;
    }
}

/// How many days before the newest row a partial read begins: enough for a wrong idea of when the pool's day begins
/// (a day at most either way), and for a `from` that the pool takes as exclusive.
const RESUME_OVERLAP_DAYS: i32 = 3;

/// Of how many of the newest payouts the usual interval is made: a month of daily ones.
const RHYTHM_PAYOUTS: usize = 31;

/// Fewer intervals make no rhythm.
const RHYTHM_INTERVALS: usize = 3;

/// Payments that are no farther apart are parts of one payout.
pub const SAME_PAYOUT_SECONDS: i64 = 600;

/// So long after its end a day is final: the pool's clock may be behind.
const GRACE: SignedDuration = SignedDuration::from_secs(1);

/// What bech32 addresses of the three coins begin with, those of their test networks included.
const BECH32_PREFIXES: [&str; 6] = ["bc1", "ltc1", "tb1", "bcrt1", "tltc1", "rltc1"];

/// The optional prefix of a cashaddr address.
const CASHADDR_PREFIX: &str = "bitcoincash:";

/// The digits of cashaddr.
const CASHADDR_DIGITS: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// The least number of digits of a cashaddr address.
const CASHADDR_LENGTH: usize = 42;

/// Whether a read from a day on must have brought a row of that date, if there is one: there is a day of doubt, because
/// `from` may be exclusive, and because a payment's day depends on when the pool's day begins.
fn is_surely_within(date: Date, from: Date) -> bool {
    from.checked_add(1.day()).is_ok_and(|doubtful| date > doubtful)
}

/// Where a payout went. Held only to see whether it changed: it cannot be printed, and nothing exports it.
#[derive(Clone, PartialEq, Eq)]
pub struct PayoutAddress(Box<str>);

impl PayoutAddress {
    /// An address, in the one spelling of those that its encoding has for it: bech32 and cashaddr may be in capitals, but
    /// not in both cases, and cashaddr may go without its prefix. In base58 the case counts.
    pub fn new(text: &str) -> Self {
        let text = text.trim();
        let lower = text.to_ascii_lowercase();
        let is_one_case = |text: &str| {
            !text.bytes().any(|byte| byte.is_ascii_uppercase()) || !text.bytes().any(|byte| byte.is_ascii_lowercase())
        };
        if let Some(digits) = lower.strip_prefix(CASHADDR_PREFIX) {
            let told = &text[CASHADDR_PREFIX.len()..];
            return Self(if is_one_case(told) { digits.into() } else { told.into() });
        }
        let is_bech32 = || BECH32_PREFIXES.iter().any(|prefix| lower.starts_with(prefix));
        let is_cashaddr = || lower.len() >= CASHADDR_LENGTH && lower.chars().all(|c| CASHADDR_DIGITS.contains(c));
        let has_one_spelling = is_one_case(text) && (is_bech32() || is_cashaddr());
        Self(if has_one_spelling { lower.into() } else { text.into() })
    }
}

impl std::fmt::Debug for PayoutAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PayoutAddress([withheld])")
    }
}

/// One row of `payment_history`.
#[derive(Clone, Debug, PartialEq)]
pub struct Payment {
    /// What was paid.
    pub amount: Option<Coins>,
    /// When.
    pub created: Option<UnixSeconds>,
    /// Where to.
    pub address: Option<PayoutAddress>,
}

impl Payment {
    /// The day of it, in UTC.
    fn date(&self) -> Option<Date> {
        Some(Offset::UTC.to_datetime(Timestamp::from_second(self.created?.0).ok()?).date())
    }
}

/// What was paid at once: one payment, or several within [`SAME_PAYOUT_SECONDS`] of each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Payout<'a> {
    /// When its last part was paid.
    pub created: UnixSeconds,
    parts: Vec<&'a Payment>,
}

impl Payout<'_> {
    /// The sum of its parts.
    pub fn amount(&self) -> Option<Coins> {
        self.parts.iter().try_fold(Coins::default(), |sum, part| sum.checked_add(part.amount?))
    }

    /// Whether a part of it went to an address that no part of the payout before went to; `None` while an address that is
    /// not known decides that.
    fn went_elsewhere(&self, before: &Self) -> Option<bool> {
        let is_known = |address: &PayoutAddress| before.parts.iter().any(|part| part.address.as_ref() == Some(address));
        let all_known = before.parts.iter().all(|part| part.address.is_some());
        let mut elsewhere = Some(false);
        for part in &self.parts {
            match &part.address {
                Some(address) if is_known(address) => {}
                Some(_) if all_known => return Some(true),
                Some(_) | None => elsewhere = None,
            }
        }
        elsewhere
    }
}

/// The answer of `payment_history`, or several answers merged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Payments {
    /// The rows, by the pool's `payment_id`.
    pub by_id: BTreeMap<Id, Payment>,
    /// Rows that came without a readable id.
    pub unread: u64,
}

impl Payments {
    /// How many payments there were.
    pub fn count(&self) -> Option<u64> {
        (self.unread == 0).then_some(self.by_id.len() as u64)
    }

    /// The sum of them all.
    pub fn paid(&self) -> Option<Coins> {
        if self.unread > 0 {
            return None;
        }
        self.by_id.values().try_fold(Coins::default(), |sum, payment| sum.checked_add(payment.amount?))
    }

    /// The newest payout. Unknown while a row without a readable time might be a part of it.
    pub fn last(&self) -> Option<Payout<'_>> {
        self.newest_two()?.0
    }

    /// Whether the newest payout went to an address that the one before did not go to; unknown with fewer than two.
    pub fn address_changed(&self) -> Option<bool> {
        let (newest, before) = self.newest_two()?;
        newest?.went_elsewhere(&before?)
    }

    /// The usual time between two payouts, in seconds: the median of the intervals between the newest ones. Unknown with
    /// fewer than four payouts, and while rows without a readable time might be among them.
    pub fn usual_interval(&self) -> Option<f64> {
        if self.unread > 0 {
            return None;
        }
        let mut times = self.by_id.values().map(|payment| Some(payment.created?.0)).collect::<Option<Vec<_>>>()?;
        times.sort_unstable_by(|one, other| other.cmp(one));
        let mut intervals: Vec<_> = times.windows(2).map(|pair| pair[0] - pair[1]).collect();
        // What the pool pays in several parts is one payout; its parts would pull the median down to nothing.
        intervals.retain(|&interval| interval > SAME_PAYOUT_SECONDS);
        intervals.truncate(RHYTHM_PAYOUTS - 1);
        if intervals.len() < RHYTHM_INTERVALS {
            return None;
        }
        intervals.sort_unstable();
        // The one in the middle, or the two.
        let count = intervals.len();
        Some((intervals[(count - 1) / 2] + intervals[count / 2]) as f64 / 2.0)
    }

    /// The newest payout and the one before it; `None` while their order is not known.
    fn newest_two(&self) -> Option<(Option<Payout<'_>>, Option<Payout<'_>>)> {
        if self.unread > 0 {
            return None;
        }
        let mut rows = self.by_id.values().map(|row| Some((row.created?, row))).collect::<Option<Vec<_>>>()?;
        rows.sort_unstable_by_key(|(created, _)| *created);
        let newest = take_payout(&mut rows);
        let before = take_payout(&mut rows);
        Some((newest, before))
    }
}

/// Takes the newest payout from rows in the order of their times.
fn take_payout<'a>(rows: &mut Vec<(UnixSeconds, &'a Payment)>) -> Option<Payout<'a>> {
    let (created, newest) = rows.pop()?;
    let (mut parts, mut earliest) = (vec![newest], created.0);
    while let Some((at, part)) = rows.pop_if(|(at, _)| earliest - at.0 <= SAME_PAYOUT_SECONDS) {
        parts.push(part);
        earliest = at.0;
    }
    Some(Payout { created, parts })
}

impl History for Payments {
    fn merge(&mut self, from: Date, newer: Self) {
        self.by_id.retain(|_, payment| !payment.date().is_some_and(|date| is_surely_within(date, from)));
        self.by_id.extend(newer.by_id);
        self.unread += newer.unread;
    }

    fn resume_from(&self, today: Date) -> Option<Date> {
        let incomplete = |payment: &Payment| payment.amount.is_none() || payment.created.is_none();
        if self.unread > 0 || self.by_id.values().any(incomplete) {
            return None;
        }
        let newest = self.by_id.values().filter_map(Payment::date).max()?;
        newest.min(today).checked_sub(RESUME_OVERLAP_DAYS.days()).ok()
    }

    fn read_on(&mut self, _: Date) {
        // A payment is final when it is made.
    }
}

/// The pool's calendar day at a moment.
pub fn pool_day(now: Timestamp, day_utc_offset: Offset) -> Date {
    day_utc_offset.to_datetime(now).date()
}

/// The day of the pool before which, at a moment, all days are final.
pub fn final_before(now: Timestamp, day_utc_offset: Offset) -> Date {
    pool_day(now.checked_sub(GRACE).unwrap_or(now), day_utc_offset)
}

/// When the next day of the pool becomes final.
pub fn next_final(now: Timestamp, day_utc_offset: Offset) -> Option<Timestamp> {
    let midnight = day_start(final_before(now, day_utc_offset).tomorrow().ok()?, day_utc_offset)?;
    Timestamp::from_second(midnight.0).ok()?.checked_add(GRACE).ok()
}

/// When a day of the pool begins.
pub fn day_start(date: Date, day_utc_offset: Offset) -> Option<UnixSeconds> {
    let midnight = day_utc_offset.to_timestamp(date.at(0, 0, 0, 0)).ok()?;
    Some(UnixSeconds(midnight.as_second()))
}
