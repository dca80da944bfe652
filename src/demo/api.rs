//! The simulated pool's API, in the documented shapes: figures as strings, `fee` as a number, pages, keys.

use std::collections::HashMap;

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{Html, IntoResponse as _, Response},
    routing::get,
};
use jiff::{Timestamp, civil::Date};
use serde_json::{Value, json};

use super::{
    SimulatedPool,
    farm::{Farm, Holding, rhythm},
    history,
};
use crate::{history::pool_day, model::Currency};

/// The most rows that a page holds.
const MAX_LIMIT: usize = 200;

/// Rows on a page when none are asked for.
const DEFAULT_LIMIT: usize = 50;

/// The API under `/ru/api`.
pub fn router(pool: SimulatedPool) -> Router {
    Router::new().route("/ru/api", get(answer)).with_state(pool)
}

type Parameters = HashMap<String, String>;

async fn answer(
    State(pool): State<SimulatedPool>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Response {
    let now = pool.clock.now().as_second();
    let farm = pool.farm();
    if farm.is_out(now) {
        return (StatusCode::BAD_GATEWAY, Html("<html><body>502 Bad Gateway</body></html>")).into_response();
    }
    let method = parameters.get("method").map_or("", String::as_str);
    if method == "main_stat" {
        return Json(json!({ "status": "OK", "data": main_stat(farm, now) })).into_response();
    }
    let key = headers.get("x-api-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
    let Some(account) = farm.account(key, now) else {
        return error(StatusCode::UNAUTHORIZED, "Invalid API key");
    };
    let currency = parameters.get("currency").and_then(|text| text.parse::<Currency>().ok());
    let Some(currency) = currency else {
        return error(StatusCode::OK, "Parameter currency is required: BTC, BCH, LTC");
    };
    let Some(holding) = account.holdings.iter().find(|holding| holding.currency == currency) else {
        return error(StatusCode::OK, "The account does not mine this currency");
    };
    match method {
        "summary_data" => Json(json!({ "status": "OK", "data": summary_data(farm, holding, now) })).into_response(),
        "profit_history" => list(profit_history(farm, holding, now, &parameters), &parameters),
        "payment_history" => list(payment_history(farm, holding, now, &parameters), &parameters),
        "workers" => list(workers(farm, holding, now), &parameters),
        _ => error(StatusCode::OK, "Unknown method"),
    }
}

fn error(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "status": "ERROR", "message": message }))).into_response()
}

/// One page of a list.
fn list(rows: Vec<Value>, parameters: &Parameters) -> Response {
    let number = |name: &str| parameters.get(name).and_then(|text| text.parse::<usize>().ok());
    let offset = number("offset").unwrap_or(0);
    let limit = number("limit").unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT);
    let total = rows.len();
    let page: Vec<_> = rows.into_iter().skip(offset).take(limit).collect();
    let (data, count) = (&page, page.len());
    Json(json!({
        "status": "OK", "data": data, "count": count, "offset": offset, "limit": limit, "total": total,
    }))
    .into_response()
}

fn main_stat(farm: &Farm, now: i64) -> Value {
    let mut coins = serde_json::Map::new();
    for (currency, miners, pool, block_seconds) in [
        (Currency::Btc, 1853, 1.094_441_413e17, 600.0),
        (Currency::Bch, 5, 2.939_067_882e15, 600.0),
        (Currency::Ltc, 5, 2.419_498_243e12, 150.0),
    ] {
        let (_, difficulty) = history::network(currency);
        let refresh = now.div_euclid(super::farm::REFRESH).unsigned_abs();
        let pool_hashrate =
            pool * farm.pool_share(now) * rhythm(now) * (0.98 + 0.04 * farm.chance([currency as u64, refresh, 12]));
        let network_hashrate = difficulty * 2_f64.powi(32) / block_seconds;
        let coin = json!({
            "miners": miners.to_string(),
            "fee": 1,
            "poolHs": format!("{pool_hashrate:.0}"),
            // PHP writes its floats so.
            "networkHs": format!("{network_hashrate:E}"),
            "networkDiff": difficulty.to_string(),
        });
        coins.insert(currency.to_string(), coin);
    }
    Value::Object(coins)
}

fn summary_data(farm: &Farm, holding: &Holding, now: i64) -> Value {
    let (mut active, mut inactive) = (0, 0);
    let mut sums = [0.0; 3];
    for machine in holding.machines.iter().filter(|machine| farm.is_listed(machine, now)) {
        let reading = farm.read(machine, now);
        for (sum, hashrate) in sums.iter_mut().zip([reading.ten_minutes, reading.hour, reading.day]) {
            *sum += hashrate;
        }
        if reading.ten_minutes > 0.0 {
            active += 1;
        } else {
            inactive += 1;
        }
    }
    let (_, balance) = history::payouts(farm, holding, now);
    let [ten_minutes, hour, day] = sums.map(|sum| sum.to_string());
    json!({
        "active_workers": active.to_string(),
        "unactive_workers": inactive.to_string(),
        "hashrate_10min": ten_minutes,
        "hashrate_1hour": hour,
        "hashrate_24hour": day,
        "balance": balance.to_string(),
    })
}

/// The dates that were asked for.
fn wanted(parameters: &Parameters) -> impl Fn(Date) -> bool {
    let date = |name: &str| parameters.get(name).and_then(|text| text.parse::<Date>().ok());
    let (from, to) = (date("from"), date("to"));
    move |date| from.is_none_or(|from| from <= date) && to.is_none_or(|to| date <= to)
}

/// Oldest first, as the pool has it.
fn profit_history(farm: &Farm, holding: &Holding, now: i64, parameters: &Parameters) -> Vec<Value> {
    let wanted = wanted(parameters);
    let days = history::days(farm, holding, now).into_iter().filter(|day| wanted(day.date));
    days.map(|day| {
        json!({
            "hashrate": format!("{:.2}", day.hashrate),
            "pplns_profit": day.pplns.to_string(),
            "pps_profit": day.pps.to_string(),
            "total_profit": day.total().to_string(),
            "date": day.date.to_string(),
        })
    })
    .collect()
}

/// Newest first, as the pool has it.
fn payment_history(farm: &Farm, holding: &Holding, now: i64, parameters: &Parameters) -> Vec<Value> {
    let wanted = wanted(parameters);
    let day = |at: i64| Timestamp::from_second(at).map(|at| pool_day(at, history::DAY_UTC_OFFSET));
    let (payouts, _) = history::payouts(farm, holding, now);
    let payouts = payouts.into_iter().rev().filter(|payout| day(payout.created).is_ok_and(&wanted));
    payouts
        .map(|payout| {
            json!({
                "amount": payout.amount.to_string(),
                "address": format!("simulated-address-{}", holding.salt),
                "tx": format!("simulated-transaction-{}", payout.id),
                "created_time": payout.created.to_string(),
                "payment_id": payout.id.to_string(),
            })
        })
        .collect()
}

/// Newest id first, as the pool has it.
fn workers(farm: &Farm, holding: &Holding, now: i64) -> Vec<Value> {
    let listed = holding.machines.iter().rev().filter(|machine| farm.is_listed(machine, now));
    listed
        .map(|machine| {
            let reading = farm.read(machine, now);
            let garbled = farm.is_garbled(machine, now);
            json!({
                "hashrate_10min": reading.ten_minutes.to_string(),
                "hashrate_1hour": reading.hour.to_string(),
                "hashrate_24hour": reading.day.to_string(),
                "last_active": reading.last_active.to_string(),
                "reject_rate": if garbled { "n/a".to_owned() } else { format!("{:.8}", reading.rejects) },
                "worker_id": machine.id.to_string(),
                "worker_name": machine.name,
                "worker_status": if reading.ten_minutes > 0.0 { "1" } else { "0" },
            })
        })
        .collect()
}
