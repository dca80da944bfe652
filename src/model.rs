//! What the pool tells, as typed values. Imports nothing of ours.
//!
//! Units are in the types: [`Coins`] counts 1e-8 coin, [`Hashrate`] is hashes per second, [`Ratio`] is a share of
//! one, [`UnixSeconds`] is a point in time. A figure that the pool did not tell, or that could not be read, is
//! `None`: there is no zero for the unknown.

use std::{fmt, str::FromStr, sync::Arc};

use smol_str::SmolStr;

/// A coin that the pool mines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Currency {
    /// Bitcoin.
    Btc,
    /// Bitcoin Cash.
    Bch,
    /// Litecoin.
    Ltc,
}

impl Currency {
    /// Every currency, in the order of the exposition.
    pub const ALL: [Self; 3] = [Self::Btc, Self::Bch, Self::Ltc];

    /// The API's own spelling, which is the value of the `currency` label too.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Btc => "BTC",
            Self::Bch => "BCH",
            Self::Ltc => "LTC",
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Currency {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|c| c.as_str().eq_ignore_ascii_case(text)).ok_or(())
    }
}

/// One of the five methods of the pool's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// Statistics of the whole pool; needs no key.
    MainStat,
    /// An account's hashrate, worker counts and balance.
    SummaryData,
    /// An account's income, a row for each day.
    ProfitHistory,
    /// An account's payouts.
    PaymentHistory,
    /// An account's workers.
    Workers,
}

impl Endpoint {
    /// Every endpoint, in the order of the exposition.
    pub const ALL: [Self; 5] =
        [Self::MainStat, Self::SummaryData, Self::ProfitHistory, Self::PaymentHistory, Self::Workers];

    /// The `method` of the request, which is the value of the `endpoint` label too.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MainStat => "main_stat",
            Self::SummaryData => "summary_data",
            Self::ProfitHistory => "profit_history",
            Self::PaymentHistory => "payment_history",
            Self::Workers => "workers",
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a poll, or a request, failed: the `reason` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// No complete answer within the timeout.
    Timeout,
    /// Refused, unreachable, reset, cut before the promised length, or no HTTP.
    Connect,
    /// The host's name could not be resolved.
    Dns,
    /// No trusted TLS connection.
    Tls,
    /// 401 or 403.
    Auth,
    /// 429.
    RateLimited,
    /// Another status from 400 on.
    Http4xx,
    /// A status from 500 on.
    Http5xx,
    /// A redirect, which is not followed.
    Redirect,
    /// An empty body, or one that does not begin as JSON.
    NotJson,
    /// Begins as JSON, and is broken, cut, or of the wrong shape.
    Decode,
    /// More than the configured number of bytes.
    BodyTooLarge,
    /// The pool reports an error of its own.
    ApiError,
    /// A page of several could not be had.
    Incomplete,
}

impl Reason {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 14] = [
        Self::Timeout,
        Self::Connect,
        Self::Dns,
        Self::Tls,
        Self::Auth,
        Self::RateLimited,
        Self::Http4xx,
        Self::Http5xx,
        Self::Redirect,
        Self::NotJson,
        Self::Decode,
        Self::BodyTooLarge,
        Self::ApiError,
        Self::Incomplete,
    ];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::RateLimited => "rate_limited",
            Self::Http4xx => "http_4xx",
            Self::Http5xx => "http_5xx",
            Self::Redirect => "redirect",
            Self::NotJson => "not_json",
            Self::Decode => "decode",
            Self::BodyTooLarge => "body_too_large",
            Self::ApiError => "api_error",
            Self::Incomplete => "incomplete",
        }
    }
}

/// The name that the configuration gives an account: the `account` label. 1 to 64 printable characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountName(Arc<str>);

impl AccountName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AccountName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.chars().count() {
            0 => Err("an account's name is empty"),
            65.. => Err("an account's name has more than 64 characters"),
            _ if text.chars().any(plays_tricks) => Err("an account's name has a character that cannot be printed"),
            _ if text.trim() != text => Err("an account's name begins or ends with a space"),
            _ => Ok(Self(text.into())),
        }
    }
}

/// Characters that would play tricks with whoever reads a text: they break its line, or turn the direction of what is
/// around them, and so can make a label look like another.
pub fn plays_tricks(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Whether nothing in the text could do harm where it is shown; other texts may be as harmless.
pub fn is_printable_ascii(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// One currency of one account: what has a balance, workers and a history of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The account's configured name.
    pub account: AccountName,
    /// The currency it mines.
    pub currency: Currency,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.account, self.currency)
    }
}

/// An amount of a coin, in 1e-8 of it, so that sums are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Coins(i64);

impl Coins {
    /// How many units make one coin.
    pub const UNITS: i64 = 100_000_000;

    /// An amount of that many units of 1e-8.
    pub const fn from_units(units: i64) -> Self {
        Self(units)
    }

    /// The amount in units of 1e-8.
    pub const fn units(self) -> i64 {
        self.0
    }

    /// The amount in whole coins: the floating-point number nearest to the exact decimal.
    pub fn as_f64(self) -> f64 {
        // Both operands are exact (amounts stay below 2^53 units), so the quotient is correctly rounded.
        self.0 as f64 / Self::UNITS as f64
    }

    /// The sum, or `None` where it does not fit.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// Reads a decimal number of coins, with or without an exponent (PHP writes `7.6E-5`). Digits beyond the eighth
    /// decimal place are rounded half away from zero. `None` for what is no number or cannot fit.
    pub fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.len() + fraction.len() == 0 {
            return None;
        }
        let mut digits: i128 = 0;
        let mut dropped: i32 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            if !byte.is_ascii_digit() {
                return None;
            }
            // Beyond 30 digits only the magnitude matters any more, and it is kept in the exponent.
            if digits < 10_i128.pow(30) {
                digits = digits * 10 + i128::from(byte - b'0');
            } else {
                dropped = dropped.checked_add(1)?;
            }
        }
        let scale = i32::try_from(fraction.len()).ok()?;
        let shift = exponent.checked_sub(scale)?.checked_add(dropped)?.checked_add(8)?;
        let units = if digits == 0 {
            0
        } else if shift >= 0 {
            digits.checked_mul(10_i128.checked_pow(shift.unsigned_abs())?)?
        } else {
            match 10_i128.checked_pow(shift.unsigned_abs()) {
                Some(divisor) => (digits + divisor / 2) / divisor,
                None => 0,
            }
        };
        i64::try_from(if negative { -units } else { units }).ok().map(Self)
    }
}

impl fmt::Display for Coins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let units = self.0.unsigned_abs();
        let coin = Self::UNITS.unsigned_abs();
        write!(f, "{sign}{}.{:08}", units / coin, units % coin)
    }
}

/// Hashes per second; finite and not negative.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Hashrate(f64);

impl Hashrate {
    /// A hashrate, or `None` for what cannot be one.
    pub fn new(hashes_per_second: f64) -> Option<Self> {
        (hashes_per_second.is_finite() && hashes_per_second >= 0.0).then_some(Self(hashes_per_second))
    }

    /// Hashes per second.
    pub const fn as_f64(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Hashrate {
    /// For people: three significant digits with an SI prefix, as in `12.3 PH/s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0;
        let mut prefixes = ["", "k", "M", "G", "T", "P", "E", "Z"].into_iter();
        let mut prefix = prefixes.next().unwrap_or_default();
        while value >= 999.5 {
            let Some(next) = prefixes.next() else { break };
            value /= 1000.0;
            prefix = next;
        }
        let decimals = if value == 0.0 || value >= 99.95 {
            0
        } else if value >= 9.995 {
            1
        } else {
            2
        };
        write!(f, "{value:.decimals$} {prefix}H/s")
    }
}

/// A share of one, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Ratio(f64);

impl Ratio {
    /// A ratio, or `None` for what is not between 0 and 1.
    pub fn new(value: f64) -> Option<Self> {
        (0.0..=1.0).contains(&value).then_some(Self(value))
    }

    /// The share, 0 to 1.
    pub const fn as_f64(self) -> f64 {
        self.0
    }
}

/// Seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixSeconds(pub i64);

/// What `main_stat` tells of one coin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CoinStats {
    /// Miners connected to the pool.
    pub miners: Option<u64>,
    /// The pool's fee (told in percent, held as a share).
    pub fee: Option<Ratio>,
    /// The whole pool's hashrate.
    pub pool_hashrate: Option<Hashrate>,
    /// The whole network's hashrate.
    pub network_hashrate: Option<Hashrate>,
    /// The network's difficulty.
    pub network_difficulty: Option<f64>,
}

/// The answer of `main_stat`, in the order of [`Currency::ALL`]; a coin that it does not tell of is absent.
pub type PoolStats = Vec<(Currency, CoinStats)>;

/// The three windows over which the pool averages a hashrate.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HashrateWindows {
    /// Over ten minutes: jumps by some 30 % between two reads.
    pub ten_minutes: Option<Hashrate>,
    /// Over one hour.
    pub one_hour: Option<Hashrate>,
    /// Over 24 hours.
    pub day: Option<Hashrate>,
}

/// The answer of `summary_data`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Workers that the pool calls active.
    pub active_workers: Option<u64>,
    /// Workers that the pool calls inactive.
    pub inactive_workers: Option<u64>,
    /// The account's hashrate.
    pub hashrate: HashrateWindows,
    /// What was earned and not paid out yet.
    pub balance: Option<Coins>,
}

/// An id that the pool gave to a worker or a payment. Ids that are numbers are in the order of the numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Id(SmolStr);

impl Id {
    /// The longest id that is taken, in characters.
    const MAX_CHARACTERS: usize = 64;

    /// An id, or `None` for a text that is empty, longer than 64 characters, or not printable.
    pub fn new(text: &str) -> Option<Self> {
        let printable = is_printable_ascii(text) || !text.chars().any(plays_tricks);
        (printable && (1..=Self::MAX_CHARACTERS).contains(&text.chars().count())).then(|| Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ord for Id {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let [own, other] = [self.as_str(), other.as_str()];
        (own.len(), own).cmp(&(other.len(), other))
    }
}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
