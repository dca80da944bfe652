//! The command line: definitions only.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use jiff::civil::Date;
use url::Url;

use crate::config::Overrides;

/// The program's name, which each of its commands goes by where a version is told.
const NAME: &str = "btcpool-exporter";

/// What `--version` tells beside the name.
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nrevision ",
    env!("BTCPOOL_EXPORTER_REVISION"),
    "\nrustc ",
    env!("BTCPOOL_EXPORTER_RUSTC"),
);

/// What stands below the flags.
const AFTER_HELP: &str = "\
Examples:
  btcpool-exporter demo                                         A simulated pool, to look around
  btcpool-exporter check --config.file btcpool.yml --probe      Is the configuration right, and each key?
  btcpool-exporter serve --config.file btcpool.yml              Poll and serve
  btcpool-exporter once --config.file btcpool.yml               Poll once and print, for a timer
  btcpool-exporter backfill --config.file btcpool.yml --output past.om
                                                                The days before, for promtool

Exit codes: 0 fine, 1 failed while running, 2 bad usage or bad configuration.
Every key of the configuration can come from the environment, too: BTCPOOL__ACCOUNTS__FARM_A__API_KEY_FILE=...";

/// Prometheus exporter for the BTCpool.kz mining pool.
///
/// Polls every method of the pool's API for each configured account and currency, and serves what it learned to
/// Prometheus. Without a command it serves. Keys are never given on the command line: they belong in files or the
/// environment.
#[derive(Debug, Parser)]
#[command(name = NAME, version, long_version = LONG_VERSION)]
#[command(arg_required_else_help = false, propagate_version = true, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags of every command.
    #[command(flatten)]
    pub flags: Flags,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Polls the pool and serves the metrics (the default)
    #[command(display_name = NAME)]
    Serve {
        /// Flags behind the command.
        #[command(flatten)]
        flags: Flags,
    },
    /// Validates the configuration and prints what will be polled
    #[command(display_name = NAME)]
    Check {
        /// Asks summary_data once for each account and currency, and prints a line for each; exit code 1 if any fails
        #[arg(long)]
        probe: bool,
        /// Flags behind the command.
        #[command(flatten)]
        flags: Flags,
    },
    /// Polls everything once and prints the metrics, fit for node_exporter's textfile collector; exit code 1 if any
    /// endpoint failed
    #[command(display_name = NAME)]
    Once {
        /// Where to write; the file is replaced when the new one is complete. - is standard output
        #[arg(long, value_name = "FILE", default_value = "-")]
        output: PathBuf,
        /// Flags behind the command.
        #[command(flatten)]
        flags: Flags,
    },
    /// Runs against a simulated pool on this machine: no key, no network, no configuration
    #[command(display_name = NAME)]
    Demo {
        /// What is simulated.
        #[command(flatten)]
        demo: Simulation,
        /// Flags behind the command.
        #[command(flatten)]
        flags: Flags,
    },
    /// Writes the income and the payouts of the days before as OpenMetrics with timestamps, for promtool
    #[command(display_name = NAME)]
    Backfill {
        /// What is written.
        #[command(flatten)]
        backfill: Backfilling,
        /// Flags behind the command.
        #[command(flatten)]
        flags: Flags,
    },
    /// Asks a running exporter whether it is healthy; exit code 0 or 1
    #[command(display_name = NAME)]
    Health {
        /// Where its /-/healthy is; found by the other flags when not given
        #[arg(long, value_name = "URL")]
        url: Option<Url>,
        /// Flags behind the command.
        #[command(flatten)]
        flags: Flags,
    },
}

/// Flags of `demo`.
#[derive(Debug, Args)]
pub struct Simulation {
    /// How fast the simulated pool's time runs: 1 is real time, 60 an hour in a minute, 0 stands still
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub speed: f64,
    /// Which of the possible pools is simulated; the same number gives the same machines and the same noise
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
}

/// Flags of `backfill`.
#[derive(Debug, Args)]
pub struct Backfilling {
    /// First day that is written, as the pool counts days [default: the first that the pool tells of]
    #[arg(long, value_name = "DATE")]
    pub from: Option<Date>,
    /// Last day that is written; today: up to now [default: yesterday]
    #[arg(long, value_name = "DATE")]
    pub to: Option<Date>,
    /// Only this account; may be given several times [default: all of them]
    #[arg(long = "account", value_name = "NAME")]
    pub accounts: Vec<String>,
    /// Where to write; the file appears when it is whole. - is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
    /// Repeat each value this often while it lasts, such as 5m [default: one sample where there is something new]
    #[arg(long, value_name = "DURATION")]
    pub step: Option<String>,
    /// A further label of every series, such as job=btcpool; may be given several times
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub labels: Vec<String>,
}

/// What the flags of every command are sorted by in the help.
const CONFIGURATION: &str = "Configuration";
const SERVING: &str = "Serving";
const LOG: &str = "Log";

/// Flags of every command. They may stand before or behind it.
#[derive(Debug, Clone, Default, Args)]
pub struct Flags {
    /// The configuration file (YAML) [default: none: pool statistics, and accounts from the environment]
    #[arg(long = "config.file", value_name = "FILE", help_heading = CONFIGURATION)]
    pub config_file: Option<PathBuf>,
    /// Reload the configuration when its file, or a key's file, changes
    #[arg(long = "config.enable-auto-reload", help_heading = CONFIGURATION)]
    pub enable_auto_reload: bool,
    /// Where to listen; may be given several times [default: :10058]
    #[arg(long = "web.listen-address", value_name = "HOST:PORT", help_heading = SERVING)]
    pub listen_addresses: Vec<String>,
    /// The path of the metrics [default: /metrics]
    #[arg(long = "web.telemetry-path", value_name = "PATH", help_heading = SERVING)]
    pub telemetry_path: Option<String>,
    /// TLS, users, headers and rate limit of the server, in the form that every official exporter takes
    #[arg(long = "web.config.file", value_name = "FILE", help_heading = SERVING)]
    pub web_config_file: Option<String>,
    /// Requests answered at the same time; more get HTTP 503; 0: no limit [default: 40]
    #[arg(long = "web.max-requests", value_name = "NUMBER", help_heading = SERVING)]
    pub max_requests: Option<String>,
    /// Reload the configuration at POST /-/reload, too; SIGHUP always does
    #[arg(long = "web.enable-lifecycle", help_heading = SERVING)]
    pub enable_lifecycle: bool,
    /// Serve on the sockets that systemd hands over, in place of --web.listen-address
    #[arg(long = "web.systemd-socket", help_heading = SERVING)]
    pub systemd_socket: bool,
    /// The least severity that is logged: debug, info, warn, error [default: info]
    #[arg(long = "log.level", value_name = "LEVEL", help_heading = LOG)]
    pub log_level: Option<String>,
    /// How a line of the log is written: logfmt, json [default: logfmt]
    #[arg(long = "log.format", value_name = "FORMAT", help_heading = LOG)]
    pub log_format: Option<String>,
}

impl Cli {
    /// The command, and the flags that stand before and behind it. clap's own global flags would lose the former where
    /// a flag that may come several times stands in both places.
    pub fn parts(self) -> (Command, Flags) {
        let command = self.command.unwrap_or_else(|| Command::Serve { flags: Flags::default() });
        let (Command::Serve { flags }
        | Command::Check { flags, .. }
        | Command::Once { flags, .. }
        | Command::Demo { flags, .. }
        | Command::Backfill { flags, .. }
        | Command::Health { flags, .. }) = &command;
        let flags = self.flags.and(flags);
        (command, flags)
    }
}

impl Flags {
    /// Both; what is given later goes over what was given before.
    fn and(&self, later: &Self) -> Self {
        let last = |before: &Option<String>, later: &Option<String>| later.clone().or_else(|| before.clone());
        Self {
            config_file: later.config_file.clone().or_else(|| self.config_file.clone()),
            listen_addresses: [&self.listen_addresses[..], &later.listen_addresses].concat(),
            telemetry_path: last(&self.telemetry_path, &later.telemetry_path),
            web_config_file: last(&self.web_config_file, &later.web_config_file),
            enable_lifecycle: self.enable_lifecycle || later.enable_lifecycle,
            systemd_socket: self.systemd_socket || later.systemd_socket,
            enable_auto_reload: self.enable_auto_reload || later.enable_auto_reload,
            max_requests: last(&self.max_requests, &later.max_requests),
            log_level: last(&self.log_level, &later.log_level),
            log_format: last(&self.log_format, &later.log_format),
        }
    }

    /// What goes over the other layers of the configuration.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            listen_addresses: self.listen_addresses.clone(),
            telemetry_path: self.telemetry_path.clone(),
            web_config_file: self.web_config_file.clone(),
            enable_lifecycle: self.enable_lifecycle,
            systemd_socket: self.systemd_socket,
            max_requests: self.max_requests.clone(),
            log_level: self.log_level.clone(),
            log_format: self.log_format.clone(),
        }
    }
}
