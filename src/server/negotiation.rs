//! Which of the two formats a scrape gets, by its Accept header, and how it is packed, by Accept-Encoding.

use axum::http::{HeaderMap, HeaderName, header};

use super::page::words::Language;
use crate::collector::{Format, kept::Encoding};

/// `OpenMetrics` when version 1.0.0 of it is asked for and wanted at least as much as plain text; else the classic
/// format, which every Prometheus and every browser can read. Whoever wants neither gets the classic format, too:
/// Prometheus' own libraries do not answer 406.
pub fn format(headers: &HeaderMap) -> Format {
    let mut open_metrics = 0.0_f32;
    let mut classic = 0.0_f32;
    for Accepted { what, quality, version } in accepted(headers, &header::ACCEPT) {
        match (what.as_str(), version) {
            ("application/openmetrics-text", None | Some("1.0.0")) => open_metrics = open_metrics.max(quality),
            ("text/plain", None | Some("0.0.4")) => classic = classic.max(quality),
            _ => {}
        }
    }
    if open_metrics > 0.0 && open_metrics >= classic { Format::OpenMetrics } else { Format::Classic }
}

/// By gzip when that is wanted at least as much as nothing.
pub fn encoding(headers: &HeaderMap) -> Encoding {
    let (mut gzip, mut identity, mut any) = (None, None, None);
    for Accepted { what, quality, .. } in accepted(headers, &header::ACCEPT_ENCODING) {
        match what.as_str() {
            "gzip" | "x-gzip" => gzip = Some(quality),
            "identity" => identity = Some(quality),
            "*" => any = Some(quality),
            _ => {}
        }
    }
    let gzip = gzip.or(any).unwrap_or(0.0);
    if gzip > 0.0 && gzip >= identity.unwrap_or(0.0) { Encoding::Gzip } else { Encoding::Identity }
}

/// The language that is wanted most, of those that there are.
pub fn language(headers: &HeaderMap) -> Language {
    let mut best = (0.0, Language::English);
    for Accepted { what, quality, .. } in accepted(headers, &header::ACCEPT_LANGUAGE) {
        // The first of several that are wanted as much.
        if let Some(language) = Language::of_tag(&what).filter(|_| quality > best.0) {
            best = (quality, language);
        }
    }
    best.1
}

/// One of the things that a client accepts.
struct Accepted<'a> {
    /// In small letters.
    what: String,
    /// How much it is wanted, 0 to 1.
    quality: f32,
    version: Option<&'a str>,
}

fn accepted<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = Accepted<'a>> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let what = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut accepted = Accepted { what, quality: 1.0, version: None };
        for (name, value) in parts.filter_map(|parameter| parameter.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => accepted.quality = value.parse().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0),
                "version" => accepted.version = Some(value),
                _ => {}
            }
        }
        accepted
    })
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

    #[test]
    fn gzip_only_for_clients_that_accept_it() {
        for (accept, expected) in [
            ("gzip", Encoding::Gzip),
            ("deflate, GZIP;q=0.5, br", Encoding::Gzip),
            ("*", Encoding::Gzip),
            ("gzip;q=0", Encoding::Identity),
            ("gzip;q=0, *", Encoding::Identity),
            ("gzip;q=0.3, identity;q=0.4", Encoding::Identity),
            ("identity", Encoding::Identity),
            ("br", Encoding::Identity),
            ("", Encoding::Identity),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, accept.parse().unwrap());
            assert_eq!(encoding(&headers), expected, "{accept}");
        }
        assert_eq!(encoding(&HeaderMap::new()), Encoding::Identity);
    }
    #[test]
    fn page_language_follows_preference() {
        for (accept, expected) in [
            ("ru", Language::Russian),
            ("ru-RU,ru;q=0.9,en-US;q=0.8,en;q=0.7", Language::Russian),
            ("kk-KZ,kk;q=0.9,ru;q=0.8,en;q=0.7", Language::Russian),
            ("en-US,en;q=0.9,ru;q=0.8", Language::English),
            ("en;q=0.4, RU;q=0.5", Language::Russian),
            ("ru;q=0", Language::English),
            ("de", Language::English),
            ("*", Language::English),
            ("", Language::English),
            ("rubbish", Language::English),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, accept.parse().unwrap());
            assert_eq!(language(&headers), expected, "{accept}");
        }
        assert_eq!(language(&HeaderMap::new()), Language::English);
    }
}
