//! Who may ask: basic authentication.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use super::{login_queue::LoginQueue, web_config::BcryptHash};
use axum::http::HeaderValue;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{hmac, rand::SystemRandom};
use secrecy::{ExposeSecret as _, SecretBox};
use subtle::ConstantTimeEq as _;

/// How many names with their passwords are remembered: each that is not costs tens of milliseconds.
const REMEMBERED: usize = 64;

/// bcrypt looks at no more of a password than this, in bytes.
const BCRYPT_BYTES: usize = 72;

/// Names, and the hashes of their passwords.
pub struct Users {
    /// Not empty. Shared with the thread that computes.
    hashes: BTreeMap<String, Arc<BcryptHash>>,
    shared: Arc<Shared>,
}

/// What outlives a change of the users.
struct Shared {
    verified: Verified,
    /// Of this process only, so that a tag tells nothing and fits nothing else.
    secret: hmac::Key,
    /// Decides whose hash stands in for an unknown name's.
    stand_in: RandomState,
    /// One password is verified at a time: a client that guesses many must not get the whole machine.
    queue: Arc<LoginQueue>,
}

/// A cache of verified names and passwords: their tags, the oldest first.
#[derive(Default)]
struct Verified(Mutex<VecDeque<hmac::Tag>>);

impl Verified {
    fn contains(&self, tag: &hmac::Tag) -> bool {
        let tags = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tags.iter().any(|known| known.as_ref().ct_eq(tag.as_ref()).into())
    }

    fn insert(&self, tag: hmac::Tag) {
        let mut tags = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tags.len() >= REMEMBERED {
            tags.pop_front();
        }
        tags.push_back(tag);
    }
}

/// Whether a request may be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It comes from a user.
    Granted,
    /// It does not.
    Refused,
    /// Too many logins are waiting.
    Busy,
    /// The caller allows no further login now.
    Limited,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("names", &self.hashes.keys()).finish_non_exhaustive()
    }
}

impl Users {
    /// These users; `None` when there are none, or the system has no random numbers.
    pub fn new(hashes: BTreeMap<String, BcryptHash>) -> Option<Self> {
        let hashes: BTreeMap<_, _> = hashes.into_iter().map(|(name, hash)| (name, hash.into())).collect();
        let secret = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
        (!hashes.is_empty()).then(|| Self {
            hashes,
            shared: Arc::new(Shared {
                verified: Verified::default(),
                secret,
                stand_in: RandomState::new(),
                queue: Arc::new(LoginQueue::new()),
            }),
        })
    }

    /// Takes over what was verified under other users: it stays verified for each whose name and hash are the same.
    pub fn inherit(&mut self, before: &Self) {
        self.shared = before.shared.clone();
    }

    /// Decides on a request with this `Authorization` header from this address. `may_log_in` is asked before a password
    /// that is not cached is verified.
    pub async fn admit(
        &self,
        authorization: Option<&HeaderValue>,
        peer: IpAddr,
        may_log_in: impl FnOnce() -> bool,
    ) -> Admission {
        let Some((name, password)) = authorization.and_then(credentials) else { return Admission::Refused };
        let Some(hash) = self.hash(&name) else { return Admission::Refused };
        // The stand-in for a name that was removed may be the same hash.
        let known = self.hashes.contains_key(&name);
        let tag = self.tag(&name, &password, &hash);
        let is_verified = || known && self.shared.verified.contains(&tag);
        if is_verified() {
            return Admission::Granted;
        }
        if !may_log_in() {
            return Admission::Limited;
        }
        let Some(place) = self.shared.queue.enter(peer) else { return Admission::Busy };
        let Some(first) = place.first().await else { return Admission::Busy };
        // Another request may have had the same password verified while this one waited.
        if is_verified() {
            return Admission::Granted;
        }
        let Some(turn) = first.turn().await else { return Admission::Busy };
        if is_verified() {
            return Admission::Granted;
        }
        let shared = self.shared.clone();
        // The turn goes along: a client that leaves does not stop what was begun for it, and the result is cached before
        // the next request has its turn.
        let computing = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let right = known & matches(&hash, &password);
            if right {
                shared.verified.insert(tag);
            }
            right
        });
        if matches!(computing.await, Ok(true)) { Admission::Granted } else { Admission::Refused }
    }

    /// A name's hash; for an unknown name another's, always the same one, so that the time that its cost takes tells
    /// nobody which names there are.
    fn hash(&self, name: &str) -> Option<Arc<BcryptHash>> {
        let number = usize::try_from(self.shared.stand_in.hash_one(name) % self.hashes.len() as u64).unwrap_or(0);
        let stand_in = self.hashes.values().nth(number);
        self.hashes.get(name).or(stand_in).cloned()
    }

    /// The cache key of a name with its hash and a password. The hash is part of it, so that a changed one is not found;
    /// the name's length goes first, so that nothing can be moved from one part to another.
    fn tag(&self, name: &str, password: &SecretBox<Vec<u8>>, hash: &BcryptHash) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.shared.secret);
        context.update(&(name.len() as u64).to_be_bytes());
        context.update(name.as_bytes());
        context.update(&hash.cost().to_be_bytes());
        context.update(&hash.salt());
        context.update(hash.expose_digest());
        context.update(password.expose_secret());
        context.sign()
    }
}

/// Name and password of a header; the name ends at the first colon.
fn credentials(header: &HeaderValue) -> Option<(String, SecretBox<Vec<u8>>)> {
    let (scheme, encoded) = header.as_bytes().split_at_checked("Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let decoded = SecretBox::new(Box::new(STANDARD.decode(encoded.trim_ascii()).ok()?));
    let colon = decoded.expose_secret().iter().position(|&byte| byte == b':')?;
    let (name, password) = decoded.expose_secret().split_at(colon);
    let name = String::from_utf8(name.to_vec()).ok()?;
    Some((name, SecretBox::new(Box::new(password.get(1..).unwrap_or_default().to_vec()))))
}

/// Whether a password has this hash.
fn matches(hash: &BcryptHash, password: &SecretBox<Vec<u8>>) -> bool {
    // It ends with a zero byte, or where bcrypt stops looking. Grown later, it would leave a copy behind.
    let password = password.expose_secret();
    let mut bytes = Vec::with_capacity(password.len() + 1);
    bytes.extend_from_slice(password);
    bytes.push(0);
    let bytes = SecretBox::new(Box::new(bytes));
    let seen = bytes.expose_secret().get(..BCRYPT_BYTES).unwrap_or(bytes.expose_secret());
    let computed = bcrypt::bcrypt(hash.cost(), hash.salt(), seen);
    let Some(digest) = computed.get(..hash.expose_digest().len()) else { return false };
    digest.ct_eq(hash.expose_digest()).into()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use std::{
        net::Ipv4Addr,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::{super::login_queue::MAX_PER_PEER, *};

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// `alice: wrong`.
    const HEADER: HeaderValue = HeaderValue::from_static("Basic YWxpY2U6d3Jvbmc=");

    /// A user whose password takes so long to look at that nothing here waits for it.
    fn users() -> Arc<Users> {
        let hash = BcryptHash::parse("$2y$14$abcdefghijklmnopqrstuu5Zb3FhNJfyjDMgwqXOIB.vvOEhBUWEy").unwrap();
        Arc::new(Users::new([("alice".to_owned(), hash)].into()).unwrap())
    }

    #[tokio::test]
    async fn permit_outlives_a_client_that_leaves() {
        let users = users();
        let asking = tokio::spawn({
            let users = users.clone();
            async move { users.admit(Some(&HEADER), PEER, || true).await }
        });
        while !users.shared.queue.is_busy() {
            tokio::task::yield_now().await;
        }
        asking.abort();
        assert!(asking.await.is_err());
        assert!(users.shared.queue.is_busy());
        assert_eq!(users.shared.queue.logins(PEER), 0);
    }

    /// A hash of "a".
    fn cheap() -> BcryptHash {
        BcryptHash::parse("$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe").unwrap()
    }

    /// Another hash of "a".
    fn other() -> BcryptHash {
        BcryptHash::parse("$2a$08$cfcvVd2aQ8CMvoMpP2EBfeodLEkkFJ9umNEfPD18.hUF62qqlC/V.").unwrap()
    }

    fn named<const N: usize>(hashes: [(&str, BcryptHash); N]) -> Users {
        Users::new(hashes.map(|(name, hash)| (name.to_owned(), hash)).into()).unwrap()
    }

    /// `NAME: a`.
    fn header(name: &str) -> HeaderValue {
        HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(format!("{name}:a")))).unwrap()
    }

    #[tokio::test]
    async fn verified_passwords_outlive_a_change_of_other_users() {
        let before = named([("alice", cheap()), ("bob", cheap()), ("carol", cheap())]);
        for name in ["alice", "bob", "carol"] {
            assert_eq!(before.admit(Some(&header(name)), PEER, || true).await, Admission::Granted);
        }
        // Bob has another hash of the same password, carol has gone, and nothing can be computed.
        let mut after = named([("alice", cheap()), ("bob", other())]);
        after.inherit(&before);
        let _turn = after.shared.queue.hold().await;
        let mut admitted = Vec::new();
        for name in ["alice", "bob", "carol"] {
            admitted.push(after.admit(Some(&header(name)), PEER, || true).now_or_never());
        }
        assert_eq!(admitted, [Some(Admission::Granted), None, None]);
    }

    /// One computation remembers one tag, so the tags count the computations.
    #[tokio::test]
    async fn concurrent_right_logins_are_computed_once() {
        let users = Arc::new(named([("alice", cheap())]));
        let right = header("alice");
        let logins: Vec<_> = (0..MAX_PER_PEER)
            .map(|_| {
                let (users, right) = (users.clone(), right.clone());
                tokio::spawn(async move { users.admit(Some(&right), PEER, || true).await })
            })
            .collect();
        for login in logins {
            assert_eq!(login.await.unwrap(), Admission::Granted);
        }
        assert_eq!(users.shared.verified.0.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn full_queue_rejects_at_once() {
        let users = users();
        let _turn = users.shared.queue.hold().await;
        let waiting: Vec<_> = (0..MAX_PER_PEER)
            .map(|_| {
                let users = users.clone();
                tokio::spawn(async move { users.admit(Some(&HEADER), PEER, || true).await })
            })
            .collect();
        while users.shared.queue.logins(PEER) < MAX_PER_PEER {
            tokio::task::yield_now().await;
        }
        assert_eq!(users.admit(Some(&HEADER), PEER, || true).await, Admission::Busy);
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test]
    async fn a_crowd_from_one_address_keeps_no_other_out() {
        let users = Arc::new(named([("alice", cheap())]));
        let turn = users.shared.queue.hold().await;
        let ended = Arc::new(AtomicUsize::new(0));
        let crowd: Vec<_> = (0..MAX_PER_PEER)
            .map(|_| {
                let (users, ended) = (users.clone(), ended.clone());
                tokio::spawn(async move {
                    assert_eq!(users.admit(Some(&HEADER), PEER, || true).await, Admission::Refused);
                    ended.fetch_add(1, Ordering::SeqCst);
                })
            })
            .collect();
        while users.shared.queue.logins(PEER) < MAX_PER_PEER {
            tokio::task::yield_now().await;
        }
        // Of IPv6 a whole network is one address.
        let address = |host: u128| IpAddr::from((0x2001_0db8_u128 << 96 | host).to_be_bytes());
        let right = header("alice");
        let login = users.admit(Some(&right), address(1), || true);
        let (admission, ()) = tokio::join!(login, async {
            assert_eq!(users.shared.queue.logins(address(2)), 1);
            drop(turn);
        });
        assert_eq!(admission, Admission::Granted);
        // One of the crowd came first.
        let before = ended.load(Ordering::SeqCst);
        assert!(before <= 1, "{before} of the crowd were before it");
        for one in crowd {
            one.await.unwrap();
        }
        assert_eq!(users.shared.queue.logins(PEER), 0);
    }
}
