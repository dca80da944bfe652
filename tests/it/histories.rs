//! Figures that are made of the histories: when a day is final, and what belongs to one payout.

use std::collections::BTreeMap;

use btcpool_exporter::{clock::Clock, history::PayoutAddress};
use serde_json::{Value, json};

use crate::{
    answers::Polled,
    harness::{self, Pool},
};

/// The series after a poll at a moment, of a pool with these rows of one endpoint.
async fn shown(endpoint: &str, rows: &[Value], at: &str) -> BTreeMap<String, f64> {
    let pool = Pool::start().await;
    pool.answers(endpoint, json!({"status": "OK", "data": rows, "total": rows.len()}).to_string()).await;
    pool.answers_samples().await;
    let clock = Clock::simulated(at.parse().unwrap(), 0.0);
    Polled::new(harness::config(&pool.base_url(), &harness::one_account()), clock).poll().await
}

/// The pool's clock may be behind: until a second after midnight it may not have closed the day.
#[tokio::test]
async fn a_day_is_final_a_second_after_its_end() {
    let day = |date: &str, coins: &str| json!({"date": date, "hashrate": "7", "pps_profit": coins, "pplns_profit": "0", "total_profit": coins});
    let rows = [day("2024-03-03", "1"), day("2024-03-04", "2")];
    let last_day = "income_last_day_timestamp_seconds";
    let sum = "income_coins{period=\"7d\"}";
    for (at, last, week) in [
        ("2024-03-04T15:59:59.999Z", Some(1_709_395_200.0), Some(1.0)),
        ("2024-03-04T16:00:00Z", None, None),
        ("2024-03-04T16:00:00.3Z", None, None),
        ("2024-03-04T16:00:00.999Z", None, None),
        ("2024-03-04T16:00:01Z", Some(1_709_481_600.0), Some(3.0)),
    ] {
        let series = shown("profit_history", &rows, at).await;
        assert_eq!((series.get(last_day).copied(), series.get(sum).copied()), (last, week), "{at}");
    }
}

/// A payment of an amount of 1e-4 coins, so many seconds after the first one.
fn part(id: u64, amount: u64, seconds: u64, address: &str) -> Value {
    json!({"payment_id": id.to_string(), "amount": format!("0.{amount:04}"), "address": address,
        "created_time": (1_700_000_000 + seconds).to_string()})
}

/// The newest payout's amount and time, whether its address changed, and the number of rows.
async fn payout(rows: &[Value]) -> (Option<f64>, Option<f64>, Option<f64>, f64) {
    let series = shown("payment_history", rows, "2024-03-04T00:00:00Z").await;
    let value = |name: &str| series.get(name).copied();
    let seconds = value("last_payment_timestamp_seconds").map(|at| at - 1_700_000_000.0);
    (value("last_payment_coins"), seconds, value("payout_address_changed"), series["payments"])
}

const DAY: u64 = 86_400;

#[tokio::test]
async fn payments_within_ten_minutes_are_one_payout() {
    let before = [part(1, 7, 0, "addrA"), part(2, 3, 0, "addrB")];
    let with = |rows: &[Value]| [&before[..], rows].concat();
    assert_eq!(payout(&before).await, (Some(0.001), Some(0.0), None, 2.0));
    let same = with(&[part(3, 7, DAY, "addrA"), part(4, 3, DAY, "addrB")]);
    assert_eq!(payout(&same).await, (Some(0.001), Some(DAY as f64), Some(0.0), 4.0));
    let reversed: Vec<_> = same.iter().rev().cloned().collect();
    assert_eq!(payout(&reversed).await, payout(&same).await);
    // The first part only, and the second one up to ten minutes later.
    let first = with(&[part(3, 7, DAY, "addrB")]);
    assert_eq!(payout(&first).await, (Some(0.0007), Some(DAY as f64), Some(0.0), 3.0));
    let late = with(&[part(3, 7, DAY, "addrA"), part(4, 3, DAY + 600, "addrB")]);
    assert_eq!(payout(&late).await, (Some(0.001), Some(DAY as f64 + 600.0), Some(0.0), 4.0));
    let other = with(&[part(3, 7, DAY, "addrA"), part(4, 3, DAY + 601, "addrC")]);
    assert_eq!(payout(&other).await, (Some(0.0003), Some(DAY as f64 + 601.0), Some(1.0), 4.0));
    // A part of it goes elsewhere.
    let changed = with(&[part(3, 7, DAY, "addrA"), part(4, 3, DAY, "addrC")]);
    assert_eq!(payout(&changed).await, (Some(0.001), Some(DAY as f64), Some(1.0), 4.0));
}

#[tokio::test]
async fn an_unknown_part_makes_the_payout_unknown() {
    let without = |mut row: Value, field: &str| {
        row[field] = Value::Null;
        row
    };
    let before = part(1, 7, 0, "addrA");
    let rows = |first: Value, second: Value| [before.clone(), first, second];
    let amount = rows(part(2, 7, DAY, "addrA"), without(part(3, 3, DAY, "addrA"), "amount"));
    assert_eq!(payout(&amount).await, (None, Some(DAY as f64), Some(0.0), 3.0));
    let address = rows(part(2, 7, DAY, "addrA"), without(part(3, 3, DAY, "addrA"), "address"));
    assert_eq!(payout(&address).await, (Some(0.001), Some(DAY as f64), None, 3.0));
    // Whatever the unknown one is, another one was not there before.
    let changed = rows(part(2, 7, DAY, "addrB"), without(part(3, 3, DAY, "addrA"), "address"));
    assert_eq!(payout(&changed).await, (Some(0.001), Some(DAY as f64), Some(1.0), 3.0));
    // What the payout before went to is not known wholly.
    let unknown = [without(before.clone(), "address"), part(2, 1, 60, "addrB"), part(3, 1, DAY, "addrA")];
    assert_eq!(payout(&unknown).await, (Some(0.0001), Some(DAY as f64), None, 3.0));
    let known = [without(before.clone(), "address"), part(2, 1, 60, "addrA"), part(3, 1, DAY, "addrA")];
    assert_eq!(payout(&known).await, (Some(0.0001), Some(DAY as f64), Some(0.0), 3.0));
    let time = rows(part(2, 7, DAY, "addrA"), without(part(3, 3, DAY, "addrA"), "created_time"));
    assert_eq!(payout(&time).await, (None, None, None, 3.0));
}

#[test]
fn addresses_are_compared_by_the_rules_of_their_encoding() {
    const CASH: &str = "qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a";
    let prefixed = format!("bitcoincash:{CASH}");
    let capitals = CASH.to_uppercase();
    let prefixed_capitals = prefixed.to_uppercase();
    let same = [
        ("bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "BC1QAR0SRRR7XFKVY5L643LYDNW9RE59GTZZWF5MDQ"),
        (
            "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
            "BC1P0XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQZK5JJ0",
        ),
        ("ltc1qg42tkwuuxefutzxezdkdel39gfstuap288mfea", "LTC1QG42TKWUUXEFUTZXEZDKDEL39GFSTUAP288MFEA"),
        (CASH, &capitals),
        (CASH, &prefixed),
        (CASH, &prefixed_capitals),
        ("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", " 1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2\n"),
    ];
    for (one, other) in same {
        assert_eq!(PayoutAddress::new(one), PayoutAddress::new(other), "{one} {other}");
    }
    let different = [
        // Base58 tells capitals from small letters, and has no prefix.
        ("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "1bvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"),
        ("3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", "3J98T1WPEZ73CNMQVIECRNYIWRNQRHWNLY"),
        ("LVg2kJoFNg45Nbpy53h7Fe1wKyeXVRhMH9", "lvg2kjofng45nbpy53h7fe1wkyexvrhmh9"),
        ("QdWwCK1Yk7XGiKRPKzWpCNcvVDWCVLDFFH", "qdwwck1yk7xgikrpkzwpcncvvdwcvldffh"),
        // Neither bech32 nor cashaddr mixes them.
        ("bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "bc1qAr0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"),
        (CASH, "qpm2Qsznhks23z7629mms6s4cwef74vcwvy22gdx6a"),
        (CASH, "qqm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a"),
        ("addrA", "addra"),
    ];
    for (one, other) in different {
        assert_ne!(PayoutAddress::new(one), PayoutAddress::new(other), "{one} {other}");
    }
}
