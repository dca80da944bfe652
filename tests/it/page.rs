//! The status page: whole, in both languages, and what it says of each state in which an exporter can be.
//!
//! `UPDATE=1 cargo test --test it page` writes the pages under `tests/fixtures/golden` anew. What a browser makes
//! of them, the end-to-end tests see.

use std::time::{Duration, Instant};

use btcpool_exporter::{
    budget::Usage,
    collector::{Moment, Scope, View},
    config::{Config, DEFAULTS, Overrides},
    demand::Demand,
    history::{Income, IncomeDay, Payments},
    model::{Coins, PoolStats, Reason, Summary},
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

/// How old everything is that was just put into a store. Ages are shown in whole minutes then, so that it does not matter
/// how long a test takes.
const AGE: Duration = Duration::from_secs(10 * 60 + 30);

/// An exporter that runs for a day and a bit, some time after its store was filled.
fn draw(config: &Config, store: &Store, figures: &Figures, usage: Usage, query: &str, language: Language) -> String {
    draw_after(AGE, config, store, figures, usage, query, language)
}

fn draw_after(
    age: Duration,
    config: &Config,
    store: &Store,
    figures: &Figures,
    usage: Usage,
    query: &str,
    language: Language,
) -> String {
    let now = Moment { wall: NOW.parse().unwrap(), monotonic: Instant::now() + age };
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
fn page_golden() {
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
    let own = |place| format!("  farm_{place}: {{ api_key: 0a1b2c-{place} }}\n");
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
    sentence(&draw(&config, &store, &telemetry.snapshot(), USAGE, "", language))
}

/// A page's sentence, and its tone.
fn sentence(page: &str) -> String {
    let (_, heading) = page.split_once("<h1 id=\"headline\" class=\"").unwrap();
    let (heading, _) = heading.split_once("</h1>").unwrap();
    let (tone, sentence) = heading.split_once("\" data-live aria-live=\"polite\">").unwrap();
    format!("{tone}: {sentence}")
}

#[test]
fn headline_says_how_everything_is() {
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
        (None, vec![], "wait: Not asked yet: 1 of 1 endpoints", "wait: Ещё не опрошено: 1 из 1"),
        (Good, vec![good, none], "wait: Not asked yet: 4 of 9 endpoints", "wait: Ещё не опрошено: 4 из 9"),
        // Of accounts that were not asked, nothing is said but that.
        (
            slow,
            vec![none],
            "bad: The pool&#39;s statistics fail; not asked yet: 4 endpoints",
            "bad: Не удаётся получить статистику пула; ещё не опрошено: 4",
        ),
        (
            slow,
            vec![[slow; 4]],
            "bad: The pool does not answer: 5 endpoints fail",
            "bad: Пул не отвечает: неудачных опросов 5 из 5",
        ),
        (
            Fails(Reason::Auth),
            vec![refused],
            "bad: The pool refuses every request: 5 endpoints fail",
            "bad: Пул отклоняет все запросы: неудачных опросов 5 из 5",
        ),
        (
            Fails(Reason::Tls),
            vec![],
            "bad: Nothing succeeds: 1 endpoint fails",
            "bad: Ни один опрос не удался (всего 1)",
        ),
        // An answer is an answer, also when nothing can be made of it.
        (
            slow,
            vec![[slow, slow, slow, Fails(Reason::NotJson)]],
            "bad: Nothing succeeds: 5 endpoints fail",
            "bad: Ни один опрос не удался (всего 5)",
        ),
        (
            slow,
            vec![good],
            "bad: The pool&#39;s statistics fail; every account is well",
            "bad: Не удаётся получить статистику пула; по аккаунтам всё в порядке",
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
            "bad: farm_2: неудачных опросов 2 из 4",
        ),
        (
            Good,
            vec![refused, good, [Good, slow, Good, Good]],
            "bad: 2 of 3 accounts have endpoints that fail",
            "bad: Ошибки у аккаунтов: 2 из 3",
        ),
        // The pool's statistics fail, too: that is not only about the key.
        (
            slow,
            vec![refused, good],
            "bad: farm_1: 4 of its 4 endpoints fail; so do the pool&#39;s statistics",
            "bad: farm_1: неудачных опросов 4 из 4; статистика пула тоже не получена",
        ),
        (
            slow,
            vec![refused, good, refused],
            "bad: 2 of 3 accounts have endpoints that fail; so do the pool&#39;s statistics",
            "bad: Ошибки у аккаунтов: 2 из 3; статистика пула тоже не получена",
        ),
    ] {
        assert_eq!(headline(main_stat, &accounts, Language::English), english);
        assert_eq!(headline(main_stat, &accounts, Language::Russian), russian);
    }
}

/// A page of two accounts of which everything was polled well, the one without workers; so long ago.
fn polled_well(age: Duration, figures: &Figures, usage: Usage, query: &str) -> String {
    draw_polled(Poll::Good, age, figures, usage, query)
}

/// The same when `main_stat` came to that.
fn draw_polled(main_stat: Poll, age: Duration, figures: &Figures, usage: Usage, query: &str) -> String {
    let accounts = "accounts: { hall: { api_key: 0a1b2c }, shed: { api_key: 3d4e5f, workers: { enabled: false } } }";
    let config = harness::config("http://127.0.0.1:9", accounts);
    let store = Store::new(&config);
    poll::<PoolStats>(&store.pool, main_stat);
    for slots in store.targets.values() {
        poll::<Summary>(&slots.summary, Poll::Good);
        poll::<Income>(&slots.income, Poll::Good);
        poll::<Payments>(&slots.payments, Poll::Good);
        slots.workers.iter().for_each(|slot| poll::<Workers>(slot, Poll::Good));
    }
    draw_after(age, &config, &store, figures, usage, query, Language::English)
}

#[test]
fn headline_does_not_hide_notes() {
    let telemetry = Telemetry::new(NOW.parse().unwrap());
    let figures = telemetry.snapshot();
    assert_eq!(
        sentence(&polled_well(AGE, &figures, USAGE, "")),
        "good: All is well: the pool answers everything that is asked"
    );
    telemetry.reloaded(None);
    let (failed, slowed) = (telemetry.snapshot(), Usage { slowed: true, ..USAGE });
    for (figures, usage, expected) in [
        (&failed, USAGE, "wait: The pool answers everything that is asked; there is a note below"),
        (&figures, slowed, "wait: The pool answers everything that is asked; there is a note below"),
        (&failed, slowed, "wait: The pool answers everything that is asked; there are 2 notes below"),
    ] {
        assert_eq!(sentence(&polled_well(AGE, figures, usage, "")), expected);
    }
}

#[test]
fn old_data_is_a_problem_without_failures() {
    let figures = Telemetry::new(NOW.parse().unwrap()).snapshot();
    let old = Duration::from_secs(90 * 60);
    let page = polled_well(old, &figures, USAGE, "trouble=1");
    assert_eq!(sentence(&page), "bad: Data too old to be shown: 8 of 8 endpoints");
    let (_, trouble) = page.split_once("<h3>").unwrap();
    assert!(
        trouble.starts_with("Data too old <span class=\"soft\">endpoints: 8, accounts: 2</span></h3>"),
        "{trouble}"
    );
    for row in [
        "the whole pool</th><td role=\"cell\" data-label=\"Endpoints\">main_stat</td>",
        "hall BTC</th><td role=\"cell\" data-label=\"Endpoints\">summary_data, profit_history, payment_history, workers</td>\
         <td role=\"cell\" data-label=\"Last success\">1\u{a0}h 30\u{a0}min ago</td>\
         <td role=\"cell\" class=\"message\" data-label=\"Message\"><span>older than 1\u{a0}h</span></td>",
        "shed BTC</th><td role=\"cell\" data-label=\"Endpoints\">summary_data, profit_history, payment_history</td>",
    ] {
        assert!(page.contains(row), "{row} is not in {page}");
    }
    let cell = "<span>1\u{a0}h 30\u{a0}min<small>too old, not shown</small></span>";
    assert_eq!(page.matches(cell).count(), 7, "{page}");
    assert!(page.contains("Rows 1 to 2 of 2, those"), "{page}");
    assert!(page.contains("Polling does not keep up"), "{page}");
    // Where something fails, too, that may be why: it stands first, and nothing else is called well.
    let slowed = Usage { slowed: true, ..USAGE };
    let page = draw_polled(Poll::Fails(Reason::RateLimited), old, &figures, slowed, "");
    assert_eq!(sentence(&page), "bad: The pool&#39;s statistics fail; the data of 7 endpoints are too old");
    let titles: Vec<_> = page.split("<h3>").skip(1).map(|title| title.split(" <").next().unwrap()).collect();
    assert_eq!(titles, ["Asked too often", "Data too old"]);
    assert!(page.contains("The pool wants to be asked less, and so it is: wait."), "{page}");
}

#[test]
fn page_of_an_empty_shard_says_so() {
    let figures = Telemetry::new(NOW.parse().unwrap()).snapshot();
    let shard = |index: usize| {
        let yaml = format!("{}shard: {{ index: {index}, count: 2 }}\n", harness::one_account());
        harness::config("http://127.0.0.1:9", &yaml)
    };
    let config = [0, 1].map(shard).into_iter().find(|config| config.accounts.is_empty()).unwrap();
    let store = Store::new(&config);
    poll::<PoolStats>(&store.pool, Poll::Good);
    let page = draw(&config, &store, &figures, USAGE, "", Language::English);
    assert_eq!(sentence(&page), "wait: None of the configured accounts (1) falls to this shard");
    assert!(page.contains("<p class=\"soft\">None of the configured accounts (1) falls to this shard.</p>"), "{page}");
}

#[test]
fn failing_endpoints_show_last_success() {
    let config = harness::config("http://127.0.0.1:9", &harness::one_account());
    let store = Store::new(&config);
    for slots in store.targets.values() {
        poll::<Summary>(&slots.summary, Poll::Good);
        poll::<Summary>(&slots.summary, Poll::Fails(Reason::Timeout));
        poll::<Income>(&slots.income, Poll::Fails(Reason::Timeout));
        poll::<Payments>(&slots.payments, Poll::Fails(Reason::Auth));
        poll::<Workers>(slots.workers.as_ref().unwrap(), Poll::Good);
        poll::<Workers>(slots.workers.as_ref().unwrap(), Poll::Fails(Reason::Auth));
    }
    let figures = Telemetry::new(NOW.parse().unwrap()).snapshot();
    let page = draw(&config, &store, &figures, USAGE, "", Language::English);
    let (_, troubles) = page.split_once("<section id=\"troubles\"").unwrap();
    let (troubles, _) = troubles.split_once("</section>").unwrap();
    let cells = troubles.split("<td ").skip(1).filter(|cell| !cell.contains("data-label=\"Message\""));
    let cells: Vec<_> = cells.map(|cell| cell[cell.find('>').unwrap() + 1..].split("</td>").next().unwrap()).collect();
    // What never succeeded is not said of what did.
    let ago = "10\u{a0}min ago";
    assert_eq!(cells, ["summary_data", ago, "profit_history", "never", "payment_history", "never", "workers", ago]);
}

#[test]
fn unknown_values_make_no_sum() {
    let figures = Telemetry::new(NOW.parse().unwrap()).snapshot();
    let sums = |page: &str| {
        let (_, table) = page.split_once("<section id=\"sums\"").unwrap();
        let (table, _) = table.split_once("</section>").unwrap();
        let (_, counts) = table.split_once("<p>").unwrap();
        let cells = counts.split("<td ").skip(1).map(|cell| cell[cell.find('>').unwrap() + 1..].to_owned());
        let end = |cell: String| cell[..cell.find("</td>").unwrap()].to_owned();
        (counts[..counts.find("</p>").unwrap()].to_owned(), cells.map(end).collect::<Vec<_>>())
    };
    // The one list that is asked for is all of them.
    let (counts, cells) = sums(&polled_well(AGE, &figures, USAGE, ""));
    assert_eq!((&*counts, &*cells[3]), ("Accounts: 2. Workers in the pool&#39;s lists: 0.", "0"));
    let (counts, cells) = sums(&polled_well(Duration::from_secs(90 * 60), &figures, USAGE, ""));
    assert_eq!(counts, "Accounts: 2. Workers in the pool&#39;s lists: –.");
    assert_eq!(cells, ["–"; 7]);
}

#[test]
fn unknown_lists_are_not_counted_silently() {
    let own = |name: &str| format!("  {name}: {{ api_key: {KEY} }}\n");
    let config = harness::config("http://127.0.0.1:9", &format!("accounts:\n{}{}", own("hall"), own("shed")));
    let store = Store::new(&config);
    poll::<Workers>(store.targets.values().next().unwrap().workers.as_ref().unwrap(), Poll::Good);
    let figures = Telemetry::new(NOW.parse().unwrap()).snapshot();
    let page = draw(&config, &store, &figures, USAGE, "", Language::English);
    let counts = "Accounts: 2. Workers in the pool&#39;s lists: 0 (known lists: 1 of 2).";
    assert!(page.contains(counts), "{page}");
}

#[test]
fn income_sum_is_of_one_day() {
    let own = |name: &str| format!("  {name}: {{ api_key: {KEY} }}\n");
    let config = harness::config("http://127.0.0.1:9", &format!("accounts:\n{}{}", own("late"), own("prompt")));
    let store = Store::new(&config);
    // At NOW it is 5 March where the pool is.
    for (slots, newest) in store.targets.values().zip(["2024-03-03", "2024-03-04"]) {
        let day = |date: &str| IncomeDay {
            date: date.parse().unwrap(),
            hashrate: None,
            pps: None,
            pplns: None,
            total: Some(Coins::from_units(300)),
        };
        let day = day(newest);
        let income = Income { days: [(day.date, day)].into(), unread: 0, read_on: "2024-03-05".parse().unwrap() };
        slots.income.record(NOW.parse().unwrap(), Duration::ZERO, Ok(income));
    }
    let figures = Telemetry::new(NOW.parse().unwrap()).snapshot();
    let page = draw(&config, &store, &figures, USAGE, "", Language::English);
    let cells: Vec<_> = (page.match_indices("data-label=\"Last full day\">"))
        .map(|(at, label)| page[at + label.len()..].split("</td>").next().unwrap())
        .collect();
    assert_eq!(
        cells,
        [
            "0.00000300<small>1 of 2 accounts</small>",
            "<span>0.00000300<small>2024-03-03</small></span>",
            "<span>0.00000300</span>"
        ]
    );
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
fn table_sorts_pages_and_filters() {
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
            "q=+SITE%3Dhall%20+_11+btc&page=nonsense",
            (110..=119).collect(),
            "Rows 1 to 10 of 10 found among 250, those with trouble first.",
        ),
        ("q=farm_10&trouble=1", vec![100], "Rows 1 to 1 of 1 found among 250, those with trouble first."),
        ("q=ltc", vec![], "Nothing found among 250 rows."),
        ("q=farm_10+ltc", vec![], "Nothing found among 250 rows."),
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
fn page_shows_every_setting() {
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
        "api.retry_after_max 5m",
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
fn reasons_are_explained_in_both_languages() {
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
