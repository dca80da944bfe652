//! What the status page says, in each of its languages. What the pool or the client said stays as it is: English.

use std::time::Duration;

use crate::model::Reason;

/// A language of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// English; for whoever wants neither.
    English,
    /// Russian.
    Russian,
}

impl Language {
    /// Both.
    pub const ALL: [Self; 2] = [Self::English, Self::Russian];

    /// The language of a tag as browsers send it, as `ru-KZ`.
    pub fn of_tag(tag: &str) -> Option<Self> {
        let primary = tag.split('-').next().unwrap_or_default();
        Self::ALL.into_iter().find(|language| language.words().tag.eq_ignore_ascii_case(primary))
    }

    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::English => Self::Russian,
            Self::Russian => Self::English,
        }
    }

    /// What never changes.
    pub const fn words(self) -> &'static Words {
        match self {
            Self::English => &ENGLISH,
            Self::Russian => &RUSSIAN,
        }
    }

    /// A time span, in its two largest units; no number is parted from its unit at a line's end. From ten minutes on the
    /// seconds say nothing.
    pub fn span(self, span: Duration) -> String {
        let seconds = span.as_secs();
        let [s, min, h, d] = match self {
            Self::English => ["s", "min", "h", "d"],
            Self::Russian => ["с", "мин", "ч", "д"],
        };
        let of = |number: u64, unit: &str| format!("{number}\u{a0}{unit}");
        let and = |number: u64, unit: &str| if number > 0 { format!(" {}", of(number, unit)) } else { String::new() };
        match (seconds / 86_400, seconds / 3600, seconds / 60) {
            (0, 0, 0) => of(seconds, s),
            (0, 0, minutes @ 0..10) => of(minutes, min) + &and(seconds % 60, s),
            (0, 0, minutes) => of(minutes, min),
            (0, hours, minutes) => of(hours, h) + &and(minutes % 60, min),
            (days, hours, _) => of(days, d) + &and(hours % 24, h),
        }
    }

    /// So long ago.
    pub fn ago(self, span: Duration) -> String {
        let span = self.span(span);
        match self {
            Self::English => format!("{span} ago"),
            Self::Russian => format!("{span} назад"),
        }
    }

    /// A part of a whole.
    pub fn of(self, part: impl std::fmt::Display, whole: impl std::fmt::Display) -> String {
        match self {
            Self::English => format!("{part} of {whole}"),
            Self::Russian => format!("{part} из {whole}"),
        }
    }

    /// How many there are of everything.
    /// The workers are those of `known` lists of `lists`.
    pub fn counts(self, accounts: usize, workers: &str, known: usize, lists: usize) -> String {
        let workers = match self {
            _ if known == 0 || known == lists => workers.to_owned(),
            Self::English => format!("{workers} (known lists: {known} of {lists})"),
            Self::Russian => format!("{workers} (известно списков: {known} из {lists})"),
        };
        match self {
            Self::English => format!("Accounts: {accounts}. Workers in the pool's lists: {workers}."),
            Self::Russian => format!("Аккаунтов: {accounts}. Воркеров в списках пула: {workers}."),
        }
    }

    /// How much a reason concerns.
    pub fn extent(self, endpoints: usize, accounts: usize) -> String {
        match self {
            Self::English => format!("endpoints: {endpoints}, accounts: {accounts}"),
            Self::Russian => format!("опросов: {endpoints}, аккаунтов: {accounts}"),
        }
    }

    /// There is more than is shown.
    pub fn more(self, more: usize) -> String {
        match self {
            Self::English => format!("And {more} more."),
            Self::Russian => format!("И ещё {more}."),
        }
    }

    /// Which rows of the table are shown; there are `all` without the filter.
    pub fn shown(self, first: usize, last: usize, found: usize, all: usize) -> String {
        match (self, found == all) {
            (Self::English, _) if found == 0 => format!("Nothing found among {all} rows."),
            (Self::Russian, _) if found == 0 => format!("Ничего не найдено, строк всего: {all}."),
            (Self::English, true) => format!("Rows {first} to {last} of {all}, those with trouble first."),
            (Self::Russian, true) => format!("Строки с {first} по {last} из {all}, сначала с неполадками."),
            (Self::English, false) => {
                format!("Rows {first} to {last} of {found} found among {all}, those with trouble first.")
            }
            (Self::Russian, false) => {
                format!("Строки с {first} по {last} из найденных {found} (всего {all}), сначала с неполадками.")
            }
        }
    }

    /// How a slot that fails is told of in the table.
    pub fn fails(self, reason: Reason) -> String {
        match self {
            Self::English => format!("fails: {}", reason.as_str()),
            Self::Russian => format!("ошибка: {}", reason.as_str()),
        }
    }

    /// The age of what is known.
    pub fn data_age(self, age: &str) -> String {
        match self {
            Self::English => format!("age of data: {age}"),
            Self::Russian => format!("возраст данных: {age}"),
        }
    }

    /// What data are that are not shown any more.
    pub fn older_than(self, limit: &str) -> String {
        match self {
            Self::English => format!("older than {limit}"),
            Self::Russian => format!("старше {limit}"),
        }
    }

    /// How many requests were made of how many that could have been.
    pub fn used(self, made: u64, allowed: f64, in_flight: usize, concurrency: usize) -> String {
        match self {
            Self::English => format!(
                "Requests begun in the last minute: {made} of {allowed:.0} that the budget allows; in flight: {in_flight} of {concurrency}."
            ),
            Self::Russian => format!(
                "Запросов за последнюю минуту: {made} из {allowed:.0}, которые позволяет бюджет; одновременно выполняется {in_flight} из {concurrency}."
            ),
        }
    }

    /// How many requests polling takes.
    pub fn demand(self, per_second: f64, allowed: f64) -> String {
        match self {
            Self::English => format!("Polling takes at least {per_second:.2} requests a second of {allowed} allowed."),
            Self::Russian => {
                format!("Опрос требует не меньше {per_second:.2} запроса в секунду из {allowed} разрешённых.")
            }
        }
    }

    /// The pool is asked more slowly than is configured.
    pub fn slowed(self, per_second: f64) -> String {
        match self {
            Self::English => {
                format!("The pool said that it is asked too much: {per_second} requests a second for now.")
            }
            Self::Russian => format!("Пул ответил, что запросов слишком много: пока запросов в секунду: {per_second}."),
        }
    }

    /// Nobody asks for so long.
    pub fn paused(self, left: Duration) -> String {
        let left = self.span(left);
        match self {
            Self::English => format!("The pool wants to be left alone: no request for {left} (Retry-After)."),
            Self::Russian => format!("Пул просит подождать: ещё {left} без запросов (Retry-After)."),
        }
    }

    /// What was not of the documented shape.
    pub fn anomalies(self, fields: &str) -> String {
        match self {
            Self::English => format!(
                "Since the start some values were not of the documented shape and were left out: {fields}. Is the exporter of the newest release?"
            ),
            Self::Russian => format!(
                "С момента запуска часть значений пришла не в описанном виде и пропущена: {fields}. Установлена ли последняя версия экспортёра?"
            ),
        }
    }

    /// Less is listed than reported.
    pub fn withheld(self, reported: u64) -> String {
        match self {
            Self::English => format!("the pool says {reported}"),
            Self::Russian => format!("по словам пула {reported}"),
        }
    }

    /// So many are not exported.
    pub fn cut(self, cut: u64) -> String {
        match self {
            Self::English => format!("{cut} above workers.max"),
            Self::Russian => format!("{cut} сверх workers.max"),
        }
    }

    /// A share of what is expected.
    pub fn of_expected(self, percent: f64, expected: &str) -> String {
        match self {
            Self::English => format!("{percent:.0} % of {expected}"),
            Self::Russian => format!("{percent:.0} % от {expected}"),
        }
    }

    /// A sum in which not everything could be counted.
    pub fn of_accounts(self, known: usize, all: usize) -> String {
        match self {
            Self::English => format!("{known} of {all} accounts"),
            Self::Russian => format!("аккаунтов: {known} из {all}"),
        }
    }
}

/// What never changes.
#[derive(Debug)]
#[expect(missing_docs, reason = "each is what it says")]
pub struct Words {
    pub tag: &'static str,
    pub name: &'static str,
    pub skip: &'static str,
    pub lost: &'static str,
    pub not_refreshed: &'static str,
    pub as_of: &'static str,
    pub running_for: &'static str,
    pub links: &'static str,
    pub metrics: &'static str,
    pub health: &'static str,
    pub readiness: &'static str,
    pub discovery: &'static str,
    pub documentation: &'static str,
    pub troubles: &'static str,
    pub no_trouble: &'static str,
    pub to_do: &'static str,
    pub account: &'static str,
    pub accounts: &'static str,
    pub endpoint: &'static str,
    pub endpoints: &'static str,
    pub last_success: &'static str,
    pub message: &'static str,
    pub never: &'static str,
    pub everybody: &'static str,
    pub summary: &'static str,
    pub currency: &'static str,
    pub hashrate: &'static str,
    pub active: &'static str,
    pub inactive: &'static str,
    pub listed: &'static str,
    pub balance: &'static str,
    pub today: &'static str,
    pub last_day: &'static str,
    pub age: &'static str,
    pub not_asked_yet: &'static str,
    pub not_asked: &'static str,
    pub too_old: &'static str,
    pub no_accounts: &'static str,
    pub all_of_them: &'static str,
    pub filter: &'static str,
    pub only_trouble: &'static str,
    pub show: &'static str,
    pub pages: &'static str,
    pub pool: &'static str,
    pub pool_hashrate: &'static str,
    pub network_hashrate: &'static str,
    pub fee: &'static str,
    pub miners: &'static str,
    pub budget: &'static str,
    pub past: &'static str,
    pub no_past: &'static str,
    pub when: &'static str,
    pub reason: &'static str,
    pub settings: &'static str,
    pub settings_hint: &'static str,
    pub reload_failed: &'static str,
    pub source: &'static str,
}

const ENGLISH: Words = Words {
    tag: "en",
    name: "English",
    skip: "To the accounts",
    lost: "The exporter does not answer any more. What you see is old.",
    not_refreshed: "This page could not be refreshed. What you see is old.",
    as_of: "As of",
    running_for: "running for",
    links: "Links",
    metrics: "Metrics",
    health: "Health",
    readiness: "Readiness",
    discovery: "Service discovery",
    documentation: "Documentation",
    troubles: "Trouble",
    no_trouble: "None.",
    to_do: "What to do:",
    account: "Account",
    accounts: "Accounts",
    endpoint: "Endpoint",
    endpoints: "Endpoints",
    last_success: "Last success",
    message: "Message",
    never: "never",
    everybody: "the whole pool",
    summary: "Summary",
    currency: "Currency",
    hashrate: "Hashrate (1\u{a0}h)",
    active: "Active",
    inactive: "Inactive",
    listed: "Workers listed",
    balance: "Balance",
    today: "Income today",
    last_day: "Last full day",
    age: "age of",
    not_asked_yet: "not asked yet",
    not_asked: "not asked",
    too_old: "too old, not shown",
    no_accounts: "No account is configured.",
    all_of_them: "All with trouble",
    filter: "Account, currency or label",
    only_trouble: "only with trouble",
    show: "Show",
    pages: "Pages",
    pool: "The pool",
    pool_hashrate: "Pool's hashrate",
    network_hashrate: "Network's hashrate",
    fee: "Fee",
    miners: "Miners",
    budget: "Request budget",
    past: "Errors that are over",
    no_past: "None since the start.",
    when: "When",
    reason: "Reason",
    settings: "Configuration in use",
    settings_hint: "All but accounts and keys",
    reload_failed: "The last reload of the configuration failed; the one before is still in use. The log says why.",
    source: "Source code",
};

const RUSSIAN: Words = Words {
    tag: "ru",
    name: "Русский",
    skip: "К аккаунтам",
    lost: "Экспортёр больше не отвечает. То, что вы видите, устарело.",
    not_refreshed: "Страницу не удалось обновить. То, что вы видите, устарело.",
    as_of: "На",
    running_for: "работает",
    links: "Ссылки",
    metrics: "Метрики",
    health: "Исправность",
    readiness: "Готовность",
    discovery: "Обнаружение целей",
    documentation: "Документация",
    troubles: "Неполадки",
    no_trouble: "Нет.",
    to_do: "Что делать:",
    account: "Аккаунт",
    accounts: "Аккаунты",
    endpoint: "Метод",
    endpoints: "Методы",
    last_success: "Последний успешный ответ",
    message: "Сообщение",
    never: "не было",
    everybody: "весь пул",
    summary: "Итоги",
    currency: "Монета",
    hashrate: "Хешрейт (1\u{a0}ч)",
    active: "Активны",
    inactive: "Неактивны",
    listed: "Воркеров в списке",
    balance: "Баланс",
    today: "Доход сегодня",
    last_day: "Последний полный день",
    age: "возраст",
    not_asked_yet: "ещё не опрошен",
    not_asked: "не опрашивается",
    too_old: "данные устарели, не показываются",
    no_accounts: "Аккаунты не настроены.",
    all_of_them: "Все с неполадками",
    filter: "Аккаунт, монета или метка",
    only_trouble: "только с неполадками",
    show: "Показать",
    pages: "Страницы",
    pool: "Пул",
    pool_hashrate: "Хешрейт пула",
    network_hashrate: "Хешрейт сети",
    fee: "Комиссия",
    miners: "Майнеров",
    budget: "Бюджет запросов",
    past: "Прошедшие ошибки",
    no_past: "С момента запуска не было.",
    when: "Когда",
    reason: "Причина",
    settings: "Действующие настройки",
    settings_hint: "Все, кроме аккаунтов и ключей",
    reload_failed: "Последняя перезагрузка настроек не удалась; действуют прежние. Причина в журнале.",
    source: "Исходный код",
};
