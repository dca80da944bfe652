//! The texts that configuration values are written in.

use std::time::Duration;

use jiff::{SignedDuration, tz::Offset};

use crate::model::Hashrate;

/// `15s`, `5m`, `1h30m`, `500ms`.
pub fn duration(text: &str) -> Option<Duration> {
    // Only the friendly form: jiff would take ISO 8601's PT15S too, which nobody expects here.
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    text.parse::<SignedDuration>().ok()?.try_into().ok()
}

/// The same the other way round.
pub fn duration_text(duration: Duration) -> String {
    SignedDuration::try_from(duration)
        .map_or_else(|_| format!("{duration:?}"), |duration| format!("{duration:#}").replace(' ', ""))
}

/// `8MiB`, `500 kB`, `1048576`.
pub fn bytes(text: &str) -> Option<usize> {
    usize::try_from(text.parse::<bytesize::ByteSize>().ok()?.as_u64()).ok()
}

/// `+08:00`, `-03:30`, `00:00`.
pub fn utc_offset(text: &str) -> Option<Offset> {
    let (sign, clock) = match text.strip_prefix('-') {
        Some(clock) => (-1, clock),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (hours, minutes) = clock.split_once(':')?;
    let two_digits = |text: &str| {
        (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<i32>().ok()).flatten()
    };
    let (hours, minutes) = (two_digits(hours)?, two_digits(minutes)?);
    let seconds = sign * (hours * 3600 + minutes * 60);
    let real = minutes < 60 && (-12 * 3600..=14 * 3600).contains(&seconds);
    real.then(|| Offset::from_seconds(seconds).ok()).flatten()
}

/// The same the other way round.
pub fn utc_offset_text(offset: Offset) -> String {
    let sign = if offset.is_negative() { '-' } else { '+' };
    let minutes = offset.seconds().unsigned_abs() / 60;
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

/// `12 PH/s`, `950TH/s`, `3.5 GH`, `1e15`; hashes per second when there is no unit. Not zero.
pub fn hashrate(text: &str) -> Option<Hashrate> {
    let text = text.strip_suffix("/s").unwrap_or(text);
    let text = text.strip_suffix(['H', 'h']).unwrap_or(text).trim_end();
    let (number, factor) = match text.char_indices().next_back()? {
        (at, 'k' | 'K') => (&text[..at], 1e3),
        (at, 'M') => (&text[..at], 1e6),
        (at, 'G') => (&text[..at], 1e9),
        (at, 'T') => (&text[..at], 1e12),
        (at, 'P') => (&text[..at], 1e15),
        (at, 'E') => (&text[..at], 1e18),
        (at, 'Z') => (&text[..at], 1e21),
        _ => (text, 1.0),
    };
    let number: f64 = number.trim_end().parse().ok()?;
    Hashrate::new(number * factor).filter(|hashrate| hashrate.as_f64() > 0.0)
}
