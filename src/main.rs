//! Arguments, command, exit code.

use std::{io::Write as _, process::ExitCode};

use btcpool_exporter::{
    cli::{Cli, Command},
    commands::{self, Failure},
    process,
};
use clap::Parser as _;
use listenfd::ListenFd;

/// So many threads do the work at the most, however many processors there are, unless somebody says otherwise.
const MOST_THREADS: usize = 4;

fn main() -> ExitCode {
    process::forbid_core_dumps();
    process::allow_open_files();
    // It takes variables out of the environment, so nothing else may run yet.
    let sockets = ListenFd::from_env();
    let cli = Cli::parse();
    let threads = match threads() {
        Ok(threads) => threads,
        Err(failure) => return complain(&failure),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&Failure::Running(format!("the runtime cannot be started: {error}"))),
    };
    let (command, flags) = cli.parts();
    let result = runtime.block_on(async {
        match command {
            Command::Serve { .. } => commands::serve(&flags, sockets).await,
            Command::Check { probe, .. } => commands::unless_stopped(commands::check(&flags, probe)).await,
            Command::Once { output, .. } => commands::unless_stopped(commands::once(&flags, &output)).await,
            Command::Demo { demo, .. } => commands::demo(&flags, &demo).await,
            Command::Backfill { backfill, .. } => commands::unless_stopped(commands::backfill(&flags, &backfill)).await,
            Command::Health { url, .. } => commands::unless_stopped(commands::health(&flags, url)).await,
        }
    });
    // A name that is being resolved cannot be interrupted, and must not hold up the end.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => complain(&failure),
    }
}

/// How many threads do the work.
fn threads() -> Result<usize, Failure> {
    let Some(text) = std::env::var_os("TOKIO_WORKER_THREADS") else {
        // More threads than that would have nothing to do, and each has memory of its own.
        return Ok(std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_THREADS)));
    };
    let threads = text.to_str().and_then(|text| text.parse().ok()).filter(|&threads| threads > 0);
    threads.ok_or_else(|| Failure::Usage(format!("TOKIO_WORKER_THREADS: {text:?} is not a whole number above 0")))
}

fn complain(failure: &Failure) -> ExitCode {
    let text: String = failure.to_string().lines().map(|line| format!("btcpool-exporter: {line}\n")).collect();
    // With standard error closed there is nobody to tell.
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(failure.exit_code())
}
