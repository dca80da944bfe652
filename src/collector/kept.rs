//! The fast way from a view to what is sent: made once after a poll, kept, and joined with the exporter's own figures at
//! each scrape.
//!
//! Between two polls nothing changes but those figures, so that a scrape costs little more than sending bytes. What makes
//! it so:
//!
//! - The text is written straight away: names are fixed, and a worker's labels are escaped once and not for each of its
//!   samples (`writing`).
//! - What is said of workers, which is nearly all, is kept by groups of accounts, and only a group of which a list
//!   came anew is written and packed again (`packing`). The rest is written anew after each poll: a hundredth of a fleet's
//!   text, but all of it where no workers are shown.
//! - The exporter's own figures, which are others in each scrape, come last and are a part of their own.
//!
//! [`super::render`] is the reference: both give the same bytes, which tests hold on random stores. `cargo bench
//! --bench exposition` measures it.

mod packing;
mod writing;

use std::{fmt, sync::Arc, time::Instant};

use bytes::Bytes;
use jiff::civil::Date;

use super::{CATALOGUE, Format, Source, TargetView, View, view::Own};
use crate::{model::Target, wire::Workers};
use packing::{Member, Packer, Piece};
pub(super) use writing::label;
use writing::{WorkerLabels, Writer};

/// So many workers make a group, if their account has not more: fewer are hardly worth packing by themselves.
const GROUP: usize = 64;

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
    /// If it is packed.
    member: Option<Member>,
    /// What is sent of it.
    parts: Vec<Bytes>,
    groups: Vec<Group>,
    until: Option<Instant>,
    today: Date,
}

/// The samples of the workers of some accounts that follow each other.
#[derive(Clone, Debug)]
struct Group {
    /// What was written.
    lists: Vec<List>,
    /// A piece for each family of workers, in the catalogue's order.
    pieces: Vec<Piece>,
}

/// Whose list, which, and how much of it.
type List = (Target, Option<Arc<Workers>>, usize);

impl Rendition {
    /// Writes and packs what is known. What was written `before`, in the same format and encoding, is kept as far as it is
    /// the same.
    ///
    /// # Errors
    ///
    /// When a sample has a value that its family cannot have, or the compressor fails.
    pub fn new(view: &View, format: Format, encoding: Encoding, before: Option<&Self>) -> Result<Self, fmt::Error> {
        let mut packer = match encoding {
            Encoding::Identity => None,
            Encoding::Gzip => Some(Packer::new()),
        };
        let mut piece = |text: &str| match &mut packer {
            None => Ok(Piece::plain(text)),
            Some(packer) => packer.pack(text),
        };
        let mut writer = Writer::new(format);
        let groups = grouped(&view.targets).into_iter().enumerate().map(|(place, targets)| {
            let is_same = |group: &&Group| group.is_of(targets);
            let at_its_place = |before: &'_ Self| before.groups.get(place).filter(is_same).cloned();
            let anywhere = |before: &'_ Self| before.groups.iter().find(is_same).cloned();
            let known = before.and_then(|before| at_its_place(before).or_else(|| anywhere(before)));
            known.map_or_else(|| Group::new(targets, &mut writer, &mut piece), Ok)
        });
        let mut groups = groups.collect::<Result<Vec<_>, _>>()?;

        // In the order of the text; and of the groups' pieces, where those of each family begin.
        let mut pieces = Vec::new();
        let mut begins = Vec::new();
        for family in CATALOGUE {
            match family.samples {
                Source::Known(draw) => writer.family(family, |out| draw(view, out))?,
                Source::Own(_) => {}
                Source::Worker(_) => {
                    let number = begins.len();
                    let of_groups = groups.iter().map(|group| &group.pieces[number]);
                    if of_groups.clone().any(|piece| piece.length > 0) {
                        writer.announce(family);
                    }
                    pieces.push(piece(&writer.text)?);
                    writer.text.clear();
                    begins.push(pieces.len());
                    pieces.extend(of_groups.cloned());
                }
            }
        }
        pieces.push(piece(&writer.text)?);

        let (until, today) = (view.until, view.today);
        Ok(match encoding {
            Encoding::Identity => {
                let parts = pieces.into_iter().map(|piece| piece.bytes).filter(|bytes| !bytes.is_empty()).collect();
                Self { format, member: None, parts, groups, until, today }
            }
            Encoding::Gzip => {
                let (member, places) = Member::of(&pieces);
                // The groups' own are parts of the whole from now on, so that nothing is held twice.
                for (place, group) in groups.iter_mut().enumerate() {
                    for (piece, begin) in group.pieces.iter_mut().zip(&begins) {
                        piece.bytes = member.bytes.slice(places[begin + place].clone());
                    }
                }
                Self { format, parts: vec![member.bytes.clone()], member: Some(member), groups, until, today }
            }
        })
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
        let mut writer = Writer::new(self.format);
        for (own, family) in own.iter().flat_map(|own| CATALOGUE.iter().map(move |family| (own, family))) {
            match family.samples {
                Source::Own(draw) => writer.family(family, |out| draw(own, out))?,
                Source::Known(_) | Source::Worker(_) => {}
            }
        }
        if self.format == Format::OpenMetrics {
            writer.text.push_str("# EOF\n");
        }
        let last = match &self.member {
            None => writer.text.into(),
            Some(member) => member.end(&writer.text)?,
        };
        Ok(self.parts.iter().cloned().chain([last]).collect())
    }
}

impl Group {
    fn new(
        targets: &[TargetView],
        writer: &mut Writer,
        piece: &mut impl FnMut(&str) -> Result<Piece, fmt::Error>,
    ) -> Result<Self, fmt::Error> {
        let labels = WorkerLabels::new(targets);
        let mut pieces = Vec::new();
        for family in CATALOGUE {
            if let Source::Worker(draw) = family.samples {
                writer.workers(family, draw, targets, &labels)?;
                pieces.push(piece(&writer.text)?);
                writer.text.clear();
            }
        }
        Ok(Self { lists: targets.iter().map(list).collect(), pieces })
    }

    /// Whether this is what would be written of these.
    fn is_of(&self, targets: &[TargetView]) -> bool {
        let is_same = |(before, target): (&List, &TargetView)| {
            let lists = (before.1.as_ref().map(Arc::as_ptr), target.workers.as_ref().map(Arc::as_ptr));
            lists.0 == lists.1 && before.2 == target.workers_max && before.0 == target.target
        };
        self.lists.len() == targets.len() && self.lists.iter().zip(targets).all(is_same)
    }
}

fn list(target: &TargetView) -> List {
    (target.target.clone(), target.workers.clone(), target.workers_max)
}

/// All of the targets, in groups.
fn grouped(targets: &[TargetView]) -> Vec<&[TargetView]> {
    let mut groups = Vec::new();
    let (mut begin, mut workers) = (0, 0);
    for (place, target) in targets.iter().enumerate() {
        workers += target.exported().len();
        if workers >= GROUP {
            groups.push(&targets[begin..=place]);
            (begin, workers) = (place + 1, 0);
        }
    }
    groups.push(&targets[begin..]);
    groups
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::{
        collector::{Moment, Scope},
        config::Config,
        model::Id,
        store::Store,
        wire::Worker,
    };

    #[test]
    fn only_changed_groups_are_rendered_again() {
        let accounts: String = (10..40).map(|number| format!("  farm_{number}: {{ api_key: 0a1b2c }}\n")).collect();
        let config = Config::from_yaml("test", &format!("accounts:\n{accounts}"), &Default::default()).unwrap();
        let store = Store::new(&config);
        let poll = |account: usize, count: usize| {
            let worker = |number: usize| Worker {
                active: Some(true),
                ..Worker::new(Id::new(&number.to_string()).unwrap(), "a")
            };
            let workers = Workers { list: (0..count).map(worker).collect(), reported: None, not_read: 0, pages: 1 };
            let slots = store.targets.values().nth(account).unwrap();
            slots.workers.as_ref().unwrap().record(Timestamp::UNIX_EPOCH, Duration::ZERO, Ok(workers));
        };
        let new = |before: Option<&Rendition>| {
            let now = Moment { wall: Timestamp::UNIX_EPOCH, monotonic: Instant::now() };
            let view = View::known(&config, &store, &Scope::All, now);
            Rendition::new(&view, Format::Classic, Encoding::Identity, before).unwrap()
        };
        // Those that are the very same text in memory.
        let kept = |before: &Rendition, after: &Rendition| -> Vec<usize> {
            let text = |group: &Group| group.pieces.iter().map(|piece| piece.bytes.as_ptr()).collect::<Vec<_>>();
            let texts: Vec<_> = before.groups.iter().map(text).collect();
            after
                .groups
                .iter()
                .enumerate()
                .filter(|(_, group)| texts.contains(&text(group)))
                .map(|(at, _)| at)
                .collect()
        };
        (0..30).for_each(|account| poll(account, 10));
        let first = new(None);
        assert_eq!(first.groups.iter().map(|group| group.lists.len()).collect::<Vec<_>>(), [7, 7, 7, 7, 2]);
        let same = new(Some(&first));
        assert_eq!(kept(&first, &same), [0, 1, 2, 3, 4]);
        poll(8, 10);
        let second = new(Some(&same));
        assert_eq!(kept(&same, &second), [0, 2, 3, 4]);
        // Groups that begin elsewhere are others; those behind an account that is one by itself are found again.
        poll(20, 100);
        let third = new(Some(&second));
        assert_eq!(third.groups.iter().map(|group| group.lists.len()).collect::<Vec<_>>(), [7, 7, 7, 7, 2]);
        poll(0, 64);
        let fourth = new(Some(&third));
        assert_eq!(fourth.groups.iter().map(|group| group.lists.len()).collect::<Vec<_>>(), [1, 7, 7, 6, 7, 2]);
        assert_eq!(kept(&third, &fourth), [4, 5]);
    }
}
