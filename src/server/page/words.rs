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

    /// What a reason means, and what to do about it.
    pub const fn explain(self, reason: Reason) -> Explanation {
        match self {
            Self::English => english(reason),
            Self::Russian => russian(reason),
        }
    }

    /// The one sentence at the top of the page.
    pub fn headline(self, state: &State<'_>) -> String {
        match self {
            Self::English => english_headline(state),
            Self::Russian => russian_headline(state),
        }
    }

    /// What is added to the sentence where something fails: that other data are too old, or not there yet.
    pub fn besides(self, old: usize, waiting: usize) -> String {
        let mut text = String::new();
        if old > 0 {
            text += &match self {
                Self::English => format!("; the data of {} are too old", endpoints(old)),
                Self::Russian => format!("; устарели данные опросов: {old}"),
            };
        }
        if waiting > 0 {
            text += &match self {
                Self::English => format!("; not asked yet: {}", endpoints(waiting)),
                Self::Russian => format!("; ещё не опрошено: {waiting}"),
            };
        }
        text
    }

    /// Accounts are configured, but none of them is this process' own.
    pub fn other_shards(self, accounts: usize) -> String {
        match self {
            Self::English => format!("None of the configured accounts ({accounts}) falls to this shard"),
            Self::Russian => format!("Ни один из настроенных аккаунтов ({accounts}) не относится к этому шарду"),
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

    /// What data mean that are too old to be shown, though nothing failed, and what to do about it; that depends on whether
    /// the pool wants to be asked less.
    pub const fn explain_old(self, asked_to_wait: bool) -> Explanation {
        match (self, asked_to_wait) {
            (Self::English, false) => explanation(
                "Data too old",
                "The last good answer is older than `stale_after`, and no poll failed since then: it is not shown any more.",
                "Polling does not keep up: see the request budget below. If its requests are used up, raise \
                 `api.requests_per_second`, or lengthen the intervals and `stale_after`; if its places are taken, raise \
                 `api.concurrency`.",
            ),
            (Self::English, true) => explanation(
                "Data too old",
                "The last good answer is older than `stale_after`, and no poll failed since then: it is not shown any more.",
                "The pool wants to be asked less, and so it is: wait. If that happens often, lower \
                 `api.requests_per_second` or lengthen the intervals.",
            ),
            (Self::Russian, false) => explanation(
                "Данные устарели",
                "Последний успешный ответ старше `stale_after`, ошибок с тех пор не было: он больше не показывается.",
                "Опрос не успевает: смотрите бюджет запросов ниже. Если исчерпаны запросы, увеличьте \
                 `api.requests_per_second` или интервалы и `stale_after`; если заняты все места, увеличьте \
                 `api.concurrency`.",
            ),
            (Self::Russian, true) => explanation(
                "Данные устарели",
                "Последний успешный ответ старше `stale_after`, ошибок с тех пор не было: он больше не показывается.",
                "Пул просит обращаться к нему реже, так и делается: подождите. Если это повторяется, уменьшите \
                 `api.requests_per_second` или увеличьте интервалы.",
            ),
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
    pub fn cut(self, cut: usize) -> String {
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

/// So many, and the word in its number.
fn plural(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

fn endpoints(count: usize) -> String {
    plural(count, "endpoint")
}

fn english_headline(state: &State<'_>) -> String {
    let verb = |count| if count == 1 { "fails" } else { "fail" };
    let fail = |count| format!("{} {}", endpoints(count), verb(count));
    let pool = |with_pool| if with_pool { "; so do the pool's statistics" } else { "" };
    match *state {
        State::Well => "All is well: the pool answers everything that is asked".to_owned(),
        State::NoAccounts => "No account is configured: only the pool's statistics are polled".to_owned(),
        State::OtherShards { accounts } => Language::English.other_shards(accounts),
        State::Noted { notes: 1 } => "The pool answers everything that is asked; there is a note below".to_owned(),
        State::Noted { notes } => {
            format!("The pool answers everything that is asked; there are {notes} notes below")
        }
        State::Waiting { waiting, all } => format!("Not asked yet: {waiting} of {all} endpoints"),
        State::Old { old, all } => format!("Data too old to be shown: {old} of {all} endpoints"),
        State::Silent { all } => format!("The pool does not answer: {}", fail(all)),
        State::Refused { all } => format!("The pool refuses every request: {}", fail(all)),
        State::Nothing { all } => format!("Nothing succeeds: {}", fail(all)),
        State::KeyRefused { account } => format!("The pool refuses the key of {account}"),
        State::KeysRefused { accounts } => format!("The pool refuses the keys of {accounts} accounts"),
        State::OneAccount { account, failing, all, with_pool } => {
            format!("{account}: {failing} of its {all} endpoints {}{}", verb(failing), pool(with_pool))
        }
        State::Accounts { failing, all, with_pool } => {
            format!("{failing} of {all} accounts have endpoints that fail{}", pool(with_pool))
        }
        State::OnlyPool { is_all: true } => "The pool's statistics fail; every account is well".to_owned(),
        State::OnlyPool { is_all: false } => "The pool's statistics fail".to_owned(),
    }
}

fn russian_headline(state: &State<'_>) -> String {
    let fail = |failing, all| format!("неудачных опросов {failing} из {all}");
    let pool =
        |with_pool| if with_pool { "; статистика пула тоже не получена" } else { "" };
    match *state {
        State::Well => "Всё в порядке: пул отвечает на все запросы".to_owned(),
        State::NoAccounts => "Аккаунты не настроены: опрашивается только статистика пула".to_owned(),
        State::OtherShards { accounts } => Language::Russian.other_shards(accounts),
        State::Noted { notes } => format!("Пул отвечает на все запросы; замечаний ниже: {notes}"),
        State::Waiting { waiting, all } => format!("Ещё не опрошено: {waiting} из {all}"),
        State::Old { old, all } => format!("Данные устарели и не показываются (опросов: {old} из {all})"),
        State::Silent { all } => format!("Пул не отвечает: {}", fail(all, all)),
        State::Refused { all } => format!("Пул отклоняет все запросы: {}", fail(all, all)),
        State::Nothing { all } => format!("Ни один опрос не удался (всего {all})"),
        State::KeyRefused { account } => format!("Пул не принимает ключ аккаунта {account}"),
        State::KeysRefused { accounts } => format!("Пул не принимает ключи. Аккаунтов: {accounts}"),
        State::OneAccount { account, failing, all, with_pool } => {
            format!("{account}: {}{}", fail(failing, all), pool(with_pool))
        }
        State::Accounts { failing, all, with_pool } => {
            format!("Ошибки у аккаунтов: {failing} из {all}{}", pool(with_pool))
        }
        State::OnlyPool { is_all: true } => {
            "Не удаётся получить статистику пула; по аккаунтам всё в порядке".to_owned()
        }
        State::OnlyPool { is_all: false } => "Не удаётся получить статистику пула".to_owned(),
    }
}

/// How everything is, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State<'a> {
    /// Every endpoint answers.
    Well,
    /// The same, but there is no account.
    NoAccounts,
    /// Accounts are configured, but not for this process.
    OtherShards {
        /// How many.
        accounts: usize,
    },
    /// Some were not asked yet, none fails or is too old.
    Waiting {
        /// How many.
        waiting: usize,
        /// Of how many.
        all: usize,
    },
    /// Everything answers, but there is something to be said.
    Noted {
        /// How many notes.
        notes: usize,
    },
    /// None fails, but some were asked too long ago.
    Old {
        /// How many.
        old: usize,
        /// Of how many.
        all: usize,
    },
    /// Nothing is answered.
    Silent {
        /// How many endpoints.
        all: usize,
    },
    /// Everything is answered with a refusal.
    Refused {
        /// How many endpoints.
        all: usize,
    },
    /// Everything fails, for this reason and that.
    Nothing {
        /// How many endpoints.
        all: usize,
    },
    /// One account's key is refused, and nothing else is wrong.
    KeyRefused {
        /// Whose.
        account: &'a str,
    },
    /// Several accounts' keys are refused, and nothing else is wrong.
    KeysRefused {
        /// How many accounts'.
        accounts: usize,
    },
    /// One account has trouble.
    OneAccount {
        /// Which.
        account: &'a str,
        /// How many of its endpoints.
        failing: usize,
        /// Of how many.
        all: usize,
        /// Whether `main_stat` fails, too.
        with_pool: bool,
    },
    /// Several accounts have trouble.
    Accounts {
        /// How many.
        failing: usize,
        /// Of how many.
        all: usize,
        /// Whether `main_stat` fails, too.
        with_pool: bool,
    },
    /// `main_stat` fails, and no other endpoint.
    OnlyPool {
        /// Whether nothing else is wrong.
        is_all: bool,
    },
}

/// A reason in words. What stands between backticks is code.
#[derive(Clone, Copy, Debug)]
pub struct Explanation {
    /// In a few words.
    pub title: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What to do.
    pub advice: &'static str,
}

const fn explanation(title: &'static str, meaning: &'static str, advice: &'static str) -> Explanation {
    Explanation { title, meaning, advice }
}

const fn english(reason: Reason) -> Explanation {
    match reason {
        Reason::Timeout => explanation(
            "No answer in time",
            "No complete answer within `api.timeout`.",
            "Is the pool slow? Is the network? Lengthen `api.timeout` if such answers are usual.",
        ),
        Reason::Connect => explanation(
            "No connection",
            "Refused, unreachable, reset, cut before the promised length, or no HTTP.",
            "Can this machine reach the pool (`curl`)? Is there a firewall or a proxy in between?",
        ),
        Reason::Dns => explanation(
            "Unknown host name",
            "The host's name cannot be resolved.",
            "Check `api.base_url` and this machine's resolver.",
        ),
        Reason::Tls => explanation(
            "No trusted connection",
            "The certificate is not trusted, is for another name, or has expired; or there is no TLS.",
            "Check the clock and the CA certificates of this machine. If both are right, somebody is in between: do not go \
             around it, the key would be theirs.",
        ),
        Reason::Auth => explanation(
            "Key refused",
            "The pool answered 401 or 403.",
            "Is it the key of this account? Is the key bound to other IP addresses? Is this address blocked?",
        ),
        Reason::RateLimited => explanation(
            "Asked too often",
            "The pool answered 429.",
            "Lower `api.requests_per_second`, or lengthen the intervals. Does anything else ask the pool from this address?",
        ),
        Reason::Http4xx => explanation(
            "Not understood by the pool",
            "Another status from 400 to 499.",
            "The path may have changed: check `api.base_url`.",
        ),
        Reason::Http5xx => explanation("Trouble at the pool", "A status from 500 on.", "The pool has trouble. Wait."),
        Reason::Redirect => explanation(
            "Redirect",
            "A status from 300 to 399. It is never followed, because the key would go along.",
            "The message names the target. If the API has moved there, change `api.base_url`.",
        ),
        Reason::NotJson => explanation(
            "No JSON",
            "The body is empty, or does not begin as JSON.",
            "Often a challenge or maintenance page. Ask the URL by hand from this machine.",
        ),
        Reason::Decode => explanation(
            "Unexpected answer",
            "The body begins as JSON and is broken, cut, or of another shape.",
            "The message says where. If it lasts, the API has changed: update the exporter, or report it.",
        ),
        Reason::BodyTooLarge => explanation(
            "Answer too large",
            "More than `api.max_response_bytes`, unpacked.",
            "Raise it if you have very many workers. Otherwise something else answers.",
        ),
        Reason::ApiError => explanation(
            "The pool reports an error",
            "The pool's `status` is not `OK`.",
            "The message has the pool's own words, unless they quote the key.",
        ),
        Reason::Incomplete => explanation(
            "List not complete",
            "A page of a list failed, or the list has no end.",
            "The message has the page's own reason, and so has `btcpool_exporter_api_request_failures_total`.",
        ),
    }
}

const fn russian(reason: Reason) -> Explanation {
    match reason {
        Reason::Timeout => explanation(
            "Ответ не пришёл вовремя",
            "Полный ответ не пришёл за `api.timeout`.",
            "Медленный пул или сеть? Если такие ответы обычны, увеличьте `api.timeout`.",
        ),
        Reason::Connect => explanation(
            "Нет соединения",
            "Отказ, недоступность, сброс, обрыв раньше обещанной длины или не HTTP.",
            "Доступен ли пул с этой машины (`curl`)? Нет ли между ними межсетевого экрана или прокси?",
        ),
        Reason::Dns => explanation(
            "Имя хоста не найдено",
            "Имя хоста не удаётся преобразовать в адрес.",
            "Проверьте `api.base_url` и DNS этой машины.",
        ),
        Reason::Tls => explanation(
            "Нет доверенного соединения",
            "Сертификат недоверенный, выдан на другое имя или просрочен, либо TLS нет вовсе.",
            "Проверьте часы и корневые сертификаты этой машины. Если всё верно, между вами и пулом кто-то есть: не обходите \
             проверку, иначе ключ достанется ему.",
        ),
        Reason::Auth => explanation(
            "Ключ не принят",
            "Пул ответил 401 или 403.",
            "Это ключ именно этого аккаунта? Не привязан ли он к другим IP-адресам? Не заблокирован ли этот адрес?",
        ),
        Reason::RateLimited => explanation(
            "Слишком частые запросы",
            "Пул ответил 429.",
            "Уменьшите `api.requests_per_second` или увеличьте интервалы. Не обращается ли к пулу с этого адреса кто-то ещё?",
        ),
        Reason::Http4xx => explanation(
            "Пул не понял запрос",
            "Другой статус от 400 до 499.",
            "Возможно, изменился путь: проверьте `api.base_url`.",
        ),
        Reason::Http5xx => explanation("Неполадки на стороне пула", "Статус 500 или больше.", "Остаётся ждать."),
        Reason::Redirect => explanation(
            "Перенаправление",
            "Статус от 300 до 399. Перенаправления не выполняются: вместе с ними ушёл бы и ключ.",
            "Адрес указан в сообщении. Если API переехал туда, измените `api.base_url`.",
        ),
        Reason::NotJson => explanation(
            "Не JSON",
            "Ответ пуст или начинается не как JSON.",
            "Часто это страница проверки браузера или технических работ. Откройте этот адрес с этой машины вручную.",
        ),
        Reason::Decode => explanation(
            "Неожиданный ответ",
            "Ответ начинается как JSON, но испорчен, оборван или устроен иначе.",
            "Место указано в сообщении. Если это надолго, изменился API: обновите экспортёр или сообщите нам.",
        ),
        Reason::BodyTooLarge => explanation(
            "Слишком большой ответ",
            "В распакованном виде больше `api.max_response_bytes`.",
            "Увеличьте предел, если воркеров очень много. Иначе отвечает кто-то другой.",
        ),
        Reason::ApiError => explanation(
            "Пул сообщает об ошибке",
            "В ответе `status` не равен `OK`.",
            "В сообщении слова самого пула, если в них нет ключа.",
        ),
        Reason::Incomplete => explanation(
            "Список неполный",
            "Не пришла одна из страниц списка, или у списка нет конца.",
            "Причина по странице есть в сообщении и в `btcpool_exporter_api_request_failures_total`.",
        ),
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
