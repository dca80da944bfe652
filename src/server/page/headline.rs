//! How everything is, in one sentence of each language.

use super::{
    state::{Situation, State},
    words::Language,
};

impl Language {
    /// The one sentence at the top of the page.
    pub fn headline(self, situation: &Situation<'_>) -> String {
        let sentence = match self {
            Self::English => english(&situation.state),
            Self::Russian => russian(&situation.state),
        };
        sentence + &self.besides(situation.old, situation.waiting)
    }

    /// What is added to the sentence where something fails: that other data are too old, or not there yet.
    fn besides(self, old: usize, waiting: usize) -> String {
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
}

/// So many, and the word in its number.
fn plural(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

fn endpoints(count: usize) -> String {
    plural(count, "endpoint")
}

fn english(state: &State<'_>) -> String {
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

fn russian(state: &State<'_>) -> String {
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
