//! The status page: whole, in both languages, and what it says of each state in which an exporter can be.
//!
//! `UPDATE_GOLDEN=1 cargo test --test it page` writes the pages under `tests/fixtures/golden` anew. What a browser makes
//! of them, the end-to-end tests see.

use std::time::{Duration, Instant};

use btcpool_exporter::{
    budget::Usage,
    collector::{Moment, Scope, View},
    config::{Config, DEFAULTS, Overrides},
    demand::Demand,
    history::{Income, Payments},
    model::{PoolStats, Reason, Summary},
    server::page::{self, Subject, Wanted, words::Language},
    store::{Failure, Slot, Store},
    telemetry::{Figures, Telemetry},
    wire::Workers,
};

use crate::{
    exposition::{Known, NOW, golden},
    harness::{self, KEY},
};

/// A budget of which a little is used.
const USAGE: Usage =
    Usage { last_minute: 27, in_flight: 1, concurrency: 4, per_second: 5.0, slowed: false, pause_left: None };

/// An exporter that runs for a day and a bit.
fn draw(config: &Config, store: &Store, figures: &Figures, usage: Usage, query: &str, language: Language) -> String {
    let now = Moment { wall: NOW.parse().unwrap(), monotonic: Instant::now() };
    let view = View::known(config, store, &Scope::All, now);
    let demand = Demand::of(config, store);
    let up = Duration::from_secs(93_784);
    let subject = Subject { config, view: &view, figures, usage, demand, now: now.wall, up };
    page::render(&subject, &Wanted::of(query, language)).unwrap()
}

/// The page of what `Known` knows, without what differs from build to build, and its style and script.
fn known(language: Language) -> String {
    let known = Known::fill();
    let failure = Failure { reason: Reason::Redirect, message: "the pool redirects <b>elsewhere</b>".to_owned() };
    let slots = known.store.targets.values().next().unwrap();
    // An error that is over.
    slots.summary.record("2024-03-04T10:00:00Z".parse().unwrap(), Duration::ZERO, Err(failure));
    let good = slots.summary.snapshot().good.unwrap();
    slots.summary.record(good.at, Duration::ZERO, Ok(Summary::clone(&good.value)));
    known.telemetry.reloaded(None);
    let usage = Usage { slowed: true, per_second: 2.5, pause_left: Some(Duration::from_secs(95)), ..USAGE };
    let page = draw(&known.config, &known.store, &known.telemetry.snapshot(), usage, "", language);
    let page = page.replace(include_str!("../../templates/status.css"), "STYLE");
    let page = page.replace(include_str!("../../templates/status.js"), "SCRIPT");
    let footer = |line: &str| match line.split_once("<p>btcpool-exporter ") {
        Some((before, rest)) => format!("{before}<p>BUILD{}\n", &rest[rest.find(')').unwrap() + 1..]),
        None => format!("{line}\n"),
    };
    page.lines().map(footer).collect()
}

#[test]
fn the_page_is_as_it_was_in_both_languages() {
    golden("status.en.html", &known(Language::English));
    golden("status.ru.html", &known(Language::Russian));
}

/// What a slot's poll comes to.
#[derive(Clone, Copy)]
enum Poll {
    Good,
    Fails(Reason),
    None,
}

fn poll<T: Default>(slot: &Slot<T>, poll: Poll) {
    let result = match poll {
        Poll::None => return,
        Poll::Good => Ok(T::default()),
        Poll::Fails(reason) => Err(Failure { reason, message: "no".to_owned() }),
    };
    slot.record(NOW.parse().unwrap(), Duration::ZERO, result);
}

/// The sentence at the top, when `main_stat` and the accounts' endpoints came to that; an account has the name of its
/// place.
fn headline(main_stat: Poll, accounts: &[[Poll; 4]], language: Language) -> String {
    let own = |place| format!("  farm_{place}: {{ api_key: {KEY} }}\n");
    let own: String = (1..=accounts.len()).map(own).collect();
    let config = harness::config("http://127.0.0.1:9", &if own.is_empty() { own } else { format!("accounts:\n{own}") });
    let store = Store::new(&config);
    poll::<PoolStats>(&store.pool, main_stat);
    for (slots, polls) in store.targets.values().zip(accounts) {
        poll::<Summary>(&slots.summary, polls[0]);
        poll::<Income>(&slots.income, polls[1]);
        poll::<Payments>(&slots.payments, polls[2]);
        poll::<Workers>(slots.workers.as_ref().unwrap(), polls[3]);
    }
    let telemetry = Telemetry::new(NOW.parse().unwrap());
    let page = draw(&config, &store, &telemetry.snapshot(), USAGE, "", language);
    let (_, heading) = page.split_once("<h1 id=\"headline\" class=\"").unwrap();
    let (heading, _) = heading.split_once("</h1>").unwrap();
    let (tone, sentence) = heading.split_once("\" data-live aria-live=\"polite\">").unwrap();
    format!("{tone}: {sentence}")
}

#[test]
fn one_sentence_says_how_everything_is() {
    use Poll::{Fails, Good, None};
    let (good, none) = ([Good; 4], [None; 4]);
    let (refused, slow) = ([Fails(Reason::Auth); 4], Fails(Reason::Timeout));
    for (main_stat, accounts, english, russian) in [
        (
            Good,
            vec![good, good],
            "good: All is well: the pool answers everything that is asked",
            "good: Всё в порядке: пул отвечает на все запросы",
        ),
        (
            Good,
            vec![],
            "wait: No account is configured: only the pool&#39;s statistics are polled",
            "wait: Аккаунты не настроены: опрашивается только статистика пула",
        ),
        (
            None,
            vec![],
            "wait: Starting: 1 of 1 endpoints were not asked yet",
            "wait: Запуск: ещё не опрошено методов: 1 из 1",
        ),
        (
            Good,
            vec![good, none],
            "wait: Starting: 4 of 9 endpoints were not asked yet",
            "wait: Запуск: ещё не опрошено методов: 4 из 9",
        ),
        // Nothing is said of accounts that were not asked.
        (
            slow,
            vec![none],
            "wait: Starting: 4 of 5 endpoints were not asked yet",
            "wait: Запуск: ещё не опрошено методов: 4 из 5",
        ),
        (
            slow,
            vec![[slow; 4]],
            "bad: The pool does not answer: all 5 endpoints fail",
            "bad: Пул не отвечает: ошибок 5 из 5",
        ),
        (
            slow,
            vec![good],
            "bad: The pool&#39;s statistics fail; every account is well",
            "bad: Ошибка в статистике пула; по аккаунтам всё в порядке",
        ),
        (
            Good,
            vec![good, refused],
            "bad: The pool refuses the key of farm_2",
            "bad: Пул не принимает ключ аккаунта farm_2",
        ),
        (
            Good,
            vec![refused, good, refused],
            "bad: The pool refuses the keys of 2 accounts",
            "bad: Пул не принимает ключи. Аккаунтов: 2",
        ),
        (
            Good,
            vec![good, [Good, slow, Good, Fails(Reason::Auth)]],
            "bad: farm_2: 2 of its 4 endpoints fail",
            "bad: farm_2: ошибки в методах, 2 из 4",
        ),
        (
            Good,
            vec![refused, good, [Good, slow, Good, Good]],
            "bad: 2 of 3 accounts have endpoints that fail",
            "bad: Ошибки у аккаунтов: 2 из 3",
        ),
        // The pool's statistics fail, too: that is not only about the key.
        (slow, vec![refused, good], "bad: 1 of 2 accounts have endpoints that fail", "bad: Ошибки у аккаунтов: 1 из 2"),
    ] {
        assert_eq!(headline(main_stat, &accounts, Language::English), english);
        assert_eq!(headline(main_stat, &accounts, Language::Russian), russian);
    }
}

/// The accounts of the table's rows, and what stands above them, for a query; 250 accounts, of which two have trouble.
fn rows(query: &str) -> (Vec<String>, String) {
    let own = |number| format!("  farm_{number:03}: {{ api_key: {KEY}, labels: {{ site: Hall {} }} }}\n", number % 10);
    let own: String = (1..=250).map(own).collect();
    let config = harness::config("http://127.0.0.1:9", &format!("accounts:\n{own}"));
    let store = Store::new(&config);
    for (target, slots) in &store.targets {
        let trouble = ["farm_100", "farm_200"].contains(&target.account.as_str());
        poll(&slots.summary, if trouble { Poll::Fails(Reason::Timeout) } else { Poll::Good });
    }
    let telemetry = Telemetry::new(NOW.parse().unwrap());
    let page = draw(&config, &store, &telemetry.snapshot(), USAGE, query, Language::English);
    let (_, table) = page.split_once("<div id=\"rows\" data-live>\n<p class=\"soft\">").unwrap();
    let (table, _) = table.split_once("</section>").unwrap();
    let (extent, table) = table.split_once("</p>").unwrap();
    let names = table.split("<th scope=\"row\" role=\"rowheader\">").skip(1);
    (names.map(|name| name[..name.find('<').unwrap()].to_owned()).collect(), extent.to_owned())
}

#[test]
fn the_table_has_trouble_first_a_hundred_rows_at_a_time_and_a_filter() {
    let names = |numbers: &[usize]| numbers.iter().map(|number| format!("farm_{number:03}")).collect::<Vec<_>>();
    let (first, extent) = rows("");
    let expected: Vec<_> = [100, 200].into_iter().chain(1..=98).collect();
    assert_eq!((first, &*extent), (names(&expected), "Rows 1 to 100 of 250, those with trouble first."));
    let (last, extent) = rows("page=3");
    let expected: Vec<_> = (201..=250).collect();
    assert_eq!((last.clone(), &*extent), (names(&expected), "Rows 201 to 250 of 250, those with trouble first."));
    // A page that there is not is the last one.
    assert_eq!(rows("page=99").0, last);
    for (query, numbers, extent) in [
        ("trouble=1", vec![100, 200], "Rows 1 to 2 of 2 found among 250, those with trouble first."),
        ("q=FARM_10", (100..=109).collect(), "Rows 1 to 10 of 10 found among 250, those with trouble first."),
        (
            "q=+hall+9%20&page=nonsense",
            (9..=249).step_by(10).collect(),
            "Rows 1 to 25 of 25 found among 250, those with trouble first.",
        ),
        ("q=farm_10&trouble=1", vec![100], "Rows 1 to 1 of 1 found among 250, those with trouble first."),
        ("q=ltc", vec![], "Nothing found among 250 rows."),
        ("trouble=0&other=1&q=", first_hundred(), "Rows 1 to 100 of 250, those with trouble first."),
    ] {
        assert_eq!(rows(query), (names(&numbers), extent.to_owned()), "{query}");
    }
}

fn first_hundred() -> Vec<usize> {
    [100, 200].into_iter().chain(1..=98).collect()
}

/// The keys of the defaults that hold a value, with the sections that they are in.
fn keys(prefix: &str, value: &serde_json::Value, found: &mut Vec<String>) {
    match value.as_object() {
        Some(section) => section.iter().for_each(|(key, value)| keys(&format!("{prefix}.{key}"), value, found)),
        None => found.push(prefix.trim_start_matches('.').to_owned()),
    }
}

#[test]
fn every_setting_is_shown_with_its_value() {
    let config = Config::from_yaml("test", "{}", &Overrides::default()).unwrap();
    let store = Store::new(&config);
    let telemetry = Telemetry::new(NOW.parse().unwrap());
    let page = draw(&config, &store, &telemetry.snapshot(), USAGE, "", Language::English);
    let (_, list) = page.split_once("<dl id=\"settings-list\" data-live>").unwrap();
    let (list, _) = list.split_once("</dl>").unwrap();
    let mut shown: Vec<_> = list
        .lines()
        .filter_map(|line| line.trim().strip_prefix("<dt><code>"))
        .map(|line| line.replace("</code></dt><dd>", " ").replace("</dd>", ""))
        .collect();
    shown.sort();
    let mut defaults = Vec::new();
    keys("", &serde_saphyr::from_str(DEFAULTS).unwrap(), &mut defaults);
    // With it the address begins with http://.
    defaults.retain(|key| key != "api.allow_insecure_http");
    defaults.sort();
    let names: Vec<_> = shown.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, defaults);
    for line in [
        "api.base_url https://btcpool.kz/ru/api",
        "api.timeout 15s",
        "api.max_response_bytes 8388608",
        "api.reject_rate_unit ratio",
        "api.day_utc_offset +08:00",
        "polling.history.stale_after 2h",
        "coins.BTC.block_subsidy 3.125",
        "web.listen_addresses :10058",
        "web.config_file –",
        "log.format logfmt",
    ] {
        assert!(shown.iter().any(|shown| shown == line), "{line} is not among {shown:#?}");
    }
}

#[test]
fn every_reason_is_explained_in_both_languages() {
    let mut seen = std::collections::BTreeSet::new();
    for language in Language::ALL {
        for reason in Reason::ALL {
            let words = language.explain(reason);
            for text in [words.title, words.meaning, words.advice] {
                assert!(!text.is_empty() && text.matches('`').count() % 2 == 0, "{reason:?}: {text}");
            }
            assert!(seen.insert(words.title), "{} stands twice", words.title);
            let cyrillic = words.meaning.chars().any(|c| ('а'..='я').contains(&c));
            assert_eq!(cyrillic, language == Language::Russian, "{}", words.meaning);
        }
    }
}
