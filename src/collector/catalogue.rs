//! Every metric: its name, what it tells, and where its samples come from.
//!
//! The names, labels and meanings are a promise to whoever wrote a dashboard or an alert: they may be added to, not
//! changed.

use std::fmt;

use super::{
    Family, Kind, Samples, Source, Value, View, WorkerSamples,
    view::{Own, Poll, TargetView},
};
use crate::{
    clock::unix_seconds,
    history::{IncomeDay, Period, day_start},
    model::{CoinStats, Coins, Hashrate, HashrateWindows, Ratio},
    process,
    wire::Worker,
};

/// Labels of what concerns the whole pool.
const COIN: &[&str] = &["currency"];
/// Labels of what concerns one currency of one account.
const TARGET: &[&str] = &["account", "currency"];
/// Labels of what concerns one worker.
const WORKER: &[&str] = &["account", "currency", "worker", "worker_id"];
/// Labels of what concerns one slot; `main_stat` has `endpoint` only.
const SLOT: &[&str] = &["account", "currency", "endpoint"];

/// A gauge of what is known.
const fn gauge(
    name: &'static str,
    unit: Option<&'static str>,
    labels: &'static [&'static str],
    help: &'static str,
    samples: fn(&View, &mut Samples<'_>) -> fmt::Result,
) -> Family {
    Family { name, unit, kind: Kind::Gauge, labels, help, samples: Source::Known(samples) }
}

/// A count of what is known.
const fn counter(
    name: &'static str,
    unit: Option<&'static str>,
    labels: &'static [&'static str],
    help: &'static str,
    samples: fn(&View, &mut Samples<'_>) -> fmt::Result,
) -> Family {
    Family { name, unit, kind: Kind::Counter, labels, help, samples: Source::Known(samples) }
}

/// A gauge of every worker that is exported.
const fn worker(
    name: &'static str,
    unit: Option<&'static str>,
    labels: &'static [&'static str],
    help: &'static str,
    samples: fn(&Worker, &mut WorkerSamples<'_>) -> fmt::Result,
) -> Family {
    Family { name, unit, kind: Kind::Gauge, labels, help, samples: Source::Worker(samples) }
}

/// A gauge of the exporter's own.
const fn own_gauge(
    name: &'static str,
    unit: Option<&'static str>,
    labels: &'static [&'static str],
    help: &'static str,
    samples: fn(&Own, &mut Samples<'_>) -> fmt::Result,
) -> Family {
    Family { name, unit, kind: Kind::Gauge, labels, help, samples: Source::Own(samples) }
}

/// A count of the exporter's own.
const fn own_counter(
    name: &'static str,
    unit: Option<&'static str>,
    labels: &'static [&'static str],
    help: &'static str,
    samples: fn(&Own, &mut Samples<'_>) -> fmt::Result,
) -> Family {
    Family { name, unit, kind: Kind::Counter, labels, help, samples: Source::Own(samples) }
}

const COINS: Option<&str> = Some("coins");
const HASHES_PER_SECOND: Option<&str> = Some("hashes_per_second");
const RATIO: Option<&str> = Some("ratio");
const SECONDS: Option<&str> = Some("seconds");
const BYTES: Option<&str> = Some("bytes");

/// Every family, in the order of the exposition.
pub const CATALOGUE: &[Family] = &[
    // What the pool says.
    gauge("btcpool_pool_miners", None, COIN, "Miners connected to the pool (main_stat miners)", |view, out| {
        coins(view, out, |coin| coin.miners.map(Value::Whole))
    }),
    gauge(
        "btcpool_pool_fee_ratio",
        RATIO,
        COIN,
        "The pool's fee as a share of one (main_stat fee, in percent, / 100); it is not the PPS fee",
        |view, out| coins(view, out, |coin| coin.fee.map(ratio)),
    ),
    gauge(
        "btcpool_pool_hashrate_hashes_per_second",
        HASHES_PER_SECOND,
        COIN,
        "Hashrate of the whole pool (main_stat poolHs)",
        |view, out| coins(view, out, |coin| coin.pool_hashrate.map(hashrate)),
    ),
    gauge(
        "btcpool_network_hashrate_hashes_per_second",
        HASHES_PER_SECOND,
        COIN,
        "Hashrate of the coin's whole network (main_stat networkHs)",
        |view, out| coins(view, out, |coin| coin.network_hashrate.map(hashrate)),
    ),
    gauge(
        "btcpool_network_difficulty",
        None,
        COIN,
        "Difficulty of the coin's network (main_stat networkDiff)",
        |view, out| coins(view, out, |coin| coin.network_difficulty.map(Value::Real)),
    ),
    gauge(
        "btcpool_network_block_subsidy_coins",
        COINS,
        COIN,
        "What a block pays its finder, fees aside, as configured under coins",
        |view, out| {
            let mut subsidies = view.common.iter().flat_map(|common| &common.block_subsidies);
            subsidies.try_for_each(|(currency, &subsidy)| out(&[("currency", currency.as_str())], Value::Real(subsidy)))
        },
    ),
    // Each account and currency.
    gauge(
        "btcpool_account_info",
        None,
        &["account"],
        "1 for each configured account, with the labels that the configuration gives it",
        |view, out| {
            view.accounts.iter().try_for_each(|account| {
                let configured = account.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                let labels: Vec<_> = [("account", account.name.as_str())].into_iter().chain(configured).collect();
                out(&labels, Value::Whole(1))
            })
        },
    ),
    gauge(
        "btcpool_account_workers",
        None,
        &["account", "currency", "state"],
        "Workers by the pool's own count, by state (summary_data active_workers, unactive_workers)",
        |view, out| {
            targets(view, out, |target, out| {
                let Some(summary) = &target.summary else { return Ok(()) };
                out("state", "active", summary.active_workers.map(Value::Whole))?;
                out("state", "inactive", summary.inactive_workers.map(Value::Whole))
            })
        },
    ),
    gauge(
        "btcpool_account_hashrate_hashes_per_second",
        HASHES_PER_SECOND,
        &["account", "currency", "window"],
        "Hashrate of the account over a window of time (summary_data hashrate_10min, _1hour, _24hour)",
        |view, out| {
            targets(view, out, |target, out| match &target.summary {
                Some(summary) => windows(&summary.hashrate, out),
                None => Ok(()),
            })
        },
    ),
    gauge(
        "btcpool_account_expected_hashrate_hashes_per_second",
        HASHES_PER_SECOND,
        TARGET,
        "Hashrate that the configuration expects of the account (expected_hashrate)",
        |view, out| {
            view.accounts.iter().try_for_each(|account| {
                account.expected_hashrate.iter().try_for_each(|(currency, &expected)| {
                    out(&[("account", account.name.as_str()), ("currency", currency.as_str())], hashrate(expected))
                })
            })
        },
    ),
    gauge(
        "btcpool_account_balance_coins",
        COINS,
        TARGET,
        "Earned and not paid out yet (summary_data balance)",
        |view, out| each(view, out, |target| target.summary.as_ref()?.balance.map(amount)),
    ),
    gauge(
        "btcpool_account_income_today_coins",
        COINS,
        &["account", "currency", "scheme"],
        "Income of the running day so far, by scheme (profit_history pps_profit, pplns_profit)",
        |view, out| {
            targets(view, out, |target, out| {
                schemes(target.income.as_ref().and_then(|income| income.today(view.today)), out)
            })
        },
    ),
    gauge(
        "btcpool_account_income_last_day_coins",
        COINS,
        &["account", "currency", "scheme"],
        "Income of the newest day that is over, by scheme (profit_history pps_profit, pplns_profit)",
        |view, out| {
            targets(view, out, |target, out| {
                schemes(target.income.as_ref().and_then(|income| income.last_day(view.today)), out)
            })
        },
    ),
    gauge(
        "btcpool_account_income_last_day_timestamp_seconds",
        SECONDS,
        TARGET,
        "When the newest day that is over began (profit_history date)",
        |view, out| {
            each(view, out, |target| {
                let day = target.income.as_ref()?.last_day(view.today)?;
                Some(Value::Real(day_start(day.date, view.day_utc_offset)?.0 as f64))
            })
        },
    ),
    gauge(
        "btcpool_account_income_last_day_hashrate_hashes_per_second",
        HASHES_PER_SECOND,
        TARGET,
        "Mean hashrate of the newest day that is over (profit_history hashrate)",
        |view, out| each(view, out, |target| target.income.as_ref()?.last_day(view.today)?.hashrate.map(hashrate)),
    ),
    gauge(
        "btcpool_account_income_coins",
        COINS,
        &["account", "currency", "period"],
        "Income of the last 7 or 30 calendar days before today, or of every day that is over (sum of total_profit)",
        |view, out| {
            targets(view, out, |target, out| {
                let Some(income) = &target.income else { return Ok(()) };
                Period::ALL
                    .into_iter()
                    .try_for_each(|period| out("period", period.as_str(), income.sum(period, view.today).map(amount)))
            })
        },
    ),
    gauge(
        "btcpool_account_payments",
        None,
        TARGET,
        "Payouts that the pool's list holds (payment_history)",
        |view, out| each(view, out, |target| target.payments.as_ref()?.count().map(Value::Whole)),
    ),
    gauge("btcpool_account_paid_coins", COINS, TARGET, "Sum of all payouts (payment_history amount)", |view, out| {
        each(view, out, |target| target.payments.as_ref()?.paid().map(amount))
    }),
    gauge(
        "btcpool_account_last_payment_coins",
        COINS,
        TARGET,
        "The newest payout (payment_history amount)",
        |view, out| each(view, out, |target| target.payments.as_ref()?.last()?.amount().map(amount)),
    ),
    gauge(
        "btcpool_account_last_payment_timestamp_seconds",
        SECONDS,
        TARGET,
        "When the newest payout was made (payment_history created_time)",
        |view, out| each(view, out, |target| Some(Value::Real(target.payments.as_ref()?.last()?.created.0 as f64))),
    ),
    gauge(
        "btcpool_account_payment_interval_seconds",
        SECONDS,
        TARGET,
        "Usual time between two payouts: the median of the newest 30 intervals (payment_history created_time)",
        |view, out| each(view, out, |target| target.payments.as_ref()?.usual_interval().map(Value::Real)),
    ),
    gauge(
        "btcpool_account_payout_address_changed",
        None,
        TARGET,
        "1 when the newest payout went to another address than the one before it, 0 when not",
        |view, out| {
            each(view, out, |target| {
                target.payments.as_ref()?.address_changed().map(|changed| Value::Whole(changed.into()))
            })
        },
    ),
    gauge(
        "btcpool_account_workers_listed",
        None,
        TARGET,
        "Distinct workers in the pool's list (workers)",
        |view, out| each(view, out, |target| Some(Value::Whole(target.workers.as_ref()?.listed()))),
    ),
    gauge(
        "btcpool_account_workers_reported",
        None,
        TARGET,
        "Workers in the pool's list by its own word (workers total); while more than listed, the pool holds some back",
        |view, out| each(view, out, |target| target.workers.as_ref()?.reported.map(Value::Whole)),
    ),
    gauge(
        "btcpool_account_workers_dropped",
        None,
        TARGET,
        "Workers that are listed but not exported, cut by workers.max of the configuration",
        |view, out| each(view, out, |target| Some(Value::Whole(target.workers.as_ref()?.dropped(target.workers_max)))),
    ),
    // Each worker.
    worker(
        "btcpool_worker_hashrate_hashes_per_second",
        HASHES_PER_SECOND,
        &["account", "currency", "worker", "worker_id", "window"],
        "Hashrate of the worker over a window of time (workers hashrate_10min, _1hour, _24hour)",
        |worker, out| windows(&worker.hashrate, &mut |name, window, value| out(&[(name, window)], value)),
    ),
    worker(
        "btcpool_worker_reject_ratio",
        RATIO,
        WORKER,
        "Share of the worker's shares that the pool rejected, 0 to 1 (workers reject_rate)",
        |worker, out| out(&[], worker.reject_ratio.map(ratio)),
    ),
    worker(
        "btcpool_worker_last_active_timestamp_seconds",
        SECONDS,
        WORKER,
        "When the pool last heard of the worker (workers last_active)",
        |worker, out| out(&[], worker.last_active.map(|at| Value::Real(at.0 as f64))),
    ),
    worker(
        "btcpool_worker_active",
        None,
        WORKER,
        "Whether the pool calls the worker active (workers worker_status); flips for healthy machines too",
        |worker, out| out(&[], worker.active.map(|active| Value::Whole(active.into()))),
    ),
    // How the polling goes.
    gauge("btcpool_up", None, SLOT, "1 when the last poll of the endpoint succeeded, 0 when not", |view, out| {
        polls(view, out, |poll| Some(Value::Whole(poll.last.as_ref()?.error.is_none().into())))
    }),
    gauge(
        "btcpool_last_success_timestamp_seconds",
        SECONDS,
        SLOT,
        "When the last good answer of the endpoint came",
        |view, out| polls(view, out, |poll| poll.last_success.map(|at| Value::Real(unix_seconds(at)))),
    ),
    gauge(
        "btcpool_poll_error",
        None,
        &["account", "currency", "endpoint", "reason"],
        "1 while the last poll of the endpoint failed, with the reason; absent otherwise",
        |view, out| {
            slots(view, |labels, poll| match poll.last.as_ref().and_then(|last| last.error.as_ref()) {
                Some(failure) => out(&[labels, &[("reason", failure.reason.as_str())]].concat(), Value::Whole(1)),
                None => Ok(()),
            })
        },
    ),
    counter("btcpool_exporter_polls_total", None, SLOT, "Polls of the endpoint that ended", |view, out| {
        polls(view, out, |poll| Some(Value::Whole(poll.polls)))
    }),
    counter("btcpool_exporter_poll_failures_total", None, SLOT, "Polls of the endpoint that failed", |view, out| {
        polls(view, out, |poll| Some(Value::Whole(poll.failures)))
    }),
    gauge(
        "btcpool_exporter_poll_duration_seconds",
        SECONDS,
        SLOT,
        "How long the last poll of the endpoint took, waiting for the request budget included",
        |view, out| polls(view, out, |poll| Some(Value::Real(poll.last.as_ref()?.took.as_secs_f64()))),
    ),
    own_counter(
        "btcpool_exporter_api_requests_total",
        None,
        &["endpoint", "code"],
        "Requests to the pool's API, by HTTP status; code is none when no answer came",
        |own, out| {
            own.figures.requests.iter().try_for_each(|((endpoint, code), &count)| {
                out(&[("endpoint", endpoint.as_str()), ("code", &code.to_string())], Value::Whole(count))
            })
        },
    ),
    own_counter(
        "btcpool_exporter_api_request_failures_total",
        None,
        &["endpoint", "reason"],
        "Requests to the pool's API that failed, by reason",
        |own, out| {
            own.figures.request_failures.iter().try_for_each(|((endpoint, reason), &count)| {
                out(&[("endpoint", endpoint.as_str()), ("reason", reason.as_str())], Value::Whole(count))
            })
        },
    ),
    Family {
        name: "btcpool_exporter_api_request_duration_seconds",
        unit: SECONDS,
        kind: Kind::Histogram,
        labels: &["endpoint"],
        help: "How long requests to the pool's API took, from sending to the last byte",
        samples: Source::Own(|own, out| {
            own.figures.durations.iter().try_for_each(|(endpoint, durations)| {
                out(&[("endpoint", endpoint.as_str())], Value::Histogram(durations))
            })
        }),
    },
    own_counter(
        "btcpool_exporter_schema_anomalies_total",
        None,
        &["endpoint", "field"],
        "Values in the pool's answers that were not of the documented shape and were left out, by the API's field",
        |own, out| {
            own.figures.anomalies.iter().try_for_each(|((endpoint, field), &count)| {
                out(&[("endpoint", endpoint.as_str()), ("field", field)], Value::Whole(count))
            })
        },
    ),
    own_gauge(
        "btcpool_exporter_config_last_reload_successful",
        None,
        &[],
        "1 when the last loading of the configuration succeeded, 0 when not",
        |own, out| out(&[], Value::Whole(own.figures.reload_succeeded.into())),
    ),
    own_gauge(
        "btcpool_exporter_config_last_reload_success_timestamp_seconds",
        SECONDS,
        &[],
        "When the configuration in use was loaded",
        |own, out| out(&[], Value::Real(unix_seconds(own.figures.reloaded_at))),
    ),
    own_gauge(
        "btcpool_exporter_web_certificate_not_after_timestamp_seconds",
        SECONDS,
        &[],
        "When the certificate that the exporter serves with expires; absent without TLS",
        |own, out| {
            let mut ends = own.figures.certificate_not_after.into_iter();
            ends.try_for_each(|at| out(&[], Value::Real(unix_seconds(at))))
        },
    ),
    own_gauge(
        "btcpool_exporter_build_info",
        None,
        &["version", "revision", "rustc"],
        "1, with what the program was built of",
        |_, out| {
            let labels = [
                ("version", env!("CARGO_PKG_VERSION")),
                ("revision", env!("BTCPOOL_EXPORTER_REVISION")),
                ("rustc", env!("BTCPOOL_EXPORTER_RUSTC")),
            ];
            out(&labels, Value::Whole(1))
        },
    ),
    // The process, under the names that every Prometheus client library uses.
    own_gauge(
        "process_start_time_seconds",
        SECONDS,
        &[],
        "When the process started, in seconds since 1970",
        |own, out| process(own, out, |process| process.start_time_seconds.map(Value::Real)),
    ),
    own_gauge("process_resident_memory_bytes", BYTES, &[], "Resident memory of the process", |own, out| {
        process(own, out, |process| process.resident_memory_bytes.map(Value::Whole))
    }),
    own_gauge("process_virtual_memory_bytes", BYTES, &[], "Virtual memory of the process", |own, out| {
        process(own, out, |process| process.virtual_memory_bytes.map(Value::Whole))
    }),
    own_gauge("process_open_fds", None, &[], "File descriptors that the process holds open", |own, out| {
        process(own, out, |process| process.open_fds.map(Value::Whole))
    }),
    own_gauge("process_max_fds", None, &[], "File descriptors that the process may hold open", |own, out| {
        process(own, out, |process| process.max_fds.map(Value::Whole))
    }),
    own_gauge("process_threads", None, &[], "Threads of the process", |own, out| {
        process(own, out, |process| process.threads.map(Value::Whole))
    }),
    own_counter(
        "process_cpu_seconds_total",
        SECONDS,
        &[],
        "Processor time that the process has used, in user and kernel mode",
        |own, out| process(own, out, |process| process.cpu_seconds.map(Value::Real)),
    ),
];

const fn ratio<'a>(ratio: Ratio) -> Value<'a> {
    Value::Real(ratio.as_f64())
}

const fn hashrate<'a>(hashrate: Hashrate) -> Value<'a> {
    Value::Real(hashrate.as_f64())
}

fn amount<'a>(coins: Coins) -> Value<'a> {
    Value::Real(coins.as_f64())
}

/// A sample for each coin that `main_stat` tells of.
fn coins(view: &View, out: &mut Samples<'_>, figure: fn(&CoinStats) -> Option<Value<'static>>) -> fmt::Result {
    let pool = view.common.iter().filter_map(|common| common.pool.as_ref());
    pool.flat_map(|pool| pool.iter()).try_for_each(|(currency, coin)| match figure(coin) {
        Some(value) => out(&[("currency", currency.as_str())], value),
        None => Ok(()),
    })
}

/// Takes one more label and, if it is known, its value.
type Labelled<'a> = dyn FnMut(&str, &str, Option<Value<'_>>) -> fmt::Result + 'a;

/// Several samples for each target, which differ in one more label.
fn targets(
    view: &View,
    out: &mut Samples<'_>,
    figures: impl Fn(&TargetView, &mut Labelled<'_>) -> fmt::Result,
) -> fmt::Result {
    view.targets.iter().try_for_each(|target| {
        let [account, currency] = target.labels();
        figures(target, &mut |name, label, value| match value {
            Some(value) => out(&[account, currency, (name, label)], value),
            None => Ok(()),
        })
    })
}

/// A sample for each target.
fn each(view: &View, out: &mut Samples<'_>, figure: impl Fn(&TargetView) -> Option<Value<'static>>) -> fmt::Result {
    view.targets.iter().try_for_each(|target| match figure(target) {
        Some(value) => out(&target.labels(), value),
        None => Ok(()),
    })
}

fn windows(hashrates: &HashrateWindows, out: &mut Labelled<'_>) -> fmt::Result {
    out("window", "10m", hashrates.ten_minutes.map(hashrate))?;
    out("window", "1h", hashrates.one_hour.map(hashrate))?;
    out("window", "24h", hashrates.day.map(hashrate))
}

fn schemes(day: Option<&IncomeDay>, out: &mut Labelled<'_>) -> fmt::Result {
    let Some(day) = day else { return Ok(()) };
    out("scheme", "pps", day.pps.map(amount))?;
    out("scheme", "pplns", day.pplns.map(amount))
}

/// Every slot, with its labels.
fn slots(view: &View, mut figures: impl FnMut(&[(&str, &str)], &Poll) -> fmt::Result) -> fmt::Result {
    if let Some(common) = &view.common {
        figures(&[("endpoint", common.poll.endpoint.as_str())], &common.poll)?;
    }
    for target in &view.targets {
        let [account, currency] = target.labels();
        for poll in &target.polls {
            figures(&[account, currency, ("endpoint", poll.endpoint.as_str())], poll)?;
        }
    }
    Ok(())
}

/// A sample for each slot.
fn polls(view: &View, out: &mut Samples<'_>, figure: fn(&Poll) -> Option<Value<'static>>) -> fmt::Result {
    slots(view, |labels, poll| match figure(poll) {
        Some(value) => out(labels, value),
        None => Ok(()),
    })
}

/// A sample of the process' own.
fn process(own: &Own, out: &mut Samples<'_>, figure: fn(&process::Figures) -> Option<Value<'static>>) -> fmt::Result {
    match own.process.as_ref().and_then(figure) {
        Some(value) => out(&[], value),
        None => Ok(()),
    }
}
