//! `backfill`: reads every account's histories and writes them as OpenMetrics.

mod progress;

use std::{
    io::{self, BufWriter},
    time::Duration,
};

use jiff::civil::Date;

use self::progress::Progress;
use super::{Failure, load, of_other_shards, output::Output, start_log_to, warn_of_config};
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
    let output = Output::parse(&wanted.output)?;
    let mut backfill = Backfill::new(terms.clone(), &output.directory()).map_err(|error| output.refuse(&error))?;
    let mut progress = Progress::begin(targets.len());
    start_log_to(&config, progress.log());
    warn_of_config(&config);
    let exporter = Exporter::new(config, clock)?;
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
    let totals = write(&output, backfill).await?;
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

/// Writes all of it.
async fn write(output: &Output, backfill: Backfill) -> Result<Totals, Failure> {
    let result = match output {
        Output::Standard => match tokio::task::spawn_blocking(move || to_standard_output(backfill)).await {
            Ok(result) => result,
            Err(error) => return Err(Failure::running(error)),
        },
        Output::File(place) => match output.temporary_file(place) {
            Ok(file) => file.replace(move |out| backfill.write_to(out)).await,
            Err(error) => Err(error),
        },
    };
    result.map_err(|error| output.failed(&error))
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
