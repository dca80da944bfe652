//! The integration tests: one program, so that it is linked once.
//!
//! | module | what it holds the exporter to |
//! |---|---|
//! | `client` | each endpoint's answers and failures, against a real HTTP server |
//! | `transport` | connections to the pool: reuse, one retry, replacement, proxies, trust roots |
//! | `answers` | unusual answers that are still readable: odd rows, compressed bodies, signed amounts |
//! | `paging` | lists in pages, from servers that lie |
//! | `lists` | lists that are short for good, or longer than is exported |
//! | `exposition` | the whole text in both formats, against golden files |
//! | `kept` | the fast way to the exposition: the same as the plain one, whatever a store holds |
//! | `properties` | any answer, any name: never a panic, always a text that parses |
//! | `config` | configuration files, the environment, and every broken rule |
//! | `config_faults` | several faults of a configuration at once |
//! | `keys` | keys with something around them, and key files that cannot be read |
//! | `commands` | the program itself: commands, flags, exit codes, signals |
//! | `textfile` | `once --output`: the file is replaced when the new one is complete |
//! | `notify` | what a service manager is told: start, reloads, end, signs of life |
//! | `polling` | cadences, honesty under failure, accounts that do not touch each other |
//! | `demand` | the requests that polling needs, and what is said when the budget is too small |
//! | `reload` | taking up another configuration while running |
//! | `reload_queue` | many reloads at once |
//! | `serving` | HTTP: negotiation, narrowing, discovery, health, limits |
//! | `connections` | connections that are silent, slow, many, or do not read |
//! | `page` | the status page: whole, in both languages, in each state |
//! | `account_query` | `?account=` with thousands of accounts: what the longest query costs |
//! | `raw_requests` | HTTP as bytes: old, odd and mistaken clients |
//! | `probes` | `/-/healthy` and `/-/ready` have no rate limit |
//! | `listening` | `:PORT` takes IPv4 and IPv6, and `health` finds it by either |
//! | `client_certificates` | which certificates of clients are taken, and what the log says of the others |
//! | `secure` | the web configuration at work: TLS, clients' certificates, users, the rate limit, headers |
//! | `web_config` | the web configuration: what each file comes to, and every broken rule |
//! | `backfill` | the past as OpenMetrics: the same as was shown then, to the letter, and how the command ends |
//! | `histories` | when a day is final, what belongs to one payout |
//! | `income` | days, sums and payouts: exact, at every offset; the audit on the published samples |
//! | `rules` | rules and dashboards: they name what there is; every alert is tested and explained; translations |
//! | `demo` | the simulated pool, polled as the real one |
//! | `manual` | the manual page and the completions against the command line; the package's files against the program |
//! | `docs` | the documentation's tables and examples against the code |
//!
//! `harness` has the configurations and rows of these tests; what other targets use, too, is in `support`.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![expect(clippy::excessive_precision, reason = "figures stand here as the pool wrote them")]

mod account_query;
mod answers;
mod backfill;
mod client;
mod client_certificates;
mod commands;
mod config;
mod config_faults;
mod connections;
mod demand;
mod demo;
mod docs;
mod exposition;
mod harness;
mod histories;
mod income;
mod kept;
mod keys;
mod listening;
mod lists;
mod manual;
mod notify;
mod page;
mod paging;
mod polling;
mod probes;
mod properties;
mod raw_requests;
mod reload;
mod reload_queue;
mod rules;
mod secure;
mod serving;
#[allow(dead_code, reason = "each target uses a part of it")]
#[path = "../support/mod.rs"]
mod support;
mod textfile;
mod transport;
mod web_config;

use support::parser;
