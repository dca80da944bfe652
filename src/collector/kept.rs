//! The fast way from a view to what is sent: made once after a poll, kept, and joined with the exporter's own figures at
//! each scrape.
//!
//! Between two polls nothing changes but those figures, so that a scrape costs little more than sending bytes. What makes
//! it so:
//!
//! - The text is written straight away: names are fixed, and a worker's labels are escaped once and not for each of its
//!   samples.
//! - It is cut into chunks, and each is packed by itself, so that after a poll only chunks that differ are packed again. A
//!   gzip member may consist of any number of blocks; the checksums of parts add up to that of the whole.
//! - The exporter's own figures, which are others in each scrape, come last and are a part of their own.
//!
//! [`super::render`] is the reference: both give the same bytes, which tests hold on random stores. `cargo bench
//! --bench exposition` measures it.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher as _, Hasher as _},
    time::Instant,
};

use bytes::Bytes;
use crc32fast::Hasher as Checksum;
use flate2::{Compress, Compression, FlushCompress, Status};
use jiff::civil::Date;

use super::{CATALOGUE, Family, Format, Kind, Labels, Source, Value, View, view::Own};
use crate::telemetry::{DURATION_BUCKETS, Durations};

/// A chunk has so many bytes at least: less is hardly worth packing by itself.
const SHORTEST_CHUNK: usize = 2 * 1024;

/// With so many bytes of one account, or before another family, a chunk ends.
const CHUNK: usize = 8 * 1024;

/// With so many bytes a chunk ends where the next account begins.
const LONG_CHUNK: usize = 32 * 1024;

/// A chunk ends here, wherever that is.
const LONGEST_CHUNK: usize = 64 * 1024;

/// One of so many accounts is one at which chunks begin.
const ACCOUNTS_A_CHUNK: u32 = 16;

/// How what is sent is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// By gzip.
    Gzip,
}

/// What is known at one moment, written and packed; the exporter's own figures are not in it.
#[derive(Debug)]
pub struct Rendition {
    format: Format,
    packed: Option<Packed>,
    /// The text in chunks, or the whole of what is packed: the beginning of a gzip member.
    parts: Vec<Bytes>,
    until: Option<Instant>,
    today: Date,
}

/// What has to be known to go on with a gzip member.
#[derive(Debug)]
struct Packed {
    /// The blocks of each chunk by the chunk's text, for the next rendition.
    blocks: HashMap<Fingerprint, Bytes>,
    hasher: foldhash::quality::RandomState,
    /// Of the whole text, with its length.
    checksum: Checksum,
    length: usize,
}

/// A text, told from others by more than a hundred bits.
type Fingerprint = (u64, u32, usize);

impl Rendition {
    /// Writes and packs what is known. What was packed `before` and is the same is not packed again.
    ///
    /// # Errors
    ///
    /// Only where a sample has a value that its family cannot have, which does not happen.
    pub fn new(view: &View, format: Format, encoding: Encoding, before: Option<&Self>) -> Result<Self, fmt::Error> {
        let mut parts = Vec::new();
        let known = CATALOGUE.iter().filter(|family| !matches!(family.samples, Source::Own(_)));
        let packed = match encoding {
            Encoding::Identity => {
                write(known, view, format, &mut |chunk| parts.push(Bytes::copy_from_slice(chunk.as_bytes())))?;
                None
            }
            Encoding::Gzip => {
                let mut packer = Packer::new(before.and_then(|before| before.packed.as_ref()));
                write(known, view, format, &mut |chunk| packer.pack(chunk.as_bytes()))?;
                let (member, packed) = packer.done();
                parts.push(member);
                Some(packed)
            }
        };
        Ok(Self { format, packed, parts, until: view.until, today: view.today })
    }

    /// Whether it is still true at that moment, on that day of the pool, if no poll has ended since.
    pub fn holds(&self, now: Instant, today: Date) -> bool {
        self.until.is_none_or(|until| now < until) && self.today == today
    }

    /// What is sent: all of it, with the exporter's own figures. The parts follow each other.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn with(&self, own: Option<&Own>) -> Result<Vec<Bytes>, fmt::Error> {
        let mut parts = self.parts.clone();
        let families = CATALOGUE.iter().filter(|family| matches!(family.samples, Source::Own(_)));
        let mut last = String::with_capacity(LONGEST_CHUNK / 2);
        if let Some(own) = own {
            let mut writer = Writer { text: last, format: self.format, done: None, account_began: 0 };
            families.clone().try_for_each(|family| match family.samples {
                Source::Own(draw) => writer.family(family, |out| draw(own, out)),
                Source::Known(_) | Source::Worker(_) => Ok(()),
            })?;
            last = writer.text;
        }
        if self.format == Format::OpenMetrics {
            last.push_str("# EOF\n");
        }
        let behind = self.parts.iter().map(Bytes::len).sum();
        parts.push(match &self.packed {
            None => last.into(),
            Some(packed) => packed.end(last.as_bytes(), behind),
        });
        Ok(parts)
    }
}

/// Packs chunk after chunk.
struct Packer<'a> {
    before: Option<&'a Packed>,
    packed: Packed,
    /// In the order of the text.
    order: Vec<Bytes>,
    deflate: Compress,
}

/// Deflate, no time, no name; packed quickly; on whatever system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];

impl<'a> Packer<'a> {
    fn new(before: Option<&'a Packed>) -> Self {
        let hasher = before.map_or_else(foldhash::quality::RandomState::default, |before| before.hasher.clone());
        let packed = Packed { blocks: HashMap::new(), hasher, checksum: Checksum::new(), length: 0 };
        Self { before, packed, order: Vec::new(), deflate: deflate() }
    }

    fn pack(&mut self, chunk: &[u8]) {
        let mut checksum = Checksum::new();
        checksum.update(chunk);
        self.packed.checksum.combine(&checksum);
        self.packed.length += chunk.len();
        let mut hasher = self.packed.hasher.build_hasher();
        hasher.write(chunk);
        let fingerprint = (hasher.finish(), checksum.finalize(), chunk.len());
        let known = self.before.and_then(|before| before.blocks.get(&fingerprint)).cloned();
        let blocks = known.unwrap_or_else(|| {
            // Flushed, so that the next chunk's begin with a byte of their own.
            let packed = deflated(&mut self.deflate, chunk, FlushCompress::Sync);
            Bytes::copy_from_slice(&packed)
        });
        self.order.push(blocks.clone());
        self.packed.blocks.insert(fingerprint, blocks);
    }

    fn done(self) -> (Bytes, Packed) {
        let length = self.order.iter().map(Bytes::len).sum::<usize>();
        let mut member = Vec::with_capacity(GZIP_HEADER.len() + length);
        member.extend_from_slice(&GZIP_HEADER);
        self.order.iter().for_each(|blocks| member.extend_from_slice(blocks));
        (member.into(), self.packed)
    }
}

impl Packed {
    /// The last text of the member and its end, behind so many bytes.
    fn end(&self, text: &[u8], behind: usize) -> Bytes {
        /// The longest text of one stored block.
        const LONGEST: usize = 65_535;
        let mut end = if text.len() * 16 < behind {
            // As it is: it hardly makes the whole longer, and packing it would cost more than all the rest.
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
        } else {
            deflated(&mut deflate(), text, FlushCompress::Finish)
        };
        let mut checksum = Checksum::new();
        checksum.update(text);
        let mut whole = self.checksum.clone();
        whole.combine(&checksum);
        end.extend_from_slice(&whole.finalize().to_le_bytes());
        // Modulo 2^32, as the format has it.
        end.extend_from_slice(&((self.length + text.len()) as u32).to_le_bytes());
        end.into()
    }
}

fn deflate() -> Compress {
    Compress::new(Compression::fast(), false)
}

/// The blocks of a text.
fn deflated(deflate: &mut Compress, text: &[u8], flush: FlushCompress) -> Vec<u8> {
    let mut packed = Vec::with_capacity(text.len() / 4 + 64);
    deflate.reset();
    loop {
        let taken = usize::try_from(deflate.total_in()).unwrap_or(usize::MAX).min(text.len());
        let status = deflate.compress_vec(&text[taken..], &mut packed, flush);
        // With room left there was nothing more to be written. Memory to memory, nothing can fail.
        if matches!(status, Ok(Status::StreamEnd) | Err(_)) || packed.len() < packed.capacity() {
            return packed;
        }
        packed.reserve(packed.capacity());
    }
}

/// Writes families, and hands the text over in chunks.
fn write<'a>(
    families: impl Iterator<Item = &'a Family>,
    view: &View,
    format: Format,
    done: &mut dyn FnMut(&str),
) -> fmt::Result {
    let mut writer =
        Writer { text: String::with_capacity(LONGEST_CHUNK + 1024), format, done: Some(done), account_began: 0 };
    let workers = WorkerLabels::new(view);
    for family in families {
        match family.samples {
            Source::Known(draw) => writer.family(family, |out| draw(view, out))?,
            Source::Own(draw) => view.own.iter().try_for_each(|own| writer.family(family, |out| draw(own, out)))?,
            Source::Worker(_) => writer.workers(family, view, &workers)?,
        }
    }
    writer.hand_over();
    Ok(())
}

/// The labels of all workers as both formats write them, without the last brace: escaped once for all samples.
struct WorkerLabels {
    text: String,
    /// Where each worker's end.
    ends: Vec<usize>,
}

impl WorkerLabels {
    fn new(view: &View) -> Self {
        let count = view.targets.iter().map(|target| target.exported().len()).sum();
        let mut labels = Self { text: String::with_capacity(count * 96), ends: Vec::with_capacity(count) };
        let mut before = String::new();
        for target in &view.targets {
            before.clear();
            before.push('{');
            for (name, value) in target.labels() {
                label(&mut before, name, value);
                before.push(',');
            }
            for worker in target.exported() {
                labels.text.push_str(&before);
                label(&mut labels.text, "worker", &worker.name);
                labels.text.push(',');
                label(&mut labels.text, "worker_id", worker.id.as_str());
                labels.ends.push(labels.text.len());
            }
        }
        labels
    }

    fn each(&self) -> impl Iterator<Item = &str> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, &end)| &self.text[begin..end])
    }
}

/// Writes text, chunk by chunk.
struct Writer<'a> {
    text: String,
    format: Format,
    /// Takes a chunk; `None`: all is one.
    done: Option<&'a mut dyn FnMut(&str)>,
    /// Where in the chunk the account's part of it begins.
    account_began: usize,
}

impl Writer<'_> {
    /// A family of which the samples bring their labels.
    fn family(&mut self, family: &Family, draw: impl FnOnce(&mut super::Samples<'_>) -> fmt::Result) -> fmt::Result {
        let mut announced = false;
        let mut account = std::ptr::null();
        draw(&mut |labels, value| {
            if !announced {
                self.announce(family);
                announced = true;
            }
            // Names of accounts are shared, so that another place in memory is another account.
            let name = labels.first().map_or("", |(_, value)| value);
            self.goes_on((name.as_ptr() != account).then_some(name));
            account = name.as_ptr();
            match (family.kind, value) {
                (Kind::Histogram, Value::Histogram(durations)) => self.histogram(family, labels, durations),
                (Kind::Gauge | Kind::Counter, Value::Whole(whole)) => {
                    self.name(family.name, "", labels, None);
                    self.whole(whole);
                }
                (Kind::Gauge | Kind::Counter, Value::Real(real)) => {
                    self.name(family.name, "", labels, None);
                    self.real(real);
                }
                (_, _) => return Err(fmt::Error),
            }
            Ok(())
        })
    }

    /// A family of the workers.
    fn workers(&mut self, family: &Family, view: &View, labels: &WorkerLabels) -> fmt::Result {
        let Source::Worker(draw) = family.samples else { return Ok(()) };
        let mut announced = false;
        let mut labels = labels.each();
        for target in &view.targets {
            let mut another = Some(target.target.account.as_str());
            for (worker, labels) in target.exported().iter().zip(&mut labels) {
                draw(worker, &mut |more, value| {
                    let Some(value) = value else { return Ok(()) };
                    if !announced {
                        self.announce(family);
                        announced = true;
                    }
                    self.goes_on(another.take());
                    self.text.push_str(family.name);
                    self.text.push_str(labels);
                    for (name, value) in more {
                        self.text.push(',');
                        label(&mut self.text, name, value);
                    }
                    self.text.push_str("} ");
                    match value {
                        Value::Whole(whole) => self.whole(whole),
                        Value::Real(real) => self.real(real),
                        Value::Histogram(_) => return Err(fmt::Error),
                    }
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// A sample comes next, perhaps of another account than the one before: hands the chunk over if it ends here.
    ///
    /// Where chunks end follows from what is beside it and not from what came before, so that a longer number somewhere
    /// does not move all ends behind it, and make new chunks of what did not change.
    fn goes_on(&mut self, account: Option<&str>) {
        let length = self.text.len();
        let ends = match account {
            None => length >= LONGEST_CHUNK,
            Some(name) => {
                let whole = length - self.account_began >= CHUNK;
                let begins = || name.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
                whole || length >= LONG_CHUNK || (length >= SHORTEST_CHUNK && begins() % ACCOUNTS_A_CHUNK == 0)
            }
        };
        if ends {
            self.hand_over();
        }
        if account.is_some() {
            self.account_began = self.text.len();
        }
    }

    fn hand_over(&mut self) {
        if let Some(done) = self.done.as_mut().filter(|_| !self.text.is_empty()) {
            done(&self.text);
            self.text.clear();
            self.account_began = 0;
        }
    }

    /// The lines before a family's samples.
    fn announce(&mut self, family: &Family) {
        if self.text.len() >= CHUNK {
            self.hand_over();
        }
        family.announce(self.format, &mut self.text);
    }

    fn histogram(&mut self, family: &Family, labels: Labels<'_>, durations: &Durations) {
        self.name(family.name, "_sum", labels, None);
        self.real(durations.sum);
        self.name(family.name, "_count", labels, None);
        self.whole(durations.buckets.iter().sum());
        let mut so_far = 0;
        for (place, count) in durations.buckets.iter().enumerate() {
            so_far += count;
            match DURATION_BUCKETS.get(place) {
                Some(&bound) => {
                    let mut digits = dtoa::Buffer::new();
                    self.name(family.name, "_bucket", labels, Some(digits.format(bound)));
                }
                None => self.name(family.name, "_bucket", labels, Some("+Inf")),
            }
            self.whole(so_far);
        }
    }

    /// A sample's name and labels; `le` is a histogram's bound.
    fn name(&mut self, name: &str, suffix: &str, labels: Labels<'_>, le: Option<&str>) {
        self.extend(&[name, suffix]);
        let le = le.map(|le| ("le", le));
        for (place, (name, value)) in le.iter().chain(labels).enumerate() {
            self.text.push(if place == 0 { '{' } else { ',' });
            label(&mut self.text, name, value);
        }
        if le.is_some() || !labels.is_empty() {
            self.text.push('}');
        }
        self.text.push(' ');
    }

    fn whole(&mut self, value: u64) {
        self.text.push_str(itoa::Buffer::new().format(value));
        self.text.push('\n');
    }

    fn real(&mut self, value: f64) {
        /// Below it each whole number has a floating-point number of its own, and is written without an exponent.
        const WHOLE: f64 = 1e15;
        // Most are whole; it is the same text in a third of the time. Zero has a sign.
        if value.trunc() == value && value.abs() < WHOLE && value != 0.0 {
            self.text.push_str(itoa::Buffer::new().format(value as i64));
            self.text.push_str(".0\n");
        } else {
            self.text.push_str(dtoa::Buffer::new().format(value));
            self.text.push('\n');
        }
    }

    fn extend(&mut self, texts: &[&str]) {
        texts.iter().for_each(|text| self.text.push_str(text));
    }
}

/// A label's name and value, escaped as both formats have it.
pub(super) fn label(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push_str("=\"");
    if value.bytes().any(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
        for c in value.chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                c => text.push(c),
            }
        }
    } else {
        text.push_str(value);
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::{
        collector::{Moment, Scope},
        config::Config,
        model::Summary,
        store::Store,
    };

    #[test]
    fn what_did_not_change_is_not_packed_again() {
        let accounts: String = (100..400).map(|number| format!("  farm_{number}: {{ api_key: 0a1b2c }}\n")).collect();
        let config = Config::from_yaml("test", &format!("accounts:\n{accounts}"), &Default::default()).unwrap();
        let store = Store::new(&config);
        let now = Moment { wall: Timestamp::UNIX_EPOCH, monotonic: Instant::now() };
        let new = |before: Option<&Rendition>| {
            let view = View::known(&config, &store, &Scope::All, now);
            Rendition::new(&view, Format::Classic, Encoding::Gzip, before).unwrap()
        };
        let first = new(None);
        let slots = store.targets.values().nth(150).unwrap();
        slots.summary.record(Timestamp::UNIX_EPOCH, Duration::ZERO, Ok(Summary::default()));
        let second = new(Some(&first));
        let [before, after] = [&first, &second].map(|rendition| &rendition.packed.as_ref().unwrap().blocks);
        let same =
            |(text, blocks): &(&Fingerprint, &Bytes)| before.get(text).is_some_and(|b| b.as_ptr() == blocks.as_ptr());
        let kept = after.iter().filter(same).count();
        assert!((1..after.len()).contains(&kept) && kept * 2 > after.len(), "{kept} of {}", after.len());
    }
}
