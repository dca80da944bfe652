//! The whole program, as a process, beside nginx that serves the same bytes from a file: what a scrape costs in processor
//! time, unchanged and with one account changed; a whole cycle of a poll and a scrape; how long scrapes take while polls
//! end; memory; how long it takes from the start to the first answer; the length of the program.
//!
//! `tests/bench/run` installs nginx and runs it. Linux only: processor time is read from /proc.

#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark talks, and may fail"
)]

mod pool;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use pool::Pool;

const PROGRAM: &str = env!("CARGO_BIN_EXE_btcpool-exporter");
const ROUNDS: usize = 15;

/// What Prometheus 3 asks with.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

/// A process that is killed in the end.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// The processor time of it and its children, in nanoseconds; without threads that have ended, which those that answer
    /// scrapes do not.
    fn cpu(&self) -> u64 {
        let of = |pid: &str| -> u64 {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
            let spent = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok());
            spent.map(|text| text.split(' ').next().unwrap().parse::<u64>().unwrap()).sum()
        };
        let own = self.0.id().to_string();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
        of(&own) + children.split_whitespace().map(of).sum::<u64>()
    }

    /// The processor time of all its threads that ever were, in milliseconds, ten at a time.
    fn cpu_of_all(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        // utime and stime, in hundredths of a second.
        fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap() * 10.0).sum()
    }

    /// The most memory that was resident so far, in MiB.
    fn peak(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
    }
}

/// A connection that is kept.
struct Scraper {
    stream: TcpStream,
    request: String,
    body: Vec<u8>,
}

impl Scraper {
    fn new(address: SocketAddr, path: &str, encoding: &str) -> Self {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: bench\r\nAccept: {ACCEPT}\r\nAccept-Encoding: {encoding}\r\n\r\n");
        let stream = until(|| TcpStream::connect(address).ok());
        stream.set_nodelay(true).unwrap();
        Self { stream, request, body: Vec::new() }
    }

    /// Scrapes; the body is in `body`. How long it is, and how long it took.
    fn scrape(&mut self) -> (usize, Duration) {
        let began = Instant::now();
        self.stream.write_all(self.request.as_bytes()).unwrap();
        let mut head = Vec::new();
        let mut chunk = [0; 4096];
        let (end, total) = loop {
            let read = self.stream.read(&mut chunk).unwrap();
            assert!(read > 0, "the connection was closed");
            head.extend_from_slice(&chunk[..read]);
            let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let text = String::from_utf8_lossy(&head[..end]).to_ascii_lowercase();
            assert!(text.starts_with("http/1.1 200"), "{text}");
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap();
            break (end + 4, length.trim().parse::<usize>().unwrap());
        };
        self.body.resize(total, 0);
        let begun = head.len() - end;
        self.body[..begun].copy_from_slice(&head[end..]);
        self.stream.read_exact(&mut self.body[begun..]).unwrap();
        (total, began.elapsed())
    }
}

fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited for two minutes");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn percentile(times: &mut [f64], share: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    times[((times.len() - 1) as f64 * share).round() as usize]
}

fn median(times: &mut [f64]) -> f64 {
    percentile(times, 0.5)
}

struct Bench {
    folder: tempfile::TempDir,
    pool: Pool,
}

impl Bench {
    /// The program, with accounts that have so many workers each, polled so often; once all of them were polled.
    fn exporter(&self, accounts: usize, workers: usize, live: &str) -> (Process, SocketAddr) {
        self.pool.workers.store(workers, Ordering::Relaxed);
        let before = self.pool.asked.load(Ordering::Relaxed);
        let (process, address) = self.exporter_at_once(accounts, live);
        until(|| {
            (self.pool.asked.load(Ordering::Relaxed) - before >= accounts * workers.div_ceil(pool::PAGE)).then_some(())
        });
        // One account at a time, which leaves no trace: what is asked for as a whole is made anew after each poll.
        for account in 0..accounts {
            let mut scraper = Scraper::new(address, &format!("/metrics?account=farm_{account:03}"), "identity");
            until(|| {
                scraper.scrape();
                String::from_utf8_lossy(&scraper.body).contains("\nbtcpool_worker_active{").then_some(())
            });
        }
        (process, address)
    }

    fn exporter_at_once(&self, accounts: usize, live: &str) -> (Process, SocketAddr) {
        let (path, address) = (self.folder.path().join("config.yaml"), free_address());
        fs::write(&path, pool::configuration(self.pool.address, accounts, live)).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["serve", "--config.file"]).arg(&path).arg(format!("--web.listen-address={address}"));
        (Process::start(&mut command), address)
    }

    /// nginx with these bytes, as a file and packed.
    fn nginx(&self, plain: &[u8], packed: &[u8]) -> (Process, SocketAddr) {
        let (folder, address) = (self.folder.path().join("nginx"), free_address());
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("metrics"), plain).unwrap();
        fs::write(folder.join("metrics.gz"), packed).unwrap();
        let root = folder.display();
        let text = format!(
            "daemon off;\nworker_processes 1;\npid {root}/pid;\nerror_log /dev/null;\n\
             events {{ worker_connections 768; }}\n\
             http {{\n  access_log off;\n  sendfile on;\n  tcp_nopush on;\n  keepalive_requests 1000000;\n  \
             default_type text/plain;\n  gzip_static on;\n  server {{ listen {address}; root {root}; }}\n}}\n"
        );
        fs::write(folder.join("nginx.conf"), text).unwrap();
        // Its worker has another owner, who is to read this.
        let everybody: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(self.folder.path(), everybody).unwrap();
        let mut command = Command::new("nginx");
        (Process::start(command.arg("-c").arg(folder.join("nginx.conf"))), address)
    }
}

/// What was asked for; `None` for what is only told.
fn tell(what: &str, figure: f64, unit: &str, limit: Option<f64>) {
    let limit = limit.map_or_else(String::new, |limit| {
        let verdict = if figure <= limit { "kept" } else { "MISSED" };
        format!("at most {limit:.2}: {verdict}")
    });
    println!("{what:58} {figure:9.2} {unit:4} {limit}");
}

/// Processor time for each of `count` scrapes, in milliseconds.
fn cost(process: &Process, scraper: &mut Scraper, count: usize) -> f64 {
    let before = process.cpu();
    (0..count).for_each(|_| _ = scraper.scrape());
    (process.cpu() - before) as f64 / 1e6 / count as f64
}

/// Scrapes in even intervals for a while: how long each took, in milliseconds.
fn steadily(scraper: &mut Scraper, interval: Duration, count: u32) -> Vec<f64> {
    let began = Instant::now();
    let scrape = |number| {
        std::thread::sleep((began + interval * number).saturating_duration_since(Instant::now()));
        scraper.scrape().1.as_secs_f64() * 1e3
    };
    (0..count).map(scrape).collect()
}

impl Bench {
    fn unchanged(&self) {
        let (exporter, address) = self.exporter(50, 200, "1h");
        let [mut plain, mut packed] = ["identity", "gzip"].map(|encoding| Scraper::new(address, "/metrics", encoding));
        let lengths = [plain.scrape().0, packed.scrape().0];
        let (nginx, address) = self.nginx(&plain.body, &packed.body);
        let [mut their_plain, mut their_packed] =
            ["identity", "gzip"].map(|encoding| Scraper::new(address, "/metrics", encoding));
        assert_eq!([their_plain.scrape().0, their_packed.scrape().0], lengths);
        println!("10,000 workers of 50 accounts: {} bytes, packed {}", lengths[0], lengths[1]);
        let mut costs = [const { Vec::new() }; 4];
        for _ in 0..ROUNDS {
            costs[0].push(cost(&nginx, &mut their_packed, 200));
            costs[1].push(cost(&exporter, &mut packed, 200));
            costs[2].push(cost(&nginx, &mut their_plain, 40));
            costs[3].push(cost(&exporter, &mut plain, 40));
        }
        let [nginx_packed, own_packed, nginx_plain, own_plain] = costs.map(|mut costs| median(&mut costs));
        tell("nginx, a gzip scrape", nginx_packed, "ms", None);
        tell("an unchanged gzip scrape", own_packed, "ms", Some(nginx_packed));
        tell("nginx, a plain scrape", nginx_plain, "ms", None);
        tell("an unchanged plain scrape", own_plain, "ms", Some(nginx_plain * 1.1));
    }

    /// Scrapes while accounts are polled, an account of fifty between any two.
    fn one_changed(&self) {
        const WHILE: Duration = Duration::from_secs(25);
        let (exporter, address) = self.exporter(50, 200, &format!("{}s", WHILE.as_secs()));
        // Nobody has asked for everything yet, so that nothing is made for anybody.
        let before = exporter.cpu_of_all();
        std::thread::sleep(WHILE);
        let polls = exporter.cpu_of_all() - before;
        let mut scraper = Scraper::new(address, "/metrics", "gzip");
        scraper.scrape();
        let (before, began) = (exporter.cpu_of_all(), Instant::now());
        let scrapes = steadily(&mut scraper, WHILE / 50, 50).len();
        std::thread::sleep(WHILE.saturating_sub(began.elapsed()));
        let each = (exporter.cpu_of_all() - before - polls) / scrapes as f64;
        assert!(each > 0.0, "the machine is too restless to tell");
        tell("a scrape and its refresh, one account of 50 changed", each, "ms", Some(5.0));
        let mut times = steadily(&mut scraper, WHILE / 1250, 1250);
        drop(exporter);

        let (_exporter, address) = self.exporter(50, 200, "1h");
        let mut scraper = Scraper::new(address, "/metrics", "gzip");
        let mut idle = steadily(&mut scraper, WHILE / 1250, 1250);
        let idle = [median(&mut idle), percentile(&mut idle, 0.99)];
        tell("how long an unchanged gzip scrape takes, median", idle[0], "ms", None);
        tell("the same, p99", idle[1], "ms", None);
        tell(
            "how long it takes while accounts are polled, p99",
            percentile(&mut times, 0.99),
            "ms",
            Some(3.0 * idle[1]),
        );
    }

    /// A poll of 100 pages and a scrape.
    fn cycle(&self) {
        const INTERVAL: Duration = Duration::from_secs(2);
        const CYCLES: u32 = 15;
        let (exporter, address) = self.exporter(1, 10_000, "2s");
        let mut scraper = Scraper::new(address, "/metrics", "gzip");
        scraper.scrape();
        let (before, asked) = (exporter.cpu_of_all(), self.pool.asked.load(Ordering::Relaxed));
        steadily(&mut scraper, INTERVAL, CYCLES);
        let polls = (self.pool.asked.load(Ordering::Relaxed) - asked) as f64 / 100.0;
        let each = (exporter.cpu_of_all() - before) / polls;
        tell("a cycle: a poll of 10,000 workers and a scrape", each, "ms", Some(40.0));
    }

    /// As many polls as an hour has, and a scrape every tenth of a second.
    fn memory(&self, accounts: usize, limit: f64) {
        let (exporter, address) = self.exporter(accounts, 200, "1s");
        let mut scraper = Scraper::new(address, "/metrics", "gzip");
        let asked = self.pool.asked.load(Ordering::Relaxed);
        while self.pool.asked.load(Ordering::Relaxed) - asked < 60 * 2 * accounts {
            steadily(&mut scraper, Duration::from_millis(100), 10);
        }
        let workers = accounts * 200;
        tell(&format!("{workers} workers: most memory, 60 polls"), exporter.peak(), "MiB", Some(limit));
    }

    fn fifty_thousand(&self) {
        let (_exporter, address) = self.exporter(250, 200, "1h");
        let mut scraper = Scraper::new(address, "/metrics", "gzip");
        scraper.scrape();
        let mut times: Vec<_> = (0..301).map(|_| scraper.scrape().1.as_secs_f64() * 1e3).collect();
        tell("50,000 workers: how long a gzip scrape takes, median", median(&mut times), "ms", Some(2.0));
    }

    fn start(&self) {
        let start = |_| {
            let began = Instant::now();
            let (_exporter, address) = self.exporter_at_once(1, "1h");
            let mut stream = until(|| TcpStream::connect(address).ok());
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\n\r\n").unwrap();
            let mut status = [0; 12];
            stream.read_exact(&mut status).unwrap();
            assert_eq!(&status, b"HTTP/1.1 200");
            began.elapsed().as_secs_f64() * 1e3
        };
        let mut times: Vec<_> = (0..21).map(start).collect();
        tell("from the start to the first answer, median", median(&mut times), "ms", Some(20.0));
    }
}

#[tokio::main]
async fn main() {
    let pool = Pool::start().await;
    let bench = Bench { folder: tempfile::tempdir().unwrap(), pool };
    tokio::task::spawn_blocking(move || {
        let wanted: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
        let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|own| own == name);
        let works: [(&str, &dyn Fn()); 6] = [
            ("unchanged", &|| bench.unchanged()),
            ("changed", &|| bench.one_changed()),
            ("cycle", &|| bench.cycle()),
            ("large", &|| bench.fifty_thousand()),
            ("start", &|| bench.start()),
            ("memory", &|| {
                [(1, 10.0), (50, 20.0), (250, 70.0)].into_iter().for_each(|(a, most)| bench.memory(a, most));
            }),
        ];
        works.into_iter().filter(|(name, _)| is_wanted(name)).for_each(|(_, work)| work());
        let length = fs::metadata(Path::new(PROGRAM)).unwrap().len();
        tell("the program", length as f64 / 1e6, "MB", Some(6.0));
    })
    .await
    .unwrap();
}
