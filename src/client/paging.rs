//! Reading a list that comes in pages, all of it, from a server that may do as it likes.
//!
//! What is relied on: a page's rows, and that its rows begin at the offset asked for. What is not: the echoed limit and
//! offset, that a page is as long as asked, that `total` is there or right, that the list holds still. Rows are told
//! apart by their identity; the list is whole when as many distinct rows came as the pool says there are.
//!
//! The first page shows how many rows the server gives at once; the others are asked for side by side at that stride.
//! A page that comes short leaves a gap, which is filled afterwards. When rows are missing at the end, or `total` moved
//! meanwhile, the list shifted while it was read: it is read once more. Not when the reading before lacked as many rows:
//! then the pool counts rows that it does not give, and another reading brings nothing.
//!
//! Reading stops at a bound on the rows.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt as _};
use tokio_util::sync::CancellationToken;

use super::FetchError;
use crate::{config::Api, wire::Page};

/// A server whose list never ends is given up after so many pages in one pass: 100,000 rows at 50 a page.
pub const MAX_PAGES: usize = 2000;

/// A list that was read to its end, or to the bound.
#[derive(Debug, PartialEq)]
pub struct Listing<K, T> {
    /// Distinct rows.
    pub rows: Rows<K, T>,
    /// How many rows there are by the pool's latest word.
    pub reported: Option<u64>,
    /// Rows without a readable identity.
    pub left_out: u64,
    /// How many pages the last reading took.
    pub pages: usize,
    /// How many the first one took, when the list was read twice.
    pub first_pages: Option<usize>,
    /// Whether reading stopped at the bound.
    pub is_cut: bool,
}

/// How a list is read.
#[derive(Debug, Clone, Copy)]
pub struct ReadOptions {
    /// Rows that a page is asked for.
    pub page_size: usize,
    /// Pages that are asked for side by side.
    pub concurrency: usize,
    /// No further page is asked for once there are as many rows.
    pub max_rows: usize,
    /// Rows that were missing at the end of the reading before.
    pub known_missing: u64,
}

/// Rows by identity. As a rule they come in order, and nothing has to be looked up.
#[derive(Debug, PartialEq)]
pub struct Rows<K, T> {
    ascending: Vec<(K, T)>,
    /// What came behind something greater.
    others: BTreeMap<K, T>,
}

impl<K: Ord, T> Rows<K, T> {
    const fn new() -> Self {
        Self { ascending: Vec::new(), others: BTreeMap::new() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ascending.len() + self.others.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts a row in, in the place of one of the same identity.
    fn insert(&mut self, identity: K, row: T) {
        if self.ascending.last().is_none_or(|(last, _)| *last < identity) {
            self.ascending.push((identity, row));
        } else if let Ok(place) = self.ascending.binary_search_by(|(own, _)| own.cmp(&identity)) {
            self.ascending[place].1 = row;
        } else {
            self.others.insert(identity, row);
        }
    }

    /// All of them in the order of their identities.
    pub fn into_sorted(mut self) -> Vec<(K, T)> {
        if !self.others.is_empty() {
            self.ascending.extend(self.others);
            self.ascending.sort_by(|(one, _), (other, _)| one.cmp(other));
        }
        self.ascending
    }
}

impl<K: Ord, T> Listing<K, T> {
    /// Rows that came, readable or not.
    pub fn received(&self) -> u64 {
        self.rows.len() as u64 + self.left_out
    }

    /// Rows that the pool reports beyond those that came.
    fn outstanding(&self) -> u64 {
        self.reported.map_or(0, |reported| reported.saturating_sub(self.received()))
    }

    /// Rows that were asked for and did not come although the pool reports them.
    pub fn missing(&self) -> u64 {
        if self.is_cut { 0 } else { self.outstanding() }
    }

    /// Rows that were not asked for, by the pool's total.
    pub fn not_read(&self) -> u64 {
        if self.is_cut { self.outstanding() } else { 0 }
    }

    /// Whether `reported` and what came contradict each other.
    pub fn total_is_wrong(&self) -> bool {
        !self.is_cut && self.reported.is_some_and(|reported| self.received() != reported)
    }
}

/// Reads every page. `fetch` is given the offset and a token; once that is cancelled, pages that were not requested yet are
/// skipped.
///
/// # Errors
///
/// The first page's own error; `Incomplete` when a later page fails; `TooLong` when the pages do not end.
pub async fn read_all<K, T, Fetch, Pages>(fetch: Fetch, options: ReadOptions) -> Result<Listing<K, T>, FetchError>
where
    K: Ord,
    Fetch: Fn(usize, CancellationToken) -> Pages,
    Pages: Future<Output = Result<Page<K, T>, FetchError>>,
{
    let pass = Pass::read(&fetch, options).await?;
    let missing = pass.listing.missing();
    let is_new_shortage = missing > 0 && missing != options.known_missing;
    if (is_new_shortage || pass.total_moved) && !pass.listing.is_cut {
        let first_pages = Some(pass.listing.pages);
        return Ok(Listing { first_pages, ..Pass::read(&fetch, options).await?.listing });
    }
    Ok(pass.listing)
}

/// One reading from the first row to the last.
struct Pass<K, T> {
    listing: Listing<K, T>,
    /// Ranges of offsets whose rows came, by their beginning.
    covered: BTreeMap<usize, usize>,
    total_moved: bool,
    max_rows: usize,
    /// Whether the server gives as many rows at once as it is asked for, so that larger pages would be fewer.
    heeds_page_size: bool,
}

/// How far the list has come with a page.
#[derive(PartialEq)]
enum Progress {
    NewRows,
    NothingNew,
    /// The bound is reached.
    Full,
}

impl<K: Ord, T> Pass<K, T> {
    async fn read<Fetch, Pages>(fetch: &Fetch, options: ReadOptions) -> Result<Self, FetchError>
    where
        Fetch: Fn(usize, CancellationToken) -> Pages,
        Pages: Future<Output = Result<Page<K, T>, FetchError>>,
    {
        let ReadOptions { page_size, concurrency, max_rows, .. } = options;
        let listing =
            Listing { rows: Rows::new(), reported: None, left_out: 0, pages: 0, first_pages: None, is_cut: false };
        let covered = BTreeMap::new();
        let mut pass = Self { listing, covered, total_moved: false, max_rows, heeds_page_size: false };
        let first = fetch(0, CancellationToken::new()).await?;
        let stride = first.rows.len();
        pass.heeds_page_size = stride == page_size && page_size < Api::LARGEST_PAGE;
        let mut progress = pass.take(0, first)?;
        if progress == Progress::NewRows && pass.listing.missing() > 0 {
            progress = pass.read_planned(fetch, stride, concurrency).await?;
        }
        // What is left: gaps, or everything when the total is not told or is proven wrong.
        while progress == Progress::NewRows {
            let Some(offset) = pass.next_offset() else { break };
            let page = fetch(offset, CancellationToken::new()).await.map_err(|error| incomplete(offset, &error))?;
            progress = pass.take(offset, page)?;
        }
        Ok(pass)
    }

    /// Asks for the pages that the total promises, side by side, and takes them in order.
    async fn read_planned<Fetch, Pages>(
        &mut self,
        fetch: &Fetch,
        stride: usize,
        concurrency: usize,
    ) -> Result<Progress, FetchError>
    where
        Fetch: Fn(usize, CancellationToken) -> Pages,
        Pages: Future<Output = Result<Page<K, T>, FetchError>>,
    {
        let total = self.listing.reported.and_then(|total| usize::try_from(total).ok()).unwrap_or(usize::MAX);
        let end = total.min(self.max_rows);
        let enough = CancellationToken::new();
        let offsets = (1..MAX_PAGES)
            .map_while(|page| stride.checked_mul(page).filter(|&offset| offset < end))
            .take_while(|_| !enough.is_cancelled());
        let pages = stream::iter(offsets).map(|offset| {
            let page = fetch(offset, enough.clone());
            async move { (offset, page.await) }
        });
        let mut pages = std::pin::pin!(pages.buffered(concurrency));
        let mut result = Ok(Progress::NewRows);
        // Once there is enough, or something failed, no further page is asked for; but requests that were sent are waited
        // for, so that every request made is a request counted.
        while let Some((offset, page)) = pages.next().await {
            if result != Ok(Progress::NewRows) {
                continue;
            }
            result = page.map_err(|error| incomplete(offset, &error)).and_then(|page| self.take(offset, page));
            if result != Ok(Progress::NewRows) {
                enough.cancel();
            }
        }
        result
    }

    /// Takes a page's rows.
    fn take(&mut self, offset: usize, page: Page<K, T>) -> Result<Progress, FetchError> {
        self.listing.pages += 1;
        if self.listing.pages > MAX_PAGES {
            let advice = if self.heeds_page_size { "; raise api.page_size" } else { "" };
            return Err(FetchError::TooLong(format!("it does not end within {MAX_PAGES} pages{advice}")));
        }
        self.total_moved |= offset > 0 && page.total.is_some() && page.total != self.listing.reported;
        self.listing.reported = page.total.or(self.listing.reported);
        let known = self.listing.rows.len();
        // Rows that nobody can tell apart are taken for new ones where none were yet.
        let beyond = self.covered.values().all(|&until| until <= offset);
        self.covered.insert(offset, offset.saturating_add(page.rows.len()));
        let (mut identified, mut unknown) = (0, 0);
        for row in page.rows {
            match row {
                Some((identity, row)) => {
                    self.listing.rows.insert(identity, row);
                    identified += 1;
                }
                None => unknown += 1,
            }
        }
        // Not beside rows that are known already: then this page came before, and so did they.
        let is_repeated = identified > 0 && self.listing.rows.len() == known;
        if is_repeated {
            return Ok(Progress::NothingNew);
        }
        self.listing.left_out += unknown;
        if self.is_full() {
            self.listing.is_cut = true;
            return Ok(Progress::Full);
        }
        let new = self.listing.rows.len() > known || (unknown > 0 && beyond);
        Ok(if new { Progress::NewRows } else { Progress::NothingNew })
    }

    /// Whether there are as many rows as are read at most, and there are more, for all that is known.
    fn is_full(&self) -> bool {
        let (received, max) = (self.listing.received(), self.max_rows as u64);
        match self.listing.reported {
            Some(reported) if reported == received => false,
            Some(reported) if reported > received => received >= max,
            // Only an empty page proves the end.
            _ => received > max,
        }
    }

    /// Where to read on: at the first gap, or behind everything while the end is not known. `None`: the end is reached.
    fn next_offset(&self) -> Option<usize> {
        let received = self.listing.received();
        if self.listing.reported == Some(received) {
            return None;
        }
        let mut end = 0;
        for (&begin, &until) in &self.covered {
            if begin > end {
                break;
            }
            end = end.max(until);
        }
        match self.listing.reported {
            // Everything up to the total was asked for; what is missing then was shifted away.
            Some(total) if received < total && end as u64 >= total => None,
            // More came than the total admits to, or there is none: only an empty page proves the end.
            _ => Some(end),
        }
    }
}

fn incomplete(offset: usize, error: &FetchError) -> FetchError {
    FetchError::Incomplete(format!("the page at offset {offset} failed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_distinct_and_in_order() {
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..200 {
            let (mut rows, mut expected) = (Rows::new(), BTreeMap::new());
            for number in 0..random.u32(..40) {
                let identity = if random.u32(..200) < round { random.u32(..30) } else { number };
                rows.insert(identity, number);
                expected.insert(identity, number);
                assert_eq!((rows.len(), rows.is_empty()), (expected.len(), false));
            }
            assert_eq!(rows.into_sorted(), expected.into_iter().collect::<Vec<_>>());
        }
    }
}
