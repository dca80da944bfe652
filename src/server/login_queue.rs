//! The queue of logins whose passwords have to be verified: one at a time, fair between addresses, and bounded.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The most logins of one address in the queue, the one that is being verified included.
pub const MAX_PER_PEER: usize = 32;

/// The most logins of all addresses.
const MAX: usize = 256;

/// The queue. Each address has a line of its own, and only the first of each line waits for the turn: the addresses take
/// it by turns, however many logins one of them has.
#[derive(Debug)]
pub struct LoginQueue {
    turn: Arc<Semaphore>,
    lines: Mutex<BTreeMap<IpAddr, Line>>,
}

#[derive(Debug)]
struct Line {
    logins: usize,
    first: Arc<Semaphore>,
}

/// A login's place in the line of its address.
pub struct Place {
    queue: Arc<LoginQueue>,
    peer: IpAddr,
    first: Arc<Semaphore>,
}

/// The right of the first of a line to wait for the turn.
pub struct First {
    queue: Arc<LoginQueue>,
    permit: OwnedSemaphorePermit,
}

/// The right to verify a password.
pub struct Turn {
    _turn: OwnedSemaphorePermit,
    _first: OwnedSemaphorePermit,
}

impl LoginQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), lines: Mutex::default() }
    }

    /// A place for a login from an address; `None` when the queue is full.
    pub fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let peer = network(peer);
        let mut lines = self.lines();
        if lines.values().map(|line| line.logins).sum::<usize>() >= MAX {
            return None;
        }
        let line = lines.entry(peer).or_insert_with(|| Line { logins: 0, first: Arc::new(Semaphore::new(1)) });
        if line.logins >= MAX_PER_PEER {
            return None;
        }
        line.logins += 1;
        Some(Place { queue: self.clone(), peer, first: line.first.clone() })
    }

    fn lines(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the turn, so that nothing is verified.
    #[cfg(test)]
    pub async fn hold(&self) -> OwnedSemaphorePermit {
        self.turn.clone().acquire_owned().await.unwrap()
    }

    /// Whether a password is being verified.
    #[cfg(test)]
    pub fn is_busy(&self) -> bool {
        self.turn.available_permits() == 0
    }

    /// The logins of an address.
    #[cfg(test)]
    pub fn logins(&self, peer: IpAddr) -> usize {
        self.lines().get(&network(peer)).map_or(0, |line| line.logins)
    }
}

impl Place {
    /// Waits until this is the first login of its address.
    pub async fn first(&self) -> Option<First> {
        // Nobody closes the semaphore.
        let permit = self.first.clone().acquire_owned().await.ok()?;
        Some(First { queue: self.queue.clone(), permit })
    }
}

impl First {
    /// Waits for the turn.
    pub async fn turn(self) -> Option<Turn> {
        let turn = self.queue.turn.clone().acquire_owned().await.ok()?;
        Some(Turn { _turn: turn, _first: self.permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.queue.lines();
        if let Some(line) = lines.get_mut(&self.peer) {
            line.logins -= 1;
            if line.logins == 0 {
                lines.remove(&self.peer);
            }
        }
    }
}

/// What counts as one address: of IPv6 a network of 64 bits, which is what one client gets.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}
