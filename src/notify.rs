//! What the service manager is told, where there is one that wants to hear: systemd's notification protocol.
//!
//! Nothing in the environment is taken away once it was read: that would take unsafe code, and this program starts no
//! others, which could inherit it.

use std::{env, future, io, time::Duration};

use sd_notify::NotifyState;
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
    time::{sleep, timeout},
};

/// Messages that wait to be written; a manager that reads leaves none.
const QUEUE: usize = 16;

/// How long the end may wait for its message to be written.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Where it goes to, or nowhere. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Manager {
    /// To the thread that writes; `None`: nobody wants to hear.
    messages: Option<mpsc::Sender<Message>>,
    /// How long the manager waits for a sign of life; `None`: it does not.
    patience: Option<Duration>,
}

/// Something to tell.
#[derive(Debug)]
enum Message {
    Ready,
    /// With the clock's microseconds when it began, if the system tells.
    Reloading(Option<NotifyState<'static>>),
    /// A line for people. Written when it is another than the one before.
    Status(String),
    Alive,
    /// And whom to tell when it is written.
    Stopping(oneshot::Sender<()>),
}

impl Manager {
    /// The manager that the environment names, if it does. To be called from within the runtime.
    pub fn from_env() -> Self {
        if env::var_os("NOTIFY_SOCKET").is_none() {
            return Self::default();
        }
        let (messages, queue) = mpsc::channel(QUEUE);
        // A manager that does not read makes whoever writes wait: not a matter for a thread that serves.
        drop(spawn_blocking(move || write(queue, sd_notify::notify)));
        Self { messages: Some(messages), patience: sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) }
    }

    /// Whether anybody wants to hear.
    pub const fn listens(&self) -> bool {
        self.messages.is_some()
    }

    /// It serves, or serves again after a reload.
    pub fn ready(&self) {
        self.tell(Message::Ready);
    }

    /// A reload begins; [`ready`](Self::ready) is to follow.
    pub fn reloading(&self) {
        self.tell(Message::Reloading(NotifyState::monotonic_usec_now().ok()));
    }

    /// How it goes, in one line for people.
    pub fn status(&self, line: String) {
        // The rest of the queue is for what is told once.
        if self.messages.as_ref().is_some_and(|messages| messages.capacity() > QUEUE / 2) {
            self.tell(Message::Status(line));
        }
    }

    /// The end begins. Returns when that is written, or could not be.
    pub async fn stopping(&self) {
        let (written, done) = oneshot::channel();
        self.tell(Message::Stopping(written));
        // Dropped where nobody listens, which ends the wait, too.
        let _ = timeout(LAST_WORD, done).await;
    }

    /// Gives a sign of life twice in the time that the manager waits for one, while the program is `healthy`. Never
    /// ends.
    pub async fn keep_alive(self, healthy: impl Fn() -> bool) {
        let Some(patience) = self.patience else { return future::pending().await };
        loop {
            sleep(patience / 2).await;
            if healthy() {
                self.tell(Message::Alive);
            }
        }
    }

    fn tell(&self, message: Message) {
        if let Some(messages) = &self.messages {
            // Full only where the manager has not read for long; it would not read this either.
            let _ = messages.try_send(message);
        }
    }
}

/// Writes what comes until nothing can come any more.
fn write(mut queue: mpsc::Receiver<Message>, notify: impl Fn(&[NotifyState<'_>]) -> io::Result<()>) {
    let mut status = String::new();
    let mut complained = false;
    while let Some(message) = queue.blocking_recv() {
        let result = match message {
            Message::Ready => notify(&[NotifyState::Ready]),
            Message::Reloading(since) => {
                let states: Vec<_> = [NotifyState::Reloading].into_iter().chain(since).collect();
                notify(&states)
            }
            Message::Status(line) if line == status => continue,
            Message::Status(line) => {
                status = line;
                notify(&[NotifyState::Status(&status)])
            }
            Message::Alive => notify(&[NotifyState::Watchdog]),
            Message::Stopping(written) => {
                let result = notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
                // Whoever waited may have given up.
                let _ = written.send(());
                result
            }
        };
        if let Err(error) = result
            && !complained
        {
            complained = true;
            tracing::warn!(%error, "the service manager cannot be told how it goes (NOTIFY_SOCKET)");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    };

    use super::*;

    fn manager(patience: Option<Duration>) -> (Manager, mpsc::Receiver<Message>) {
        let (messages, queue) = mpsc::channel(QUEUE);
        (Manager { messages: Some(messages), patience }, queue)
    }

    #[tokio::test(start_paused = true)]
    async fn watchdog_pings_only_while_healthy() {
        let (manager, mut queue) = manager(Some(Duration::from_secs(60)));
        let healthy = Arc::new(AtomicBool::new(true));
        let judge = healthy.clone();
        let keeping = tokio::spawn(manager.keep_alive(move || judge.load(Ordering::Relaxed)));
        let mut signs = async |lasting: u64| {
            sleep(Duration::from_secs(lasting)).await;
            let mut signs = 0;
            while let Ok(message) = queue.try_recv() {
                assert!(matches!(message, Message::Alive), "{message:?}");
                signs += 1;
            }
            signs
        };
        assert_eq!(signs(301).await, 10);
        healthy.store(false, Ordering::Relaxed);
        assert_eq!(signs(300).await, 0);
        healthy.store(true, Ordering::Relaxed);
        assert_eq!(signs(300).await, 10);
        keeping.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn no_sign_of_life_comes_unasked() {
        let (manager, mut queue) = manager(None);
        let keeping = tokio::spawn(manager.keep_alive(|| true));
        sleep(Duration::from_secs(3600)).await;
        assert!(queue.try_recv().is_err() && !keeping.is_finished());
        keeping.abort();
    }

    /// What a manager would read, after it was told something and everything was written.
    async fn written(manager: Manager, queue: mpsc::Receiver<Message>, fails: bool) -> Vec<String> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen = lines.clone();
        let writing = spawn_blocking(move || {
            write(queue, |states| {
                let text: Vec<_> = states.iter().map(ToString::to_string).collect();
                seen.lock().unwrap().push(text.join(" "));
                if fails { Err(io::Error::other("gone")) } else { Ok(()) }
            });
        });
        drop(manager);
        writing.await.unwrap();
        Arc::into_inner(lines).unwrap().into_inner().unwrap()
    }

    #[tokio::test]
    async fn a_status_is_written_when_it_is_another() {
        for fails in [false, true] {
            let (manager, queue) = manager(None);
            for line in ["one", "one", "two", "one"] {
                manager.status(line.to_owned());
            }
            manager.ready();
            let expected = ["STATUS=one", "STATUS=two", "STATUS=one", "READY=1"];
            assert_eq!(written(manager, queue, fails).await, expected);
        }
    }

    /// As when the manager itself hangs: its socket is full, and the thread that writes waits for ever.
    #[tokio::test(start_paused = true)]
    async fn unread_manager_blocks_nothing() {
        let (manager, mut queue) = manager(None);
        for _ in 0..10 * QUEUE {
            manager.ready();
        }
        let begin = tokio::time::Instant::now();
        manager.stopping().await;
        assert!(begin.elapsed() <= LAST_WORD);
        let mut waiting = 0;
        while queue.try_recv().is_ok() {
            waiting += 1;
        }
        assert_eq!(waiting, QUEUE);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_manager_nothing_happens() {
        let manager = Manager::default();
        assert!(!manager.listens());
        manager.ready();
        manager.reloading();
        let begin = tokio::time::Instant::now();
        manager.stopping().await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }
}
