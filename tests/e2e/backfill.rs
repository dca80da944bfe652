//! History from the simulated pool's books through `backfill` and promtool into a real Prometheus, and out again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use btcpool_exporter::{
    clock::Clock,
    demo::{Farm, SimulatedPool},
    history::{day_start, pool_day},
    server,
};
use jiff::{Timestamp, ToSpan as _, civil::Date, tz::Offset};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    programs::{Demo, Ended, Prometheus, exporter, run},
    rules::promtool,
    scraping::{prometheus, prometheus_3},
    support::pool::reader::{self, Said, date, number, sum_units},
};

/// When the simulated pool's day begins.
const OFFSET: Offset = Offset::constant(8);

/// The accounts whose key the simulated pool takes.
const ACCOUNTS: [&str; 4] = ["ekibastuz_hall_1", "garage", "karaganda_scrypt", "pavlodar"];

fn midnight(day: Date) -> i64 {
    day_start(day, OFFSET).unwrap().0
}

/// Waits until the pool's midnight is behind us, when it is near: the demo's time stands still, and that of the program
/// under test does not.
async fn away_from_midnight() {
    let tomorrow = pool_day(Timestamp::now(), OFFSET).tomorrow().unwrap();
    let left = midnight(tomorrow) - Timestamp::now().as_second();
    if left < 300 {
        tokio::time::sleep(Duration::from_secs(left.unsigned_abs() + 1)).await;
    }
}

/// A demo, and a folder with a configuration for its pool.
struct Desk {
    demo: Demo,
    folder: TempDir,
}

impl Desk {
    async fn start() -> Self {
        away_from_midnight().await;
        let demo = Demo::start().await;
        let folder = tempfile::tempdir().unwrap();
        let yaml = reader::twin().configuration(demo.pool_url.as_str(), 0.0);
        fs::write(folder.path().join("config.yml"), yaml).unwrap();
        Self { demo, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the command; with labels as Prometheus will give them to what it scrapes.
    fn backfill(&self, output: &Path, more: &[&str]) -> Ended {
        let mut command = Command::new(exporter());
        command.arg("backfill").arg("--config.file").arg(self.path("config.yml")).arg("--output").arg(output);
        command.args(["--label", "job=btcpool", "--label", &format!("instance={}", self.demo.address())]);
        run(with_accounts(command, more), "")
    }

    /// A Prometheus on the blocks that its promtool makes of a file, which also scrapes the demo.
    async fn prometheus(&self, program: &Path, file: &Path) -> Prometheus {
        let data = self.path(&format!("data-{}", fs::read_dir(self.folder.path()).unwrap().count()));
        fs::create_dir(&data).unwrap();
        let mut command = Command::new(promtool(program));
        command.args(["tsdb", "create-blocks-from", "openmetrics", "--quiet", "--max-block-duration=744h"]);
        let ended = run(
            {
                command.arg(file).arg(&data);
                command
            },
            "",
        );
        assert!(ended.status.success(), "{}{}", ended.output, ended.errors);
        let target =
            format!("  - {{ job_name: btcpool, static_configs: [ {{ targets: [\"{}\"] }} ] }}\n", self.demo.address());
        let prometheus = Prometheus::start_on(program, Some(&data), &target).await;
        let up = |answer: &Value| answer["result"].as_array().unwrap().iter().any(|one| one["value"][1] == "1");
        prometheus.until("/api/v1/query", &[("query", "up")], up).await;
        prometheus
    }
}

fn with_accounts(mut command: Command, more: &[&str]) -> Command {
    command.args(ACCOUNTS.iter().flat_map(|name| ["--account", name])).args(more);
    command
}

/// Account and currency.
fn owner(metric: &Value) -> (String, String) {
    (reader::text(metric, "account").to_owned(), reader::text(metric, "currency").to_owned())
}

/// What PromQL gives for each account and currency, in whole 1e-8 coins; it must be whole.
async fn units(prometheus: &Prometheus, promql: &str) -> BTreeMap<(String, String), i64> {
    let answer = prometheus.ask("/api/v1/query", &[("query", promql)]).await.unwrap();
    let mut units = BTreeMap::new();
    for one in answer["result"].as_array().unwrap() {
        let coins: f64 = one["value"][1].as_str().unwrap().parse().unwrap();
        let whole = (coins * 1e8).round();
        assert!((coins - whole / 1e8).abs() < 1e-11, "{promql}: {coins}");
        assert_eq!(units.insert(owner(&one["metric"]), whole as i64), None, "{promql}: twice in {answer}");
    }
    units
}

/// The closed days on the books, oldest first.
fn closed(said: &Said) -> Vec<&Value> {
    let today = said.income.iter().map(date).max().unwrap();
    said.income.iter().filter(|row| date(row) < today).collect()
}

async fn every_month_is_the_pool_s(program: PathBuf) {
    let desk = Desk::start().await;
    let said = reader::said(&desk.demo.pool_url).await;
    let last = closed(&said[0]).into_iter().map(date).max().unwrap();
    let file = desk.path("past.om");
    let ended = desk.backfill(&file, &["--to", &last.to_string()]);
    assert!(ended.status.success(), "{}", ended.errors);
    let text = fs::read_to_string(&file).unwrap();
    let again = desk.path("again.om");
    assert!(desk.backfill(&again, &["--to", &last.to_string()]).status.success());
    assert_eq!(fs::read_to_string(again).unwrap(), text, "a second run writes something else");
    for secret in ["simulated-address", "simulated-transaction"] {
        assert!(!text.contains(secret), "{secret}");
    }

    let prometheus = desk.prometheus(&program, &file).await;
    let mut months = BTreeSet::new();
    for said in &said {
        months.extend(closed(said).into_iter().map(|row| date(row).first_of_month()));
    }
    assert!(months.len() >= 13, "{months:?}");
    let mut compared = 0;
    for month in months {
        let next = month.checked_add(1.month()).unwrap();
        // Twelve hours past midnight: later than the live series need to take the new day up.
        let (begin, end) = (midnight(month) + 43_200, midnight(next.min(last.tomorrow().unwrap())) + 43_200);
        let days = (end - begin) / 86_400;
        let of_month = |row: &&Value| (month..next).contains(&date(row));
        let income: BTreeMap<_, _> = (said.iter())
            .map(|said| {
                let rows = closed(said).into_iter().filter(of_month);
                ((said.account.clone(), said.currency.clone()), sum_units(rows, "total_profit"))
            })
            .collect();
        // The difference of two sums of everything, which reads backfilled and live series alike; before the first
        // day there was nothing.
        let all = "btcpool_account_income_coins{period=\"all\"}";
        let promql = format!(
            "sum by (account, currency) (last_over_time({all}[7d] @ {end}) \
             - (last_over_time({all}[7d] @ {begin}) or 0 * last_over_time({all}[7d] @ {end})))"
        );
        assert_eq!(units(&prometheus, &promql).await, income, "{month}");
        compared += income.len();
        // In the last, running month there are live samples, too, of which each would count.
        if next > last {
            continue;
        }
        // The sum of the days, of which each has one sample.
        let promql = format!(
            "sum by (account, currency) (sum_over_time(btcpool_account_income_last_day_coins[{days}d] @ {end}))"
        );
        assert_eq!(units(&prometheus, &promql).await, income, "{month}");
        // And what was paid out.
        let within = |payment: &&Value| (begin + 1..=end).contains(&(number(payment, "created_time") as i64));
        let paid: BTreeMap<_, _> = (said.iter())
            .map(|said| {
                let rows = said.payments.iter().filter(within);
                ((said.account.clone(), said.currency.clone()), sum_units(rows, "amount"))
            })
            .collect();
        let promql =
            format!("sum by (account, currency) (sum_over_time(btcpool_account_last_payment_coins[{days}d] @ {end}))");
        assert_eq!(units(&prometheus, &promql).await, paid, "{month}");
    }
    assert!(compared >= 5 * 13, "{compared}");
}

#[tokio::test]
async fn months_match_the_pool_in_prometheus() {
    every_month_is_the_pool_s(prometheus()).await;
}

#[tokio::test]
async fn months_match_the_pool_in_prometheus_3() {
    every_month_is_the_pool_s(prometheus_3()).await;
}

/// Every point of a range query, by account and currency.
async fn points(prometheus: &Prometheus, promql: &str, from: i64, to: i64, step: i64) -> Vec<Points> {
    let [from, to, step] = [from, to, step].map(|number| number.to_string());
    let parameters = [("query", promql), ("start", &from), ("end", &to), ("step", &step)];
    let answer = prometheus.ask("/api/v1/query_range", &parameters).await.unwrap();
    (answer["result"].as_array().unwrap().iter())
        .map(|one| {
            let values = one["values"].as_array().unwrap().iter();
            let point =
                |point: &Value| (point[0].as_f64().unwrap() as i64, point[1].as_str().unwrap().parse().unwrap());
            Points { owner: owner(&one["metric"]), points: values.map(point).collect() }
        })
        .collect()
}

struct Points {
    owner: (String, String),
    points: BTreeMap<i64, f64>,
}

/// From three days ago to now: history at first, and what is scraped at last.
async fn the_join_has_no_seam_and_no_double(program: PathBuf) {
    let desk = Desk::start().await;
    let said = reader::said(&desk.demo.pool_url).await;
    let today = said[0].income.iter().map(date).max().unwrap();
    let first = today.checked_sub(3.days()).unwrap();

    // One sample where there is something new, up to the last midnight.
    let file = desk.path("sparse.om");
    let ended = desk.backfill(&file, &["--to", &today.yesterday().unwrap().to_string()]);
    assert!(ended.status.success(), "{}", ended.errors);
    let sparse = desk.prometheus(&program, &file).await;
    // Repeated every five minutes, up to this moment.
    let file = desk.path("dense.om");
    let (from, to) = (first.to_string(), today.to_string());
    let ended = desk.backfill(&file, &["--from", &from, "--to", &to, "--step", "5m"]);
    assert!(ended.status.success(), "{}", ended.errors);
    let dense = desk.prometheus(&program, &file).await;

    let all = "btcpool_account_income_coins{period=\"all\"}";
    let look_back = format!("last_over_time({all}[3d])");
    for (prometheus, promql, live) in [(&sparse, &*look_back, all), (&dense, all, all)] {
        // There are live samples, and at least one behind the newest backfilled one.
        let live = format!("count_over_time({live}[10m]) > 1");
        let scraped = |answer: &Value| answer["result"].as_array().unwrap().len() == said.len();
        prometheus.until("/api/v1/query", &[("query", &*live)], scraped).await;
        let now = Timestamp::now().as_second();
        let step = 300;
        let found = points(prometheus, promql, midnight(first), now, step).await;
        assert_eq!(found.len(), said.len(), "{promql}: a series for each account and currency, and no second one");
        for said in &said {
            let owner = (said.account.clone(), said.currency.clone());
            let points = &found.iter().find(|found| found.owner == owner).unwrap().points;
            let expected: BTreeMap<_, _> = (midnight(first)..=now)
                .step_by(step as usize)
                .map(|at| {
                    let day = pool_day(Timestamp::from_second(at).unwrap(), OFFSET);
                    (at, sum_units(said.income.iter().filter(|row| date(row) < day), "total_profit") as f64 / 1e8)
                })
                .collect();
            assert_eq!(*points, expected, "{promql} {owner:?}");
        }
    }
}

#[tokio::test]
async fn join_is_seamless_in_prometheus() {
    the_join_has_no_seam_and_no_double(prometheus()).await;
}

#[tokio::test]
async fn join_is_seamless_in_prometheus_3() {
    the_join_has_no_seam_and_no_double(prometheus_3()).await;
}

/// What a run of the command took.
struct Run {
    /// Resident memory in KiB as each target was done, and the most that there ever was.
    memory: Vec<u64>,
    peak: u64,
    /// Its last line.
    said: String,
}

/// Backfills from a pool of so many accounts and days, and looks at the memory meanwhile.
async fn measured(accounts: usize, days: i32) -> Run {
    let clock = Clock::system();
    let keys = (0..accounts).map(|n| (format!("farm_{n:02}"), format!("key-{n}"), 1));
    let mut farm = Farm::of(5, clock.now(), keys);
    farm.days = days;
    let pool = SimulatedPool::of(farm, clock);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = pool.base_url(listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(server::serve(listener, pool.router(), shutdown.clone()));
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yml");
    let rate = "requests_per_second: 100,";
    fs::write(&config, pool.configuration(&base_url, 0.0).replace(rate, "requests_per_second: 1000,")).unwrap();
    let mut command = Command::new(exporter());
    command.arg("backfill").arg("--config.file").arg(&config).arg("--output").arg(folder.path().join("past.om"));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let status = format!("/proc/{}/status", child.id());
    let watching = tokio::task::spawn_blocking(move || {
        let mut run = Run { memory: Vec::new(), peak: 0, said: String::new() };
        for line in lines.map_while(Result::ok) {
            // Nothing to be had when it has ended.
            let text = fs::read_to_string(&status).unwrap_or_default();
            let field = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                line.and_then(|line| line.trim_end_matches("kB").trim().parse::<u64>().ok())
            };
            run.memory.extend(field("VmRSS:"));
            run.peak = field("VmHWM:").unwrap_or(run.peak);
            run.said = line;
        }
        run
    });
    let run = watching.await.unwrap();
    assert!(child.wait().unwrap().success(), "{}", run.said);
    shutdown.cancel();
    serving.await.unwrap();
    run
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the figures are what one wants to see of this test")]
async fn memory_is_independent_of_history() {
    let few = measured(2, 300).await;
    let many = measured(20, 3000).await;
    for run in [&few, &many] {
        let (first, last) = (run.memory.first().unwrap(), run.memory.last().unwrap());
        println!("{}\nresident memory: {first} KiB at first, {last} KiB at last, at most {} KiB", run.said, run.peak);
    }
    // A hundred times as much; what is held is one account's rows.
    assert!(many.peak < few.peak + 5 * 1024, "{} KiB after {} KiB", many.peak, few.peak);
}

/// On a terminal there is a bar; what it draws is seen here by the codes that erase and redraw the line.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_shows_a_bar() {
    let desk = Desk::start().await;
    let file = desk.path("past.om");
    let program = exporter();
    let config = desk.path("config.yml");
    let accounts = ACCOUNTS.map(|name| format!("--account {name}")).join(" ");
    let line = format!(
        "{} backfill --config.file {} --output {} {accounts}",
        program.display(),
        config.display(),
        file.display()
    );
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env("TERM", "xterm").env("COLUMNS", "120");
    let begin = Instant::now();
    let ended = run(command, "");
    assert!(ended.status.success(), "{} after {:?}", ended.output, begin.elapsed());
    for part in ["0/5 ekibastuz_hall_1 BTC, ", "4/5 pavlodar BCH, ", "past.om: ", " samples of "] {
        assert!(ended.output.contains(part), "{part} in {:?}", ended.output);
    }
    assert!(!ended.output.contains("1/5 ekibastuz_hall_1 BTC: "), "{:?}", ended.output);
}
