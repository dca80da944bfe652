//! The configuration that is in use, as the page shows it.

use super::shown;
use crate::{
    config::{Config, duration_text, utc_offset_text},
    model::Currency,
};

/// Each key with its value, without accounts and their keys.
pub fn settings(config: &Config) -> Vec<(&'static str, String)> {
    let (api, polling, web) = (&config.api, &config.polling, &config.web);
    let addresses: Vec<_> = web.listen_addresses.iter().map(ToString::to_string).collect();
    let file = web.config_file.as_ref().map(|file| file.display());
    let mut settings = vec![
        ("api.base_url", api.base_url.to_string()),
        ("api.timeout", duration_text(api.timeout)),
        ("api.concurrency", api.concurrency.to_string()),
        ("api.requests_per_second", api.requests_per_second.to_string()),
        ("api.page_size", api.page_size.to_string()),
        ("api.max_response_bytes", api.max_response_bytes.to_string()),
        ("api.retry_after_max", duration_text(api.retry_after_max)),
        ("api.reject_rate_unit", api.reject_rate_unit.as_str().to_owned()),
        ("api.day_utc_offset", utc_offset_text(api.day_utc_offset)),
        ("polling.live.interval", duration_text(polling.live.interval)),
        ("polling.live.stale_after", duration_text(polling.live.stale_after)),
        ("polling.history.interval", duration_text(polling.history.interval)),
        ("polling.history.stale_after", duration_text(polling.history.stale_after)),
        ("shard.index", config.shard.index.to_string()),
        ("shard.count", config.shard.count.to_string()),
        ("web.listen_addresses", addresses.join(", ")),
        ("web.telemetry_path", web.telemetry_path.clone()),
        ("web.max_requests", web.max_requests.to_string()),
        ("web.config_file", shown(file)),
        ("web.enable_lifecycle", web.enable_lifecycle.to_string()),
        ("web.systemd_socket", web.systemd_socket.to_string()),
        ("log.level", config.log.level.as_str().to_owned()),
        ("log.format", config.log.format.as_str().to_owned()),
    ];
    let subsidies = config.block_subsidies.iter().map(|(currency, coins)| {
        let key = match currency {
            Currency::Btc => "coins.BTC.block_subsidy",
            Currency::Bch => "coins.BCH.block_subsidy",
            Currency::Ltc => "coins.LTC.block_subsidy",
        };
        (key, coins.to_string())
    });
    settings.extend(subsidies);
    settings
}
