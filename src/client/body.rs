//! The body of an answer: how it is compressed, and how it is unpacked within a limit.

use std::io::{self, Read as _};

use flate2::bufread::GzDecoder;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

/// A body that is compressed more often than this is not unpacked.
const MAX_LAYERS: usize = 5;

/// A body of more gzip members is refused. Each of them costs the setup of a decoder, however small it is.
const MAX_MEMBERS: usize = 1000;

/// What a gzip member begins with.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Why a body cannot be unpacked.
#[derive(Debug)]
pub enum UnpackError {
    /// It has more bytes than the limit.
    TooLarge,
    /// The compression is broken.
    Broken(io::Error),
}

/// Returns how many times a body is compressed with gzip: 0 for an encoding that was not requested, whose body is used
/// unchanged.
pub fn gzip_layers(headers: &HeaderMap) -> usize {
    let values = headers.get_all(CONTENT_ENCODING).into_iter();
    let encodings = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b',')).map(<[u8]>::trim_ascii);
    let mut layers = 0;
    for encoding in encodings {
        if encoding.eq_ignore_ascii_case(b"gzip") || encoding.eq_ignore_ascii_case(b"x-gzip") {
            layers += 1;
        } else if !encoding.is_empty() && !encoding.eq_ignore_ascii_case(b"identity") {
            return 0;
        }
    }
    if layers <= MAX_LAYERS { layers } else { 0 }
}

/// Unpacks a body that is compressed `layers` times. Each layer has at most `limit` bytes.
pub fn unpack(mut body: Vec<u8>, layers: usize, limit: usize) -> Result<Vec<u8>, UnpackError> {
    for _ in 0..layers {
        body = unpack_gzip(&body, limit)?;
    }
    Ok(body)
}

/// Unpacks every member of a gzip stream. What follows the last one is skipped, as curl and gzip do: servers pad bodies,
/// and each member has a checksum of its own.
fn unpack_gzip(packed: &[u8], limit: usize) -> Result<Vec<u8>, UnpackError> {
    let (mut body, mut rest) = (Vec::new(), packed);
    // An empty body is empty, whatever its headers say.
    for members in 0.. {
        if rest.is_empty() {
            break;
        }
        if members == MAX_MEMBERS {
            return Err(UnpackError::Broken(io::Error::other(format!("it has more than {MAX_MEMBERS} gzip members"))));
        }
        let mut member = GzDecoder::new(rest);
        let left = (limit - body.len()) as u64;
        member.by_ref().take(left + 1).read_to_end(&mut body).map_err(UnpackError::Broken)?;
        if body.len() > limit {
            return Err(UnpackError::TooLarge);
        }
        rest = member.into_inner();
        if !rest.starts_with(&GZIP_MAGIC) {
            break;
        }
    }
    Ok(body)
}
