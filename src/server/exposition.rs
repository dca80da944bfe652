//! What is kept of the exposition between two polls, and when it is made anew.
//!
//! A scrape sees every poll that ended before it came; but for one thing: while the exposition is made anew, which takes
//! milliseconds, others get the one before. It is made by whoever comes first: the task that waits for polls, or a scrape.

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::{
    clock::Clock,
    collector::{
        Format, Moment, Scope, View,
        kept::{Encoding, Rendition},
    },
    config::Config,
    history::pool_day,
    store::Store,
};

/// So long after the last scrape an exposition is still made anew when polls end, and kept.
const KEPT_FOR: Duration = Duration::from_secs(300);

/// The expositions of one configuration, in each format and encoding that is asked for.
#[derive(Debug)]
pub struct Expositions {
    config: Arc<Config>,
    store: Arc<Store>,
    clock: Clock,
    since: Instant,
    kept: [Arc<Kept>; 4],
    /// The most that was counted in any that was handed out, in whatever form.
    told: AtomicU64,
}

/// One format, in one encoding.
#[derive(Debug)]
struct Kept {
    format: Format,
    encoding: Encoding,
    /// With what was counted in the store before it was made.
    newest: RwLock<Option<(u64, Arc<Rendition>)>>,
    /// Held by whoever makes the next one.
    making: Arc<Mutex<()>>,
    /// When it was last asked for, in milliseconds since `since`.
    asked: AtomicU64,
}

impl Kept {
    fn newest(&self) -> Option<(u64, Arc<Rendition>)> {
        self.newest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, made: Option<(u64, Arc<Rendition>)>) {
        *self.newest.write().unwrap_or_else(PoisonError::into_inner) = made;
    }
}

impl Expositions {
    /// Of what the slots of a configuration hold.
    pub fn new(config: Arc<Config>, store: Arc<Store>, clock: Clock) -> Self {
        let kinds = [Format::Classic, Format::OpenMetrics];
        let kinds = kinds.map(|format| [Encoding::Identity, Encoding::Gzip].map(|encoding| (format, encoding)));
        let [[a, b], [c, d]] = kinds;
        let kept = [a, b, c, d].map(|(format, encoding)| {
            let (newest, making, asked) = (RwLock::default(), Arc::default(), AtomicU64::new(0));
            Arc::new(Kept { format, encoding, newest, making, asked })
        });
        Self { config, store, clock, since: Instant::now(), kept, told: AtomicU64::new(0) }
    }

    /// The exposition as it is now.
    ///
    /// # Errors
    ///
    /// When it cannot be made, which does not happen.
    pub async fn current(self: &Arc<Self>, format: Format, encoding: Encoding) -> Result<Arc<Rendition>, fmt::Error> {
        let Some(kept) = self.kept.iter().find(|kept| (kept.format, kept.encoding) == (format, encoding)) else {
            return Err(fmt::Error);
        };
        kept.asked.store(self.milliseconds(), Ordering::Relaxed);
        let holds = || kept.newest().filter(|(_, made)| made.holds(Instant::now(), self.today()));
        let current = || holds().filter(|&(count, _)| count == self.store.changes.count());
        // Nobody is shown less than somebody was shown before.
        let told = |(count, made): (u64, Arc<Rendition>)| {
            self.told.fetch_max(count, Ordering::Relaxed);
            made
        };
        if let Some(made) = current() {
            return Ok(told(made));
        }
        let making = match kept.making.clone().try_lock_owned() {
            Ok(making) => making,
            Err(_) => match holds().filter(|&(count, _)| count >= self.told.load(Ordering::Relaxed)) {
                Some(before) => return Ok(told(before)),
                None => kept.making.clone().lock_owned().await,
            },
        };
        match current() {
            Some(made) => Ok(told(made)),
            None => self.make(kept, making).await.map(told),
        }
    }

    /// Renders the cached expositions again that are in use, and drops the others.
    pub async fn refresh(self: &Arc<Self>) {
        for kept in &self.kept {
            // Whether there is something to drop is read from the cache itself and not from `asked`: a scrape sets that
            // before it stores its exposition, and the two would get out of step.
            if kept.newest().is_none() {
                continue;
            }
            let making = kept.making.clone().lock_owned().await;
            // Read under the lock: a scrape may have come meanwhile.
            let asked = kept.asked.load(Ordering::Relaxed);
            if self.milliseconds().saturating_sub(asked) > KEPT_FOR.as_millis() as u64 {
                kept.keep(None);
            } else if kept.newest().is_none_or(|(count, _)| count != self.store.changes.count()) {
                // Whoever scrapes next will see why.
                let _ = self.make(kept, making).await;
            }
        }
    }

    async fn make(
        self: &Arc<Self>,
        kept: &Arc<Kept>,
        making: OwnedMutexGuard<()>,
    ) -> Result<(u64, Arc<Rendition>), fmt::Error> {
        let (own, kept) = (self.clone(), kept.clone());
        // Milliseconds with ten thousand workers: not for a thread that has connections to look after.
        let made = tokio::task::spawn_blocking(move || {
            // To the end, also when whoever asked has gone.
            let _making = making;
            let count = own.store.changes.count();
            let view = own.view(&Scope::All);
            let before = kept.newest();
            let before = before.as_ref().map(|(_, before)| &**before);
            let made = Arc::new(Rendition::new(&view, kept.format, kept.encoding, before)?);
            kept.keep(Some((count, made.clone())));
            Ok((count, made))
        });
        made.await.map_err(|_| fmt::Error)?
    }

    /// What is known now.
    pub fn view(&self, scope: &Scope) -> View {
        let now = Moment { wall: self.clock.now(), monotonic: Instant::now() };
        View::known(&self.config, &self.store, scope, now)
    }

    fn today(&self) -> jiff::civil::Date {
        pool_day(self.clock.now(), self.config.api.day_utc_offset)
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::model::Summary;

    const DAY: Duration = Duration::from_secs(86_400);

    #[tokio::test]
    async fn scrape_sees_every_finished_poll() {
        let yaml = "accounts: { farm: { api_key: 0a1b2c-3d4e5f } }";
        let config = Arc::new(Config::from_yaml("test", yaml, &Default::default()).unwrap());
        let store = Arc::new(Store::new(&config));
        let (clock, set) = Clock::set_by_hand(Timestamp::UNIX_EPOCH);
        let all = Arc::new(Expositions::new(config, store.clone(), clock));
        let [plain, others @ ..] = &all.kept;
        let current = async || all.current(Format::Classic, Encoding::Identity).await.unwrap();
        let poll = || {
            let slots = store.targets.values().next().unwrap();
            slots.summary.record(Timestamp::UNIX_EPOCH, Duration::ZERO, Ok(Summary::default()));
        };
        let shows = |made: &Rendition, polls: u64| {
            let text = String::from_utf8(made.with(None).unwrap().concat()).unwrap();
            let name = r#"btcpool_exporter_polls_total{account="farm",currency="BTC",endpoint="summary_data"}"#;
            text.contains(&format!("{name} {polls}\n"))
        };
        let first = current().await;
        assert!(shows(&first, 0));
        assert!(Arc::ptr_eq(&first, &current().await));
        poll();
        let second = current().await;
        assert!(shows(&second, 1));

        // While the next one is made, others get the one before.
        poll();
        let making = plain.making.clone().lock_owned().await;
        assert!(Arc::ptr_eq(&second, &current().await));
        // But not when another form has shown more, nor on another day.
        let packed = all.current(Format::Classic, Encoding::Gzip).await.unwrap();
        let own = all.clone();
        let waiting = tokio::spawn(async move { own.current(Format::Classic, Encoding::Identity).await });
        while Arc::strong_count(&plain.making) < 3 {
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished());
        drop(making);
        let third = waiting.await.unwrap().unwrap();
        assert!(shows(&third, 2));
        assert!(Arc::ptr_eq(&packed, &all.current(Format::Classic, Encoding::Gzip).await.unwrap()));
        set(Timestamp::UNIX_EPOCH + DAY);
        let fourth = current().await;
        assert!(!Arc::ptr_eq(&third, &fourth));
        assert!(shows(&fourth, 2));

        // What was asked for is made when polls end; what nobody asked for is not.
        poll();
        all.refresh().await;
        assert!(shows(&plain.newest().unwrap().1, 3));
        let made: Vec<_> = others.iter().filter(|kept| kept.newest().is_some()).collect();
        assert_eq!(made.len(), 1);
        // And what nobody asks for any more is dropped.
        plain.asked.store(1, Ordering::Relaxed);
        let late =
            Expositions { since: Instant::now().checked_sub(2 * KEPT_FOR).unwrap(), ..Arc::into_inner(all).unwrap() };
        let late = Arc::new(late);
        late.refresh().await;
        assert!(late.kept[0].newest().is_none());
    }

    /// A scrape stores its exposition after it has set `asked`; what happens to `asked` in between must not matter.
    #[tokio::test]
    async fn an_unused_exposition_is_dropped_whatever_its_mark() {
        let yaml = "accounts: { farm: { api_key: 0a1b2c-3d4e5f } }";
        let config = Arc::new(Config::from_yaml("test", yaml, &Default::default()).unwrap());
        let store = Arc::new(Store::new(&config));
        let all = Arc::new(Expositions::new(config, store, Clock::system()));
        all.current(Format::Classic, Encoding::Identity).await.unwrap();
        all.kept[0].asked.store(0, Ordering::Relaxed);
        let since = Instant::now().checked_sub(2 * KEPT_FOR).unwrap();
        let late = Arc::new(Expositions { since, ..Arc::into_inner(all).unwrap() });
        late.refresh().await;
        assert!(late.kept[0].newest().is_none());
    }
}
