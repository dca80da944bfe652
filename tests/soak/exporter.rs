//! The exporter as a process of its own, so that its memory, its descriptors and its tasks are its own: this program
//! again, started with an argument. It is told what to do on standard input, one word a line, and answers each on
//! standard output.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ChildStdin,
    time::{Duration, SystemTime},
};

use btcpool_exporter::{
    Exporter,
    clock::Clock,
    config::{Config, ConfigError, Overrides},
};
use jiff::Timestamp;
use tokio::{net::TcpListener, runtime::Handle, sync::mpsc};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{Layer as _, filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    BEGIN,
    support::program::{self, Program},
};

/// Starts the exporter instead of the test.
pub const ARGUMENT: &str = "exporter";

/// How fast the simulated time runs: a day in five minutes.
pub const SPEED: f64 = 288.0;

const TASKS: &str = "tasks";
const RELOAD: &str = "reload";

/// The time that both processes have.
pub fn unix_now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

/// The exporter's process: its arguments are the configuration's file and when the simulated time began.
pub async fn run(arguments: &[String]) {
    let [file, started] = arguments else { panic!("a file and a time are needed") };
    let log = tracing_logfmt::builder().with_span_name(false).with_target(false).layer().with_writer(std::io::stderr);
    let filter = Targets::new()
        .with_default(tracing::Level::WARN)
        .with_target(env!("CARGO_PKG_NAME").replace('-', "_"), tracing::Level::INFO);
    tracing_subscriber::registry().with(log.with_filter(filter)).init();
    let since = (unix_now() - started.parse::<f64>().unwrap()) * SPEED;
    let begin: Timestamp = BEGIN.parse().unwrap();
    let clock = Clock::simulated(begin.checked_add(Duration::from_secs_f64(since)).unwrap(), SPEED);
    let file = PathBuf::from(file);
    let load = move || -> Result<Config, ConfigError> {
        Config::from_yaml("soak", &std::fs::read_to_string(&file).unwrap(), &Overrides::default())
    };
    let mut exporter = Exporter::new(load().unwrap(), clock).unwrap();
    let reloader = exporter.reloader(load, false);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    // A thread of its own, so that it is neither a task nor one of the runtime's threads.
    let (sender, mut told) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let obeying = async {
        while let Some(word) = told.recv().await {
            match word.as_str() {
                TASKS => println!("{}", Handle::current().metrics().num_alive_tasks()),
                RELOAD => println!("{:?}", reloader.reload().await),
                other => panic!("{other:?} is not known"),
            }
        }
        // Standard input was closed: that is the end.
        shutdown.cancel();
    };
    let (ended, ()) = tokio::join!(exporter.run(vec![listener], shutdown.clone()), obeying);
    ended.unwrap();
}

/// The exporter's process, seen from the test.
pub struct Child {
    process: Program,
    stdin: ChildStdin,
    configuration: PathBuf,
    address: String,
}

impl Child {
    /// Starts it, with its configuration in a directory.
    pub async fn start(directory: &Path, configuration: &str, started: f64) -> Self {
        let file = directory.join("btcpool.yml");
        std::fs::write(&file, configuration).unwrap();
        let mut command = program::exporter(std::env::current_exe().unwrap());
        command.arg(ARGUMENT).arg(&file).arg(started.to_string());
        // Each arena of the allocator keeps what it once needed, and which thread meets which fault is chance.
        command.env("MALLOC_ARENA_MAX", "2");
        let (process, stdin) = Program::start_with_input(command);
        let mut child = Self { process, stdin, configuration: file, address: String::new() };
        child.address = child.answer().await;
        child
    }

    /// Where it serves.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many tasks there are.
    pub async fn tasks(&mut self) -> usize {
        self.tell(TASKS).await.parse().unwrap()
    }

    /// Reloads with another configuration.
    pub async fn configure(&mut self, configuration: &str) {
        std::fs::write(&self.configuration, configuration).unwrap();
        assert_eq!(self.tell(RELOAD).await, "Ok(())");
    }

    async fn tell(&mut self, word: &str) -> String {
        self.stdin.write_all(format!("{word}\n").as_bytes()).unwrap();
        self.answer().await
    }

    async fn answer(&mut self) -> String {
        self.process.output().until_async("").await
    }

    /// How many connections it has to a URL, as the system knows them.
    pub fn connections_to(&self, url: &str) -> usize {
        let port = url::Url::parse(url).unwrap().port().unwrap();
        let id = self.process.id();
        let table = std::fs::read_to_string(format!("/proc/{id}/net/tcp")).unwrap();
        let ours = sockets(id);
        let connection = |line: &&str| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let remote = fields[2].split_once(':').map(|(_, port)| port);
            remote == Some(format!("{port:04X}").as_str()) && ours.contains(&format!("socket:[{}]", fields[9]))
        };
        table.lines().skip(1).filter(connection).count()
    }

    /// Ends it, and returns its log.
    pub async fn stop(mut self) -> String {
        drop(self.stdin);
        self.process.end_async().await;
        self.process.log()
    }
}

/// The sockets that a process has open, as its descriptors name them.
fn sockets(id: u32) -> std::collections::BTreeSet<String> {
    let descriptors = std::fs::read_dir(format!("/proc/{id}/fd")).unwrap();
    // One may be closed in between.
    let names = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    names.map(|name| name.to_string_lossy().into_owned()).filter(|name| name.starts_with("socket:")).collect()
}
