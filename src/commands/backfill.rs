//! `backfill`: reads every account's histories and writes them as OpenMetrics.

mod progress;

use std::{
    fs::{self, File, Permissions},
    io::{self, BufWriter},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::civil::Date;
use tempfile::TempPath;

use self::progress::Progress;
use super::{Failure, load, of_other_shards, start_log_to, warn_of_config};
use crate::{
    Exporter,
    backfill::{Backfill, Terms, Totals},
    cli,
    client::FetchError,
    clock::Clock,
    collector::past,
    config::{Account, Config, units},
    history::{day_start, pool_day},
    model::{AccountName, Endpoint, Reason, Target, UnixSeconds},
};

/// The longest `--step`: what is repeated more rarely is not repeated.
const LONGEST_STEP: Duration = Duration::from_secs(24 * 60 * 60);

/// Writes the income and the payouts of the days before.
///
/// # Errors
///
/// [`Failure`]; `Running` when an account's histories could not be had. Nothing is written then.
pub async fn backfill(flags: &cli::Flags, wanted: &cli::Backfilling) -> Result<(), Failure> {
    let config = load(flags)?;
    let clock = Clock::system();
    let terms = terms(&config, wanted, clock)?;
    let targets = targets(&config, &wanted.accounts)?;
    let output = Output::of(&wanted.output)?;
    let mut backfill = Backfill::new(terms.clone(), &output.directory()).map_err(|error| output.refuse(&error))?;
    let mut progress = Progress::begin(targets.len());
    start_log_to(&config, progress.log());
    warn_of_config(&config);
    let exporter = Exporter::new(config, clock).map_err(Failure::running)?;
    let requests = || exporter.telemetry.snapshot().requests.values().sum::<u64>();
    for (target, account) in targets {
        let reading = exporter.poller.histories(&target, &account.key);
        let (income, payments) = progress
            .during(&target, reading, requests)
            .await
            .map_err(|(endpoint, error)| failed(&target, endpoint, &error))?;
        if income.unread > 0 || payments.unread > 0 {
            tracing::warn!(
                account = target.account.as_str(),
                currency = target.currency.as_str(),
                days = income.unread,
                payments = payments.unread,
                "rows without a readable date or id: sums that they may belong to are left out",
            );
        }
        let (days, paid) = (income.days.len(), payments.by_id.len());
        let of = target.clone();
        // Not on this thread: a signal must be heard meanwhile.
        let added = tokio::task::spawn_blocking(move || backfill.add(&of, income, payments).map(|()| backfill));
        backfill = added.await.map_err(Failure::running)?.map_err(|error| output.failed(&error))?;
        progress.done(&target, days, paid);
    }
    let totals = output.write(backfill).await?;
    progress.end(&wanted.output, totals, requests());
    Ok(())
}

/// Which time is told of, and how.
fn terms(config: &Config, wanted: &cli::Backfilling, clock: Clock) -> Result<Terms, Failure> {
    let now = clock.now();
    let day_utc_offset = config.api.day_utc_offset;
    let today = pool_day(now, day_utc_offset);
    let to = match wanted.to {
        None => today.yesterday().map_err(Failure::running)?,
        Some(to) if to > today => {
            return Err(Failure::Usage(format!("--to {to} is yet to come; with the pool it is {today}")));
        }
        Some(to) => to,
    };
    if let Some(from) = wanted.from.filter(|&from| from > to) {
        return Err(Failure::Usage(format!("--from {from} is later than {to}, the last day that is written (--to)")));
    }
    let until = if to == today { Some(UnixSeconds(now.as_second())) } else { end_of(to, day_utc_offset) };
    let until = until.ok_or_else(|| Failure::Usage(format!("--to {to} is no day of this calendar")))?;
    let step = wanted.step.as_deref().map(|text| {
        units::duration(text)
            .filter(|step| step.subsec_nanos() == 0 && (1..=LONGEST_STEP.as_secs()).contains(&step.as_secs()))
            .ok_or_else(|| {
                Failure::Usage(format!("--step {text:?} is not a duration of whole seconds from 1s to 24h, such as 5m"))
            })
    });
    let labels = wanted.labels.iter().map(|text| label(text)).collect::<Result<Vec<_>, _>>()?;
    if let Some((name, _)) = labels
        .iter()
        .enumerate()
        .find_map(|(n, label)| labels[..n].iter().any(|(name, _)| *name == label.0).then_some(label))
    {
        return Err(Failure::Usage(format!("--label {name} is given twice")));
    }
    Ok(Terms { from: wanted.from, until, day_utc_offset, step: step.transpose()?, labels })
}

fn end_of(day: Date, day_utc_offset: jiff::tz::Offset) -> Option<UnixSeconds> {
    day_start(day.tomorrow().ok()?, day_utc_offset)
}

/// A label from the command line.
fn label(text: &str) -> Result<(String, String), Failure> {
    let usage = |why: &str| Failure::Usage(format!("--label {text:?} {why}"));
    let (name, value) = text.split_once('=').ok_or_else(|| usage("is not of the form NAME=VALUE"))?;
    let sound = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(sound) || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(usage("does not begin with a label's name: letters, digits and _, no digit first"));
    }
    let own = past::families().any(|(_, family, _)| family.labels.contains(&name));
    if own || name.starts_with("__") {
        return Err(usage("names a label that is not free"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Whose histories are read.
fn targets(config: &Config, names: &[String]) -> Result<Vec<(Target, Account)>, Failure> {
    let known: Vec<_> = config.accounts.keys().map(AccountName::as_str).collect();
    if known.is_empty() {
        let nothing = || {
            "no account is configured; name a file that has accounts with --config.file, or set BTCPOOL__ACCOUNTS__..."
                .to_owned()
        };
        return Err(Failure::Usage(of_other_shards(config).unwrap_or_else(nothing)));
    }
    if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
        let message = format!("--account {name:?} is not configured here; known: {}", known.join(", "));
        return Err(Failure::Usage(message));
    }
    let wanted = |target: &Target| names.is_empty() || names.iter().any(|name| name == target.account.as_str());
    let targets = config.targets().filter(|(target, _)| wanted(target));
    Ok(targets.map(|(target, account)| (target, account.clone())).collect())
}

fn failed(target: &Target, endpoint: Endpoint, error: &FetchError) -> Failure {
    let mut message = format!("{target}: nothing was written, because {endpoint} failed: {error}");
    if error.reason() == Reason::Auth {
        message += " To leave the account out, name the others with --account; check --probe tries every key.";
    }
    Failure::Running(message)
}

/// Where the text goes.
enum Output {
    Standard,
    /// The file's final place, all links followed.
    File(PathBuf),
}

impl Output {
    fn of(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self::Standard);
        }
        let usage = |why: &str| Failure::Usage(format!("--output {}: {why}", path.display()));
        match fs::canonicalize(path) {
            // It would be replaced by a file: a pipe or /dev/null must not be.
            Ok(place) if !place.is_file() => Err(usage("is there and is no file; - is standard output")),
            Ok(place) => Ok(Self::File(place)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.file_name().is_some() => {
                Ok(Self::File(path.to_owned()))
            }
            Err(error) => Err(usage(&error.to_string())),
        }
    }

    /// Where there is room for as much as is written.
    fn directory(&self) -> PathBuf {
        match self {
            Self::Standard => std::env::temp_dir(),
            Self::File(place) => match place.parent() {
                Some(parent) if parent != Path::new("") => parent.to_owned(),
                _ => PathBuf::from("."),
            },
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Standard => "standard output".to_owned(),
            Self::File(place) => place.display().to_string(),
        }
    }

    /// Nothing was done yet.
    fn refuse(&self, error: &io::Error) -> Failure {
        Failure::Usage(format!("--output: no file can be made in {}: {error}", self.directory().display()))
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::Running(format!("cannot write to {}: {error}", self.name()))
    }

    /// Writes all of it; a file is put in its place when it is whole, and until then has another name.
    async fn write(&self, backfill: Backfill) -> Result<Totals, Failure> {
        let result = match self {
            Self::Standard => match tokio::task::spawn_blocking(move || to_standard_output(backfill)).await {
                Ok(result) => result,
                Err(error) => return Err(Failure::running(error)),
            },
            Self::File(place) => self.replace(place, backfill).await,
        };
        result.map_err(|error| self.failed(&error))
    }

    async fn replace(&self, place: &Path, backfill: Backfill) -> io::Result<Totals> {
        let mut builder = tempfile::Builder::new();
        // Readable for whom the umask lets read: another user's Prometheus may be the one to read it.
        builder.prefix(".backfill-").permissions(Permissions::from_mode(0o666));
        let (file, name): (File, TempPath) = builder.tempfile_in(self.directory())?.into_parts();
        let writing = tokio::task::spawn_blocking(move || {
            let mut out = BufWriter::new(&file);
            let totals = backfill.write_to(&mut out)?;
            drop(out);
            file.sync_all().map(|()| totals)
        });
        // Given up here, by a signal say, the file leaves with its name.
        let totals = writing.await.map_err(io::Error::other)??;
        name.persist(place)?;
        Ok(totals)
    }
}

fn to_standard_output(backfill: Backfill) -> io::Result<Totals> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let totals = backfill.totals();
    match backfill.write_to(&mut out) {
        // Whoever read this has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            // What is buffered has nobody to go to.
            let _ = out.into_parts();
            Ok(totals)
        }
        result => result,
    }
}
