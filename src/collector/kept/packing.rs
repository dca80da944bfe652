//! Gzip by pieces: each is packed by itself, so that what did not change is not packed again.
//!
//! A member's text may be packed in any number of blocks, and the checksums of its parts add up to that of the whole.

use std::{fmt, ops::Range};

use bytes::Bytes;
use crc32fast::Hasher as Checksum;
use flate2::{Compress, Compression, FlushCompress, Status};

/// A part of the text.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The text, or its blocks.
    pub bytes: Bytes,
    /// How long the text is.
    pub length: usize,
    checksum: Checksum,
}

impl Piece {
    /// As it is.
    pub fn plain(text: &str) -> Self {
        Self { bytes: Bytes::copy_from_slice(text.as_bytes()), length: text.len(), checksum: Checksum::new() }
    }
}

/// Packs piece after piece.
pub struct Packer(Compress);

impl Packer {
    /// One that is quick.
    pub fn new() -> Self {
        // A third shorter than the first level, in nearly the same time: the first has no codes of the text's own.
        Self(Compress::new(Compression::new(2), false))
    }

    /// The blocks of a text, which follow others and are followed by others.
    ///
    /// # Errors
    ///
    /// When the compressor fails.
    pub fn pack(&mut self, text: &str) -> Result<Piece, fmt::Error> {
        let mut checksum = Checksum::new();
        checksum.update(text.as_bytes());
        // Flushed, so that the next piece's begin with a byte of their own.
        let bytes = if text.is_empty() { Vec::new() } else { self.blocks(text, FlushCompress::Sync)? };
        Ok(Piece { bytes: Bytes::copy_from_slice(&bytes), length: text.len(), checksum })
    }

    fn blocks(&mut self, text: &str, flush: FlushCompress) -> Result<Vec<u8>, fmt::Error> {
        let Self(compressor) = self;
        compressor.reset();
        compress(compressor, text.as_bytes(), flush)
    }
}

/// The blocks of a text. A compressor that fails has not compressed all of it, so what it wrote is of no use.
fn compress(compressor: &mut Compress, text: &[u8], flush: FlushCompress) -> Result<Vec<u8>, fmt::Error> {
    let mut packed = Vec::with_capacity(text.len() / 4 + 64);
    let begin = compressor.total_in();
    loop {
        let taken = usize::try_from(compressor.total_in() - begin).unwrap_or(usize::MAX).min(text.len());
        let status = compressor.compress_vec(&text[taken..], &mut packed, flush).map_err(|_| fmt::Error)?;
        // With room left there was nothing more to be written.
        if status == Status::StreamEnd || packed.len() < packed.capacity() {
            return Ok(packed);
        }
        packed.reserve(packed.capacity());
    }
}

/// The beginning of a gzip member, and what has to be known to end it.
#[derive(Debug)]
pub struct Member {
    /// What is sent of it.
    pub bytes: Bytes,
    checksum: Checksum,
    length: usize,
}

/// Deflate, no time, no name; packed quickly; on whatever system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];

impl Member {
    /// All pieces in one, and where each of them is in it.
    pub fn of(pieces: &[Piece]) -> (Self, Vec<Range<usize>>) {
        let length = pieces.iter().map(|piece| piece.bytes.len()).sum::<usize>();
        let mut bytes = Vec::with_capacity(GZIP_HEADER.len() + length);
        bytes.extend_from_slice(&GZIP_HEADER);
        let mut checksum = Checksum::new();
        let places = pieces.iter().map(|piece| {
            let begin = bytes.len();
            bytes.extend_from_slice(&piece.bytes);
            checksum.combine(&piece.checksum);
            begin..bytes.len()
        });
        let places = places.collect();
        let length = pieces.iter().map(|piece| piece.length).sum();
        (Self { bytes: bytes.into(), checksum, length }, places)
    }

    /// The last text of it, and its end.
    ///
    /// # Errors
    ///
    /// When the compressor fails.
    pub fn end(&self, text: &str) -> Result<Bytes, fmt::Error> {
        let mut end = if text.len() * 16 < self.bytes.len() {
            // It hardly makes the whole longer, and packing it would cost more than all the rest.
            stored(text.as_bytes())
        } else {
            Packer::new().blocks(text, FlushCompress::Finish)?
        };
        let mut checksum = Checksum::new();
        checksum.update(text.as_bytes());
        let mut whole = self.checksum.clone();
        whole.combine(&checksum);
        end.extend_from_slice(&whole.finalize().to_le_bytes());
        // Modulo 2^32, as the format has it.
        end.extend_from_slice(&((self.length + text.len()) as u32).to_le_bytes());
        Ok(end.into())
    }
}

/// The last blocks of a text, as it is.
fn stored(text: &[u8]) -> Vec<u8> {
    /// The longest text of one block.
    const LONGEST: usize = 65_535;
    let mut stored = Vec::with_capacity(text.len() + 32);
    let mut blocks = text.chunks(LONGEST).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        stored.push(u8::from(blocks.peek().is_none()));
        stored.extend_from_slice(&length.to_le_bytes());
        stored.extend_from_slice(&(!length).to_le_bytes());
        stored.extend_from_slice(block);
    }
    if text.is_empty() {
        stored.extend_from_slice(&[1, 0, 0, 255, 255]);
    }
    stored
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compressor_that_fails_is_an_error() {
        let mut compressor = Compress::new(Compression::new(2), false);
        assert!(compress(&mut compressor, b"one", FlushCompress::Finish).is_ok());
        // It has ended its stream, and takes nothing more.
        assert_eq!(compress(&mut compressor, b"two", FlushCompress::Sync), Err(fmt::Error));
    }
}
