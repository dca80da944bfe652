//! The past as OpenMetrics: what the live series of income and payouts would have shown, day by day, with the time of
//! each sample.
//!
//! Nothing is reckoned here. For each moment at which something may have changed (each midnight of the pool, each
//! payout) a [`View`] is made of the histories as they stood then, and the families of [`past`] draw from it what they
//! draw at a scrape.
//!
//! A file of OpenMetrics goes family by family, and the pool is read account by account. So each target's part of each
//! family is put aside in one temporary file ([`Backfill::add`]), and copied from there in the right order when all
//! have been read ([`Backfill::write_to`]). What is held in memory is one target's histories.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};

use jiff::{Timestamp, civil::Date, tz::Offset};

use crate::{
    collector::{
        View,
        past::{self, About},
    },
    history::{Income, Payment, Payments, SAME_PAYOUT_SECONDS, day_start, pool_day},
    model::{Id, Target, UnixSeconds},
};

/// The day of Bitcoin's first block. A row of an earlier day is an error of the books, and would only stretch the time
/// that is gone through.
const FIRST_DAY: Date = Date::constant(2009, 1, 3);

/// Which time is told of, and how.
#[derive(Clone, Debug)]
pub struct Terms {
    /// From the beginning of this day on; `None`: from each target's first row on.
    pub from: Option<Date>,
    /// Up to this moment, which is included.
    pub until: UnixSeconds,
    /// When the pool's day begins.
    pub day_utc_offset: Offset,
    /// How often a value is repeated while it lasts, at whole multiples of it since 1970; at least a second. `None`: not
    /// at all.
    pub step: Option<Duration>,
    /// Further labels of every series, such as those that Prometheus gives what it scrapes.
    pub labels: Vec<(String, String)>,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows of `profit_history` that were taken in.
    pub days: u64,
    /// Rows of `payment_history` that were taken in.
    pub payments: u64,
    /// Series with at least one sample.
    pub series: u64,
    /// Samples.
    pub samples: u64,
}

/// Histories on their way into one file.
#[derive(Debug)]
pub struct Backfill {
    terms: Terms,
    /// What was drawn so far, in the order of the targets.
    aside: BufWriter<File>,
    /// Where in it each family's parts are: their beginnings and lengths, in bytes.
    parts: [Vec<(u64, u64)>; past::PAST.len()],
    /// How much is in it.
    length: u64,
    totals: Totals,
}

/// A series' course: from when on it had which value; `None`: from then on it had none.
type Course = Vec<(i64, Option<f64>)>;

/// Courses by their family's place and their labels: in the order in which they are written.
type Courses = BTreeMap<(usize, String), Course>;

impl Backfill {
    /// Nothing yet. What is put aside is in a nameless file in the directory, which ends with the process at the latest.
    ///
    /// # Errors
    ///
    /// When no file can be made there.
    pub fn new(terms: Terms, directory: &Path) -> io::Result<Self> {
        let aside = BufWriter::new(tempfile::tempfile_in(directory)?);
        Ok(Self { terms, aside, parts: Default::default(), length: 0, totals: Totals::default() })
    }

    /// Takes in the histories of one target; later ones than those before, by the order of targets, if the file is to be
    /// in order.
    ///
    /// # Errors
    ///
    /// When it cannot be put aside.
    pub fn add(&mut self, target: &Target, income: Income, payments: Payments) -> io::Result<()> {
        self.totals.days += income.days.len() as u64 + income.unread;
        self.totals.payments += payments.by_id.len() as u64 + payments.unread;
        let Some(first) = self.first_day(&income, &payments) else { return Ok(()) };
        let mut courses = self.income_courses(target, income, first);
        courses.append(&mut self.payment_courses(target, payments, first));
        let mut courses = courses.into_iter().peekable();
        for (place, family, _) in past::families() {
            let begin = self.length;
            while let Some(((_, labels), course)) = courses.next_if(|((of, _), _)| *of == place) {
                self.put_aside(family.name, &labels, &course)?;
            }
            if self.length > begin {
                self.parts[place].push((begin, self.length - begin));
            }
        }
        Ok(())
    }

    /// What was taken in so far.
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// Writes the file: every family once, in the order of the exposition, each with the targets in the order in which
    /// they were added, each series' samples by time.
    ///
    /// # Errors
    ///
    /// When it cannot be written, or what was put aside cannot be read.
    pub fn write_to(self, out: &mut impl Write) -> io::Result<Totals> {
        let mut aside = BufReader::new(self.aside.into_inner()?);
        for (place, family, _) in past::families() {
            let parts = &self.parts[place];
            if !parts.is_empty() {
                out.write_all(family.announcement().as_bytes())?;
            }
            for &(begin, length) in parts {
                aside.seek(SeekFrom::Start(begin))?;
                io::copy(&mut aside.by_ref().take(length), out)?;
            }
        }
        out.write_all(b"# EOF\n")?;
        out.flush()?;
        Ok(self.totals)
    }

    /// The first day that is told of; `None` when there is nothing to tell.
    fn first_day(&self, income: &Income, payments: &Payments) -> Option<Date> {
        let offset = self.terms.day_utc_offset;
        let of_payments = payments.by_id.values().filter_map(|payment| payment.created);
        let of_payments = of_payments.filter_map(|at| Some(pool_day(Timestamp::from_second(at.0).ok()?, offset)));
        let first = income.days.keys().copied().chain(of_payments).min()?;
        Some(first.max(self.terms.from.unwrap_or(first)).max(FIRST_DAY))
    }

    /// What the figures of the days were, from midnight to midnight.
    fn income_courses(&self, target: &Target, income: Income, first: Date) -> Courses {
        let income = Arc::new(income);
        let offset = self.terms.day_utc_offset;
        let mut view = View::past(target.clone(), Some(income.clone()), None, first, offset);
        let mut courses = Courses::new();
        while let Some(UnixSeconds(midnight)) = day_start(view.today, offset).filter(|at| *at <= self.terms.until) {
            let over = view.today.yesterday().is_ok_and(|day| income.days.contains_key(&day));
            self.note(&mut courses, &view, midnight, |about| match about {
                About::LastDay => Some(over),
                About::Sums => Some(false),
                About::LastPayout | About::Payouts => None,
            });
            let Ok(tomorrow) = view.today.tomorrow() else { break };
            view.today = tomorrow;
        }
        courses
    }

    /// What the figures of the payouts were, from payout to payout.
    fn payment_courses(&self, target: &Target, payments: Payments, first: Date) -> Courses {
        let offset = self.terms.day_utc_offset;
        let mut courses = Courses::new();
        let Some(UnixSeconds(begin)) = day_start(first, offset) else { return courses };
        let mut rows: Vec<(i64, Id, Payment)> = Vec::with_capacity(payments.by_id.len());
        let mut unread = payments.unread;
        for (id, payment) in payments.by_id {
            match payment.created {
                Some(UnixSeconds(created)) => rows.push((created, id, payment)),
                // It may have been any of them, so that no moment's figures are known.
                None => unread += 1,
            }
        }
        rows.sort_unstable_by_key(|(created, _, _)| *created);
        let mut known = Arc::new(Payments { unread, ..Payments::default() });
        let mut rows = rows.into_iter().peekable();
        let mut moment = Some(begin);
        while let Some(at) = moment.filter(|&at| at <= self.terms.until.0) {
            let mut paid = false;
            while let Some((created, id, payment)) = rows.next_if(|(created, _, _)| *created <= at) {
                // Nobody else holds it by now, so that nothing is copied.
                Arc::make_mut(&mut known).by_id.insert(id, payment);
                paid |= created == at;
            }
            let view = View::past(target.clone(), None, Some(known.clone()), first, offset);
            // A payout is told of when its last part is paid, so that each has one sample.
            let next = rows.peek().map(|(created, _, _)| *created).filter(|&next| next <= self.terms.until.0);
            let goes_on = next.is_some_and(|next| next - at <= SAME_PAYOUT_SECONDS);
            self.note(&mut courses, &view, at, |about| match about {
                About::LastPayout if paid && goes_on => None,
                About::LastPayout => Some(paid),
                About::Payouts => Some(false),
                About::LastDay | About::Sums => None,
            });
            moment = rows.peek().map(|(created, _, _)| *created);
        }
        courses
    }

    /// Notes in each course what the view shows, where that is news; `news` says of which families it is, whatever the
    /// value, and which are not looked at (`None`).
    fn note(&self, courses: &mut Courses, view: &View, at: i64, news: impl Fn(About) -> Option<bool>) {
        for (place, family, about) in past::families() {
            let Some(news) = news(about) else { continue };
            let mut shown = Vec::new();
            family.draw(view, |labels, value| {
                let more = self.terms.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                shown.push(((place, past::labels_text(labels.iter().copied().chain(more))), value));
            });
            for (of, course) in courses.range_mut((place, String::new())..(place + 1, String::new())) {
                if course.last().is_some_and(|(_, value)| value.is_some())
                    && !shown.iter().any(|(shown, _)| shown == of)
                {
                    course.push((at, None));
                }
            }
            for (of, value) in shown {
                let course = courses.entry(of).or_default();
                let before = course.last().and_then(|&(_, value)| value);
                if news || before.map(f64::to_bits) != Some(value.to_bits()) {
                    course.push((at, Some(value)));
                }
            }
        }
    }

    /// Writes a series.
    fn put_aside(&mut self, name: &str, labels: &str, course: &Course) -> io::Result<()> {
        let step = self.terms.step.and_then(|step| i64::try_from(step.as_secs()).ok()).filter(|&step| step > 0);
        let before = self.totals.samples;
        for (index, &(begin, value)) in course.iter().enumerate() {
            let Some(value) = value else { continue };
            // The next one has a sample of its own; the last moment of all is included.
            let end = course.get(index + 1).map_or(self.terms.until.0.saturating_add(1), |&(next, _)| next);
            let repeated = step.into_iter().flat_map(|step| {
                let first = (begin.div_euclid(step) + 1).saturating_mul(step);
                (first..end).step_by(usize::try_from(step).unwrap_or(usize::MAX))
            });
            for at in std::iter::once(begin).chain(repeated) {
                let line = format!("{name}{labels} {value} {at}\n");
                self.aside.write_all(line.as_bytes())?;
                self.length += line.len() as u64;
                self.totals.samples += 1;
            }
        }
        self.totals.series += u64::from(self.totals.samples > before);
        Ok(())
    }
}
