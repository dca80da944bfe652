//! What each reason of a failure means, and what to do about it, in each language.

use super::words::Language;
use crate::model::Reason;

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

impl Language {
    /// What a reason means, and what to do about it.
    pub const fn explain(self, reason: Reason) -> Explanation {
        match self {
            Self::English => english(reason),
            Self::Russian => russian(reason),
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
}

const fn english(reason: Reason) -> Explanation {
    match reason {
        Reason::Timeout => explanation(
            "No answer in time",
            "No connection within a third of `api.timeout`, or no complete answer within all of it; the message says which.",
            "No connection: is there a firewall, or a proxy to use? No answer: is the pool slow, or the network? Lengthen `api.timeout` if \
             such answers are usual.",
        ),
        Reason::Connect => explanation(
            "No connection",
            "Refused, unreachable, reset, cut before the promised length, no HTTP, or a proxy that refuses.",
            "Can this machine reach the pool (`curl`)? Is there a firewall or a proxy in between?",
        ),
        Reason::Dns => explanation(
            "Unknown host name",
            "The name of the pool, or of the proxy, cannot be resolved; the message says which.",
            "Check `api.base_url` or the proxy's variable, and this machine's resolver.",
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
            "Соединение не установлено за треть `api.timeout` или полный ответ не пришёл за всё это время; что именно, сказано в сообщении.",
            "Нет соединения: мешает межсетевой экран, или нужен прокси? Нет ответа: медленный пул или сеть? Если такие ответы обычны, увеличьте `api.timeout`.",
        ),
        Reason::Connect => explanation(
            "Нет соединения",
            "Отказ, недоступность, сброс, обрыв раньше обещанной длины, не HTTP или отказ прокси.",
            "Доступен ли пул с этой машины (`curl`)? Нет ли между ними межсетевого экрана или прокси?",
        ),
        Reason::Dns => explanation(
            "Имя хоста не найдено",
            "Имя пула или прокси не удаётся преобразовать в адрес; чьё именно, сказано в сообщении.",
            "Проверьте `api.base_url` или переменную прокси и DNS этой машины.",
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
