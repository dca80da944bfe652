//! The shape of the configuration: its keys, with values that are still text.

use std::{collections::BTreeMap, fmt};

use secrecy::SecretString;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    pub api: RawApi,
    pub polling: RawPolling,
    pub accounts: BTreeMap<String, RawAccount>,
    pub coins: BTreeMap<String, RawCoin>,
    pub shard: RawShard,
    pub web: RawWeb,
    pub log: RawLog,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawApi {
    pub base_url: String,
    pub timeout: String,
    pub concurrency: String,
    pub requests_per_second: String,
    pub page_size: String,
    pub max_response_bytes: String,
    pub retry_after_max: String,
    pub reject_rate_unit: String,
    pub day_utc_offset: String,
    pub allow_insecure_http: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPolling {
    pub live: RawCadence,
    pub history: RawCadence,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCadence {
    pub interval: String,
    pub stale_after: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawAccount {
    pub api_key: Option<SecretString>,
    pub api_key_file: Option<SecretString>,
    pub currencies: Option<OneOrMore>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub expected_hashrate: BTreeMap<String, String>,
    #[serde(default)]
    pub workers: RawWorkers,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct RawWorkers {
    pub enabled: Option<String>,
    pub max: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCoin {
    pub block_subsidy: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawShard {
    pub index: String,
    pub count: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawWeb {
    pub listen_addresses: OneOrMore,
    pub telemetry_path: String,
    pub max_requests: String,
    pub config_file: String,
    pub enable_lifecycle: String,
    pub systemd_socket: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLog {
    pub level: String,
    pub format: String,
}

/// A list, which a variable of the environment may write with commas.
pub struct OneOrMore(pub Vec<String>);

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;

        impl<'de> serde::de::Visitor<'de> for ListVisitor {
            type Value = OneOrMore;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_str<E>(self, text: &str) -> Result<OneOrMore, E> {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Ok(OneOrMore(items.map(str::to_owned).collect()))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<OneOrMore, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(OneOrMore(list))
            }
        }

        deserializer.deserialize_any(ListVisitor)
    }
}
