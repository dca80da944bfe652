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
    /// When it was last asked for, in milliseconds since `since`, and one; 0: never.
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
        Self { config, store, clock, since: Instant::now(), kept }
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
        let current = || holds().filter(|&(count, _)| count == self.store.changes.count()).map(|(_, made)| made);
        if let Some(made) = current() {
            return Ok(made);
        }
        let making = match kept.making.clone().try_lock_owned() {
            Ok(making) => making,
            Err(_) => match holds() {
                Some((_, before)) => return Ok(before),
                None => kept.making.clone().lock_owned().await,
            },
        };
        match current() {
            Some(made) => Ok(made),
            None => self.make(kept, making).await,
        }
    }

    /// Makes anew what is asked for now and then; what nobody asks for any more is dropped.
    pub async fn refresh(self: &Arc<Self>) {
        for kept in &self.kept {
            let asked = kept.asked.load(Ordering::Relaxed);
            if asked == 0 {
                continue;
            }
            let making = kept.making.clone().lock_owned().await;
            if self.milliseconds().saturating_sub(asked) > KEPT_FOR.as_millis() as u64 {
                kept.asked.store(0, Ordering::Relaxed);
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
    ) -> Result<Arc<Rendition>, fmt::Error> {
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
            Ok(made)
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
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }
}
