//! Hours of a simulated pool's life, as a Prometheus would have them if it had watched: every scrape of an exporter,
//! every recording rule, every alert.
//!
//! Nothing is waited for. The pool's clock is set by hand, the exporter polls once for each moment, promtool writes the
//! blocks. Rules are evaluated by a real Prometheus over what is there by then, and `for` and `keep_firing_for` of
//! alerts are counted here.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use btcpool_exporter::{
    Exporter,
    clock::Clock,
    collector::{Format, Moment, Scope, View, past::labels_text, render},
    config::{Config, Overrides},
    demo::{Farm, SimulatedPool},
    server,
};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    programs::{Prometheus, run_long},
    rules::promtool,
    support::pool::reader::Labels,
};

/// What the series of the exporter are called by who scrapes it.
const TARGET: &str = "instance=\"localhost:10058\",job=\"btcpool\"";

/// A part of the past.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// When it begins, in Unix seconds.
    pub from: i64,
    /// When it is over.
    pub to: i64,
    /// From one scrape, and one evaluation of rules, to the next, in seconds.
    pub step: i64,
    /// How many scrapes show the same poll.
    pub scrapes_per_poll: i64,
    /// Whether what the exporter tells of its requests and its process is wanted, too; no alert looks at that.
    pub own_figures: bool,
}

/// A file of rules.
#[derive(Clone, Debug, Deserialize)]
pub struct RuleFile {
    pub groups: Vec<Group>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Group {
    pub name: String,
    pub interval: Option<String>,
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Rule {
    pub record: Option<String>,
    pub alert: Option<String>,
    pub expr: String,
    #[serde(rename = "for")]
    pub lasting: Option<String>,
    pub keep_firing_for: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

impl Rule {
    /// The name of what it makes.
    pub fn name(&self) -> &str {
        self.record.as_deref().or(self.alert.as_deref()).unwrap()
    }
}

/// The files with rules that are shipped.
pub fn rule_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/rules");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    files
}

/// The rules that are shipped, group by group.
pub fn groups() -> Vec<Group> {
    let read = |file: &PathBuf| serde_saphyr::from_str::<RuleFile>(&fs::read_to_string(file).unwrap()).unwrap().groups;
    rule_files().iter().flat_map(read).collect()
}

/// What was measured, made of it, and told.
pub struct Past {
    /// When alerts fired.
    pub alerts: Vec<Episode>,
    /// The rules that had no result at any time.
    pub empty: BTreeSet<String>,
}

/// One alert, from when it fired until it did not.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    pub name: String,
    pub labels: Labels,
    pub from: i64,
    pub to: i64,
}

/// Writes down the life of a farm into `data`, an empty folder.
pub async fn live(farm: Farm, span: Span, program: &Path, data: &Path) -> Past {
    let began = Instant::now();
    let file = data.with_extension("om");
    watch(farm, span, &file).await;
    eprintln!("{:.0} s: polled and scraped, {} MB", began.elapsed().as_secs_f64(), size(&file) >> 20);
    make_blocks(program, &file, data);
    let mut past = Past { alerts: Vec::new(), empty: BTreeSet::new() };
    for level in levels(groups()) {
        let mut text = BufWriter::new(File::create(&file).unwrap());
        let prometheus = Prometheus::start_on(program, Some(data), "  []\n").await;
        for (group, rule) in &level {
            evaluate(&prometheus, span, group, rule, &mut text, &mut past).await;
        }
        drop(prometheus);
        text.write_all(b"# EOF\n").unwrap();
        drop(text);
        make_blocks(program, &file, data);
        eprintln!("{:.0} s: {} rules evaluated", began.elapsed().as_secs_f64(), level.len());
    }
    fs::remove_file(file).unwrap();
    past
}

fn size(file: &Path) -> u64 {
    fs::metadata(file).unwrap().len()
}

/// Polls and scrapes.
async fn watch(farm: Farm, span: Span, file: &Path) {
    let at = |seconds| Timestamp::from_second(seconds).unwrap();
    let (clock, set) = Clock::set_by_hand(at(span.from));
    let pool = SimulatedPool::of(farm, clock);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = pool.base_url(listener.local_addr().unwrap());
    let end = CancellationToken::new();
    let serving = tokio::spawn(server::serve(listener, pool.router(), end.clone()));
    let yaml = pool.configuration(&base_url, 1.0).replace("requests_per_second: 100 ", "requests_per_second: 1000 ");
    let config = Config::from_yaml("simulated", &yaml, &Overrides::default()).unwrap();
    let exporter = Exporter::new(config, clock).unwrap();

    let mut text = BufWriter::new(File::create(file).unwrap());
    let mut lines = String::new();
    for (turn, now) in (span.from..span.to).step_by(span.step as usize).enumerate() {
        set(at(now));
        if (turn as i64) % span.scrapes_per_poll == 0 {
            exporter.poller.once().await;
            let moment = Moment { wall: clock.now(), monotonic: Instant::now() };
            let view = View::take(&exporter.config, &exporter.store, &exporter.telemetry, &Scope::All, moment);
            let own = ["btcpool_exporter_api_", "process_"];
            let wanted = |line: &&str| {
                !line.starts_with('#') && (span.own_figures || !own.iter().any(|own| line.starts_with(own)))
            };
            let text = render(view, Format::Classic).unwrap();
            lines = text.lines().filter(wanted).flat_map(|line| [line, "\n"]).collect();
            let samples = lines.lines().count();
            let _ = write!(lines, "up 1\nscrape_duration_seconds 0.004\nscrape_samples_scraped {samples}\n");
        }
        for line in lines.lines() {
            let (series, value) = line.rsplit_once(' ').unwrap();
            match series.strip_suffix('}') {
                Some(labelled) => writeln!(text, "{labelled},{TARGET}}} {value} {now}"),
                None => writeln!(text, "{series}{{{TARGET}}} {value} {now}"),
            }
            .unwrap();
        }
    }
    text.write_all(b"# EOF\n").unwrap();
    text.flush().unwrap();
    end.cancel();
    serving.await.unwrap();
}

fn make_blocks(program: &Path, file: &Path, data: &Path) {
    if size(file) < 10 {
        return;
    }
    let mut command = Command::new(promtool(program));
    command.args(["tsdb", "create-blocks-from", "openmetrics", "--quiet", "--max-block-duration=744h"]);
    command.arg(file).arg(data);
    let ended = run_long(command);
    assert!(ended.status.success(), "{}{}", ended.output, ended.errors);
}

/// The rules, so that each comes after those whose results it reads; alerts last.
fn levels(groups: Vec<Group>) -> Vec<Vec<(Group, Rule)>> {
    let mut left: Vec<_> = groups
        .into_iter()
        .flat_map(|group| group.rules.clone().into_iter().map(move |rule| (group.clone(), rule)))
        .collect();
    let mut levels = Vec::new();
    while !left.is_empty() {
        let pending: BTreeSet<_> = left.iter().filter_map(|(_, rule)| rule.record.clone()).collect();
        let records = !pending.is_empty();
        let waits = |(_, rule): &(Group, Rule)| {
            (records && rule.alert.is_some()) || names_in(&rule.expr).iter().any(|name| pending.contains(*name))
        };
        let (later, now): (Vec<_>, Vec<_>) = left.into_iter().partition(waits);
        assert!(!now.is_empty(), "rules that wait for each other: {later:?}");
        levels.push(now);
        left = later;
    }
    levels
}

/// The words of an expression that may be names of series.
pub fn names_in(expr: &str) -> BTreeSet<&str> {
    expr.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).filter(|word| !word.is_empty()).collect()
}

/// Seconds of a duration as Prometheus writes it.
pub fn seconds(duration: &str) -> i64 {
    let mut sum = 0;
    let mut rest = duration;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |end| digits + end);
        let each = match &rest[digits..unit] {
            "" => 0,
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            "w" => 604_800,
            other => panic!("{duration}: {other}"),
        };
        sum += rest[..digits].parse::<i64>().unwrap() * each;
        rest = &rest[unit..];
    }
    sum
}

async fn evaluate(
    prometheus: &Prometheus,
    span: Span,
    group: &Group,
    rule: &Rule,
    text: &mut BufWriter<File>,
    past: &mut Past,
) {
    let step = group.interval.as_deref().map_or(0, seconds).max(span.step);
    let series = results(prometheus, span, step, &rule.expr).await;
    if series.is_empty() {
        past.empty.insert(rule.name().to_owned());
    }
    for (mut labels, points) in series {
        labels.remove("__name__");
        for (name, value) in &rule.labels {
            labels.insert(name.clone(), value.clone());
        }
        if rule.record.is_some() {
            for (at, value) in &points {
                write_sample(text, rule.name(), &labels, value, *at);
            }
            continue;
        }
        let lasting = rule.lasting.as_deref().map_or(0, seconds);
        let keep = rule.keep_firing_for.as_deref().map_or(0, seconds);
        let times: BTreeSet<_> = points.iter().map(|(at, _)| *at).collect();
        let (mut since, mut seen, mut firing) = (None, None, None::<Episode>);
        labels.insert("alertname".to_owned(), rule.name().to_owned());
        for now in (span.from..span.to).step_by(step as usize) {
            let is = times.contains(&now);
            if is {
                since = since.or(Some(now));
                seen = Some(now);
            } else if firing.is_none() || seen.is_none_or(|seen| now - seen > keep) {
                past.alerts.extend(firing.take().map(|episode| Episode { to: now, ..episode }));
                since = None;
            }
            let Some(since) = since else { continue };
            if is && firing.is_none() && now - since >= lasting {
                let (name, labels) = (rule.name().to_owned(), labels.clone());
                firing = Some(Episode { name, labels, from: now, to: i64::MAX });
            }
            let state = if firing.is_some() { "firing" } else { "pending" };
            labels.insert("alertstate".to_owned(), state.to_owned());
            write_sample(text, "ALERTS", &labels, "1", now);
            labels.remove("alertstate");
        }
        past.alerts.extend(firing);
    }
}

fn write_sample(text: &mut BufWriter<File>, name: &str, labels: &Labels, value: &str, at: i64) {
    let labels = labels_text(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    writeln!(text, "{name}{labels} {value} {at}").unwrap();
}

/// An expression's values over the span.
async fn results(prometheus: &Prometheus, span: Span, step: i64, expr: &str) -> HashMap<Labels, Vec<(i64, String)>> {
    let mut series = HashMap::<Labels, Vec<(i64, String)>>::new();
    let mut take = |result: &Value, points: &[Value]| {
        let labels = serde_json::from_value(result["metric"].clone()).unwrap();
        let point = |point: &Value| (point[0].as_f64().unwrap() as i64, point[1].as_str().unwrap().to_owned());
        series.entry(labels).or_default().extend(points.iter().map(point));
    };
    // Evaluated alone, the end is the moment itself, as it is for a rule; over a range it is the range's.
    if expr.contains("end()") {
        let step = step.max(300);
        for now in (span.from..span.to).step_by(step as usize) {
            let answer = ask(prometheus, "/api/v1/query", &[("query", expr), ("time", &now.to_string())]).await;
            for result in answer["result"].as_array().unwrap() {
                take(result, &[result["value"].clone()]);
            }
        }
    } else {
        let (from, to, step) = (span.from.to_string(), (span.to - 1).to_string(), step.to_string());
        let range = [("query", expr), ("start", &from), ("end", &to), ("step", &step)];
        let answer = ask(prometheus, "/api/v1/query_range", &range).await;
        for result in answer["result"].as_array().unwrap() {
            take(result, result["values"].as_array().unwrap());
        }
    }
    series
}

/// Asks a Prometheus that may have begun just now.
pub async fn ask(prometheus: &Prometheus, path: &str, parameters: &[(&str, &str)]) -> Value {
    prometheus.until(path, parameters, |_| true).await
}

/// A whole number of hours before a moment, at a whole five minutes.
pub fn hours_before(now: Timestamp, hours: i64) -> i64 {
    let then = now.checked_sub(SignedDuration::from_hours(hours)).unwrap().as_second();
    then - then.rem_euclid(300)
}
