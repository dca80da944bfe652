//! The status page: for the person who has just started the exporter, or was just woken by it.
//!
//! What is wrong comes first, with what to do about it; then the sums; then every currency of every account, those with
//! trouble first, a hundred at a time, with a filter. It is whole without its script, which only takes the parts that
//! change out of a fresh copy of the page, and says so when there is none to be had.

mod draft;
mod headline;
pub mod reasons;
mod settings;
mod state;
pub mod words;

use std::{sync::LazyLock, time::Duration};

use askama::Template;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use ring::digest;

use self::{
    draft::Draft,
    state::State,
    words::{Language, Words},
};
use crate::{
    budget::Usage,
    collector::View,
    config::Config,
    demand::Demand,
    model::{Currency, Endpoint, Reason},
    telemetry::Figures,
};

/// What stands where nothing is known.
const UNKNOWN: &str = "–";

/// The longest filter that is heard, in characters.
const LONGEST_FILTER: usize = 200;

const CSS: &str = include_str!("../../templates/status.css");
const JS: &str = include_str!("../../templates/status.js");

/// The columns of the table of accounts that tell how old things are.
const ENDPOINTS: [Endpoint; 4] =
    [Endpoint::SummaryData, Endpoint::Workers, Endpoint::ProfitHistory, Endpoint::PaymentHistory];

/// What the page may load and run: its own style and script, by their hashes; its own figures, again; nothing else.
pub fn content_security_policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let hash = |text: &str| BASE64_STANDARD.encode(digest::digest(&digest::SHA256, text.as_bytes()));
        format!(
            "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; img-src data:; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            hash(CSS),
            hash(JS)
        )
    });
    &POLICY
}

/// What the page is about.
pub struct Subject<'a> {
    /// What the exporter is to do.
    pub config: &'a Config,
    /// What is known.
    pub view: &'a View,
    /// What it did.
    pub figures: &'a Figures,
    /// What of the request budget is used.
    pub usage: Usage,
    /// What polling takes of it.
    pub demand: Demand,
    /// What time it is.
    pub now: Timestamp,
    /// For how long the exporter runs.
    pub up: Duration,
}

/// What of it is wanted, and how.
#[derive(Debug, PartialEq, Eq)]
pub struct Wanted {
    language: Language,
    /// Whether the language was asked for by the address, and not by a header.
    chosen: bool,
    /// Words, each of which is in the account's name, the currency or a label (`name=value`), whatever the case.
    filter: String,
    only_trouble: bool,
    /// From 1.
    page: usize,
}

impl Wanted {
    /// What a query asks for; `accepted` is the language that the browser prefers. What it does not understand it leaves.
    pub fn of(query: &str, accepted: Language) -> Self {
        let mut wanted =
            Self { language: accepted, chosen: false, filter: String::new(), only_trouble: false, page: 1 };
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "q" => wanted.filter = value.trim().chars().take(LONGEST_FILTER).collect(),
                "trouble" => wanted.only_trouble = value == "1",
                "page" => wanted.page = value.parse().unwrap_or(1).max(1),
                "lang" => {
                    if let Some(language) = Language::of_tag(&value) {
                        (wanted.language, wanted.chosen) = (language, true);
                    }
                }
                _ => {}
            }
        }
        wanted
    }

    /// The query of the same with another page or language.
    fn query(&self, page: usize, language: Option<Language>) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        if !self.filter.is_empty() {
            query.append_pair("q", &self.filter);
        }
        if self.only_trouble {
            query.append_pair("trouble", "1");
        }
        if page > 1 {
            query.append_pair("page", &page.to_string());
        }
        if let Some(language) = language {
            query.append_pair("lang", language.words().tag);
        }
        query.finish()
    }
}

#[derive(Template)]
#[template(path = "status.html")]
struct Status<'a> {
    w: &'static Words,
    css: &'static str,
    js: &'static str,
    headline: String,
    tone: &'static str,
    icon: &'static str,
    now: String,
    now_shown: String,
    up: String,
    telemetry_path: &'a str,
    repository: &'static str,
    other_language: OtherLanguage,
    notes: Vec<Note>,
    troubles: Vec<TroubleArticle>,
    columns: [&'static str; 7],
    counts: String,
    sums: Vec<Sum>,
    filter: &'a str,
    only_trouble: bool,
    chosen_language: &'static str,
    extent: String,
    endpoints: [Endpoint; 4],
    rows: Vec<Row>,
    pages: Vec<Page>,
    pool_state: SlotCell,
    coins: Vec<Coin>,
    budget: BudgetUse,
    past: Vec<Past>,
    more_past: String,
    settings: Vec<(&'static str, String)>,
    version: &'static str,
    revision: &'static str,
    rustc: &'static str,
}

struct OtherLanguage {
    query: String,
    tag: &'static str,
    name: &'static str,
}

/// What is not about one account.
struct Note {
    text: String,
    /// Whether it is English, whatever the page is.
    is_english: bool,
}

/// One reason for which endpoints have no data, or will have none.
struct TroubleArticle {
    title: &'static str,
    /// Its id on the page.
    id: &'static str,
    /// The reason of the failure; `None`: the data are too old, and no poll failed.
    reason: Option<Reason>,
    extent: String,
    meaning: Vec<(bool, &'static str)>,
    advice: Vec<(bool, &'static str)>,
    cases: Vec<Case>,
    more: String,
    /// Where all of them are.
    more_query: String,
}

/// Endpoints of one account and currency that have the same trouble.
struct Case {
    whose: String,
    endpoints: String,
    /// How long ago the last success was, of that of them where it was the longest; `None`: none has one.
    age: Option<Duration>,
    last_success: String,
    message: String,
}

/// A currency, over all accounts.
struct Sum {
    currency: Currency,
    accounts: usize,
    cells: Vec<(&'static str, Cell)>,
}

/// One currency of one account.
struct Row {
    account: String,
    labels: String,
    currency: Currency,
    cells: Vec<(&'static str, Cell)>,
    states: Vec<(Endpoint, SlotCell)>,
}

/// A figure.
#[derive(Default)]
struct Cell {
    value: String,
    note: String,
    is_bad: bool,
}

/// How the polling of a slot goes.
struct SlotCell {
    tone: &'static str,
    text: String,
    note: String,
}

struct Page {
    number: usize,
    /// Empty for the page that is shown.
    query: String,
}

struct Coin {
    currency: Currency,
    cells: [(&'static str, String); 4],
}

struct BudgetUse {
    sentence: String,
    percent: u64,
    demand: String,
}

/// The last error of a slot that is well again.
struct Past {
    whose: String,
    endpoint: Endpoint,
    when: String,
    reason: &'static str,
    message: String,
}

/// Draws the page.
///
/// # Errors
///
/// Only where a `String` cannot be written to, which does not happen.
pub fn render(subject: &Subject<'_>, wanted: &Wanted) -> Result<String, askama::Error> {
    let draft = Draft { subject, language: wanted.language, w: wanted.language.words() };
    let Subject { config, view, now, up, .. } = subject;
    let slots: Vec<_> = state::slots(view).collect();
    let notes = draft.notes();
    let situation = state::of(view, &slots, config.accounts_in_all_shards, notes.len());
    let (tone, icon) = match situation.state {
        State::Well => ("good", "green"),
        State::Noted { .. } | State::NoAccounts | State::OtherShards { .. } | State::Waiting { .. } => {
            ("wait", "orange")
        }
        _ => ("bad", "red"),
    };
    let (past, more_past) = draft.past(&slots);
    let (rows, extent, pages) = draft.table(wanted);
    let other = wanted.language.other();
    let status = Status {
        w: draft.w,
        css: CSS,
        js: JS,
        headline: draft.language.headline(&situation),
        tone,
        icon,
        now: now.to_string(),
        now_shown: now.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        up: draft.language.span(*up),
        telemetry_path: &config.web.telemetry_path,
        repository: env!("CARGO_PKG_REPOSITORY"),
        other_language: OtherLanguage {
            query: wanted.query(wanted.page, Some(other)),
            tag: other.words().tag,
            name: other.words().name,
        },
        notes,
        troubles: draft.troubles(&slots, wanted),
        columns: draft.columns(),
        counts: draft.counts(),
        sums: draft.sums(),
        filter: &wanted.filter,
        only_trouble: wanted.only_trouble,
        chosen_language: if wanted.chosen { draft.w.tag } else { "" },
        extent,
        endpoints: ENDPOINTS,
        rows,
        pages,
        pool_state: draft.slot(view.common.as_ref().map(|common| &common.poll)),
        coins: draft.coins(),
        budget: draft.budget(),
        past,
        more_past,
        settings: settings::settings(config),
        version: env!("CARGO_PKG_VERSION"),
        revision: env!("BTCPOOL_EXPORTER_REVISION"),
        rustc: env!("BTCPOOL_EXPORTER_RUSTC"),
    };
    status.render()
}

/// A value, or that it is not known.
fn shown(value: Option<impl std::fmt::Display>) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), |value| value.to_string())
}
