//! The hash of a user's password, taken apart.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretBox};

/// A password's hash by bcrypt, taken apart.
pub struct BcryptHash {
    cost: u32,
    salt: [u8; Self::SALT_BYTES],
    digest: SecretBox<[u8; Self::DIGEST_BYTES]>,
}

impl BcryptHash {
    const SALT_BYTES: usize = 16;
    const DIGEST_BYTES: usize = 23;

    /// Reads `$2y$10$` and 53 characters, of which the first 22 are the salt. Whatever letter stands behind the 2, the
    /// hash is taken as today's bcrypt makes it; Go's bcrypt does the same.
    pub(in crate::server) fn parse(text: &str) -> Result<Self, &'static str> {
        const SHAPE: &str =
            "is no bcrypt hash such as `htpasswd -nBC 10 \"\"` writes: $2y$, two digits of cost, $, and 53 characters";
        let rest = text.strip_prefix("$2").ok_or(SHAPE)?;
        let rest = rest.strip_prefix(|c: char| c.is_ascii_lowercase()).unwrap_or(rest);
        let (cost, rest) = rest.strip_prefix('$').and_then(|rest| rest.split_once('$')).ok_or(SHAPE)?;
        if cost.len() != 2 || rest.len() != 53 || !rest.is_ascii() {
            return Err(SHAPE);
        }
        let cost = cost.parse().ok().filter(|cost| (4..=31).contains(cost));
        let cost = cost.ok_or("has a cost that bcrypt does not know; it goes from 04 to 31")?;
        let (salt, digest) = rest.split_at(22);
        let salt = bcrypt_base64(salt).ok_or(SHAPE)?;
        Ok(Self { cost, salt, digest: SecretBox::new(Box::new(bcrypt_base64(digest).ok_or(SHAPE)?)) })
    }

    /// The logarithm of the work, from 4 to 31.
    pub const fn cost(&self) -> u32 {
        self.cost
    }

    /// The salt.
    pub const fn salt(&self) -> [u8; Self::SALT_BYTES] {
        self.salt
    }

    /// What bcrypt must make of the password under this cost and salt, without its last byte, as ever.
    pub fn expose_digest(&self) -> &[u8; Self::DIGEST_BYTES] {
        self.digest.expose_secret()
    }
}

impl fmt::Debug for BcryptHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BcryptHash").field("cost", &self.cost).finish_non_exhaustive()
    }
}

/// bcrypt's own base64: another alphabet, no padding. `N` bytes of as many characters as they take.
fn bcrypt_base64<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (mut bytes, mut at) = ([0; N], 0);
    let (mut buffer, mut bits) = (0_u32, 0);
    for byte in text.bytes() {
        let six = match byte {
            b'.' => 0,
            b'/' => 1,
            b'A'..=b'Z' => byte - b'A' + 2,
            b'a'..=b'z' => byte - b'a' + 28,
            b'0'..=b'9' => byte - b'0' + 54,
            _ => return None,
        };
        buffer = (buffer << 6 | u32::from(six)) & 0xFFFF;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            let [.., whole] = (buffer >> bits).to_be_bytes();
            *bytes.get_mut(at)? = whole;
            at += 1;
        }
    }
    (at == N).then_some(bytes)
}
