//! Noon at the simulated pool, on the day that it is for an exporter that is told to count days so. No midnight comes
//! while a test runs, whatever time of the day it is run at.

use jiff::{Timestamp, tz::Offset};

/// The pool's noon, and the exporter's `api.day_utc_offset`.
pub fn noon() -> (Timestamp, String) {
    let now = Timestamp::now();
    let hours = 12 - Offset::UTC.to_datetime(now).hour();
    let day = Offset::constant(hours).to_datetime(now).date();
    // The simulated pool's own day begins at +08:00.
    let noon = Offset::constant(8).to_timestamp(day.at(12, 0, 0, 0)).unwrap();
    (noon, format!("{}{:02}:00", if hours < 0 { '-' } else { '+' }, hours.unsigned_abs()))
}
