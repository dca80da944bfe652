//! Any Accept headers, a line for each: an answer is always found, and it is one that a client asked for or can read.

#![no_main]

use axum::http::{HeaderMap, HeaderValue, header};
use btcpool_exporter::{collector::Format, server::negotiation};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|&byte| byte == b'\n').take(64) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(header::ACCEPT, value);
        }
    }
    if negotiation::format(&headers) == Format::OpenMetrics {
        let asked = |value: &HeaderValue| {
            String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase().contains("application/openmetrics-text")
        };
        assert!(headers.get_all(header::ACCEPT).iter().any(asked), "{headers:?}");
    }
    // Headers that come apart are one list.
    let values: Option<Vec<_>> = headers.get_all(header::ACCEPT).iter().map(|value| value.to_str().ok()).collect();
    if let Some(Ok(joined)) = values.map(|values| HeaderValue::from_str(&values.join(","))) {
        let together = HeaderMap::from_iter([(header::ACCEPT, joined)]);
        assert_eq!(negotiation::format(&together), negotiation::format(&headers));
    }
});
