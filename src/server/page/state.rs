//! How everything is: which slots have trouble, and what that comes to.

use std::collections::BTreeMap;

use crate::{
    collector::{Poll, TargetView, View},
    model::Reason,
    store::Failure,
};

/// A slot, and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct Slot<'a> {
    /// `None`: `main_stat`, which is nobody's.
    pub target: Option<&'a TargetView>,
    /// How its polling goes.
    pub poll: &'a Poll,
}

/// What is wrong with a slot.
#[derive(Clone, Copy, Debug)]
pub enum Trouble<'a> {
    /// Its last poll failed.
    Fails(&'a Failure),
    /// Its last poll succeeded, but so long ago that the answer is not shown any more.
    Old,
}

impl Trouble<'_> {
    /// The reason of a failure.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Fails(failure) => Some(failure.reason),
            Self::Old => None,
        }
    }
}

impl<'a> Slot<'a> {
    /// What is wrong with it, if anything is.
    pub fn trouble(&self) -> Option<Trouble<'a>> {
        trouble(self.poll)
    }
}

fn trouble(poll: &Poll) -> Option<Trouble<'_>> {
    poll.failure().map(Trouble::Fails).or_else(|| poll.is_stale.then_some(Trouble::Old))
}

/// Every slot, those of one target together.
pub fn slots(view: &View) -> impl Iterator<Item = Slot<'_>> {
    let common = view.common.iter().map(|common| Slot { target: None, poll: &common.poll });
    let own = |target| move |poll| Slot { target: Some(target), poll };
    common.chain(view.targets.iter().flat_map(move |target| target.polls.iter().map(own(target))))
}

/// Whether anything is wrong with a target.
pub fn has_trouble(target: &TargetView) -> bool {
    target.polls.iter().any(|poll| trouble(poll).is_some())
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

/// How everything is.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// In short.
    pub state: State<'a>,
    /// How many slots are too old where others fail, of which the state says nothing.
    pub old: usize,
    /// The same of those that were not asked yet, where only `main_stat` fails.
    pub waiting: usize,
}

/// How everything is; so many accounts are configured for all shards together, and there are so many notes.
pub fn of<'a>(view: &'a View, slots: &[Slot<'a>], configured: usize, notes: usize) -> Situation<'a> {
    let all = slots.len();
    let reasons: Vec<_> = slots.iter().filter_map(|slot| Some(slot.poll.failure()?.reason)).collect();
    let old = slots.iter().filter(|slot| matches!(slot.trouble(), Some(Trouble::Old))).count();
    let waiting = slots.iter().filter(|slot| slot.poll.last.is_none()).count();
    let alone = |state| Situation { state, old: 0, waiting: 0 };
    match reasons.len() {
        0 if old > 0 => alone(State::Old { old, all }),
        0 if waiting > 0 => alone(State::Waiting { waiting, all }),
        0 if configured == 0 => alone(State::NoAccounts),
        0 if view.targets.is_empty() => alone(State::OtherShards { accounts: configured }),
        0 if notes > 0 => alone(State::Noted { notes }),
        0 => alone(State::Well),
        failing if failing == all => alone(match reasons {
            reasons if reasons.iter().all(|&reason| reason == Reason::Auth) => State::Refused { all },
            reasons if reasons.iter().all(|&reason| is_silence(reason)) => State::Silent { all },
            _ => State::Nothing { all },
        }),
        _ => {
            let state = some_fail(view, slots, old == 0 && waiting == 0);
            let waiting = if matches!(state, State::OnlyPool { .. }) { waiting } else { 0 };
            Situation { state, old, waiting }
        }
    }
}

/// Whether the pool did not answer at all.
const fn is_silence(reason: Reason) -> bool {
    matches!(reason, Reason::Timeout | Reason::Connect | Reason::Dns)
}

/// How everything is when some slots fail, and not all; whether that is all that is wrong.
fn some_fail<'a>(view: &'a View, slots: &[Slot<'a>], is_all: bool) -> State<'a> {
    // By account: how many fail, and whether only because of the key.
    let mut accounts = BTreeMap::<_, (usize, bool)>::new();
    let mut with_pool = false;
    for slot in slots {
        let Some(failure) = slot.poll.failure() else { continue };
        match slot.target {
            None => with_pool = true,
            Some(target) => {
                let (count, refused) = accounts.entry(target.target.account.as_str()).or_insert((0, true));
                *count += 1;
                *refused &= failure.reason == Reason::Auth;
            }
        }
    }
    let only_refused = !with_pool && accounts.values().all(|&(_, refused)| refused);
    match (accounts.len(), accounts.first_key_value()) {
        (0, _) | (_, None) => State::OnlyPool { is_all },
        (1, Some((account, _))) if only_refused => State::KeyRefused { account },
        (1, Some((account, &(failing, _)))) => {
            let own = view.targets.iter().filter(|target| target.target.account.as_str() == *account);
            State::OneAccount { account, failing, all: own.map(|target| target.polls.len()).sum(), with_pool }
        }
        (accounts, _) if only_refused => State::KeysRefused { accounts },
        (accounts, _) => State::Accounts { failing: accounts, all: view.accounts.len(), with_pool },
    }
}
