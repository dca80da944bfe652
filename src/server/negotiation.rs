//! Which of the two formats a scrape gets, by its Accept header.

use axum::http::{HeaderMap, header};

use crate::collector::Format;

/// `OpenMetrics` when version 1.0.0 of it is asked for and wanted at least as much as plain text; else the classic
/// format, which every Prometheus and every browser can read. Whoever wants neither gets the classic format, too:
/// Prometheus' own libraries do not answer 406.
pub fn format(headers: &HeaderMap) -> Format {
    let mut open_metrics = 0.0_f32;
    let mut classic = 0.0_f32;
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in accepted.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut quality, mut version) = (1.0, None);
        for (name, value) in parts.filter_map(|parameter| parameter.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => quality = value.parse().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0),
                "version" => version = Some(value),
                _ => {}
            }
        }
        match (kind.as_str(), version) {
            ("application/openmetrics-text", None | Some("1.0.0")) => open_metrics = open_metrics.max(quality),
            ("text/plain", None | Some("0.0.4")) => classic = classic.max(quality),
            _ => {}
        }
    }
    if open_metrics > 0.0 && open_metrics >= classic { Format::OpenMetrics } else { Format::Classic }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiate(accept: &str) -> Format {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        format(&headers)
    }

    #[test]
    fn clients_get_the_format_that_they_want() {
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";
        for (accept, expected) in [
            (prometheus_2, Format::OpenMetrics),
            (prometheus_3, Format::OpenMetrics),
            (browser, Format::Classic),
            ("*/*", Format::Classic),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"", Format::OpenMetrics),
            ("application/openmetrics-text; version=0.0.1", Format::Classic),
            ("application/openmetrics-text; q=0", Format::Classic),
            ("application/openmetrics-text;q=0.4, text/plain;q=0.5", Format::Classic),
            ("application/openmetrics-text;q=nonsense", Format::Classic),
            ("text/plain, application/openmetrics-text", Format::OpenMetrics),
            (";;;,,=", Format::Classic),
        ] {
            assert_eq!(negotiate(accept), expected, "{accept}");
        }
        assert_eq!(format(&HeaderMap::new()), Format::Classic);
    }
}
