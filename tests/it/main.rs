//! The integration tests: one program, so that it is linked once.
//!
//! | module | what it holds the exporter to |
//! |---|---|
//! | `client` | each endpoint's answers and failures, against a real HTTP server |
//! | `paging` | lists in pages, from servers that lie |
//! | `exposition` | the whole text in both formats, against golden files |
//! | `kept` | the fast way to the exposition: the same as the plain one, whatever a store holds |
//! | `properties` | any answer, any name: never a panic, always a text that parses |
//! | `config` | configuration files, the environment, and every broken rule |
//! | `commands` | the program itself: commands, flags, exit codes, signals |
//! | `notify` | what a service manager is told: start, reloads, end, signs of life |
//! | `polling` | cadences, honesty under failure, accounts that do not touch each other |
//! | `reload` | taking up another configuration while running |
//! | `reload_queue` | many reloads at once |
//! | `serving` | HTTP: negotiation, narrowing, discovery, health, limits |
//! | `account_query` | `?account=` with thousands of accounts: what the longest query costs |
//! | `raw_requests` | HTTP as bytes: old, odd and mistaken clients |
//! | `probes` | `/-/healthy` and `/-/ready` have no rate limit |
//! | `listening` | `:PORT` takes IPv4 and IPv6, and `health` finds it by either |
//! | `client_certificates` | which certificates of clients are taken, and what the log says of the others |
//! | `secure` | the web configuration at work: TLS, clients' certificates, users, the rate limit, headers |
//! | `web_config` | the web configuration: what each file comes to, and every broken rule |
//! | `backfill` | the past as OpenMetrics: the same as was shown then, to the letter, and how the command ends |
//! | `income` | days, sums and payouts: exact, at every offset; the audit on the published samples |
//! | `rules` | rules and dashboards: they name what there is; every alert is tested and explained; translations |
//! | `demo` | the simulated pool, polled as the real one |
//! | `manual` | the manual page and the completions against the command line; the package's files against the program |
//! | `docs` | the documentation's tables and examples against the code |
//!
//! `harness` starts exporters and pools; `web_files` makes certificates; `parser` reads expositions, strictly and without
//! the code under test.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![expect(clippy::excessive_precision, reason = "figures stand here as the pool wrote them")]

mod account_query;
mod backfill;
mod client;
mod client_certificates;
mod commands;
mod config;
mod connections;
mod demand;
mod demo;
mod docs;
mod exposition;
mod harness;
mod income;
mod kept;
mod listening;
mod manual;
mod notify;
mod page;
mod paging;
mod parser;
mod polling;
mod probes;
mod properties;
mod raw_requests;
mod reload;
mod reload_queue;
mod rules;
mod secure;
mod serving;
mod web_config;
mod web_files;
