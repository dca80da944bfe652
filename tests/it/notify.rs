//! What the program tells a service manager, read by one that these tests are: no systemd is needed.

use std::{
    fs,
    io::ErrorKind,
    net::{TcpListener, TcpStream},
    os::unix::net::UnixDatagram,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use sd_notify::NotifyState;
use tempfile::TempDir;
use wiremock::ResponseTemplate;

use crate::harness::{self, KEY, PATIENCE, Pool, Program, program, run};

/// A service manager: whoever it starts finds its socket in the environment.
struct Manager {
    folder: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        Self { folder, socket }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("notify")
    }

    fn starts(&self, mut command: Command) -> Program {
        Program::start({
            command.env("NOTIFY_SOCKET", self.path());
            command
        })
    }

    /// The next message that comes within that time.
    fn within(&self, time: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let mut message = [0; 4096];
        match self.socket.recv(&mut message) {
            Ok(length) => Some(String::from_utf8(message[..length].to_vec()).unwrap()),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
                None
            }
        }
    }

    fn next(&self) -> String {
        self.within(PATIENCE).expect("nothing is told")
    }

    /// The next message that is no status.
    fn next_event(&self) -> String {
        loop {
            let message = self.next();
            if !message.starts_with("STATUS=") {
                return message;
            }
        }
    }

    /// Reads statuses, and nothing else, until it is that one.
    fn until_status(&self, wanted: &str) {
        loop {
            let message = self.next();
            let status = message.strip_prefix("STATUS=").unwrap_or_else(|| panic!("not a status: {message}"));
            if status.trim_end() == wanted {
                return;
            }
        }
    }
}

fn serve(base_url: &str, more: &[&str]) -> Command {
    let mut command = program(&[&["--web.listen-address", "127.0.0.1:0"], more].concat());
    command.env("BTCPOOL__API__BASE_URL", base_url).env("BTCPOOL__API__REQUESTS_PER_SECOND", "1000");
    command
}

fn microseconds() -> i128 {
    match NotifyState::monotonic_usec_now().unwrap() {
        NotifyState::MonotonicUsec(now) => now,
        other => panic!("{other}"),
    }
}

const STOPPING: &str = "STOPPING=1\nSTATUS=stopping\n";

/// A reload, of which nothing is told but that it begins and ends.
fn reload(manager: &Manager, exporter: &Program) {
    let before = microseconds();
    exporter.signal("HUP");
    let message = manager.next_event();
    let since = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{message}"));
    let since: i128 = since.trim_end().parse().unwrap();
    assert!((before..=microseconds()).contains(&since), "{before} {since}");
    assert_eq!(manager.next_event(), "READY=1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn start_reload_and_stop_are_notified() {
    let (pool, manager) = (Pool::start().await, Manager::new());
    pool.responds("workers", ResponseTemplate::new(500)).await;
    pool.answers_samples().await;
    let file = manager.folder.path().join("config.yml");
    let write = |text: &str| fs::write(&file, text).unwrap();
    write(&format!("accounts: {{ farm: {{ api_key: {KEY} }} }}\n"));
    let mut exporter = manager.starts(serve(&pool.base_url(), &["--config.file", file.to_str().unwrap()]));
    assert_eq!(manager.next(), "READY=1\n");
    // By now it listens.
    TcpStream::connect(exporter.address()).unwrap();
    manager.until_status("accounts: 1; endpoints: 4 answer, 1 fail, 0 not asked yet");

    write("accounts: {{{\n");
    reload(&manager, &exporter);
    let failed = "accounts: 1; endpoints: 4 answer, 1 fail, 0 not asked yet; the last reload failed";
    manager.until_status(failed);

    write(&format!(
        "accounts:\n  farm: {{ api_key: {KEY} }}\n  other: {{ api_key: other, workers: {{ enabled: false }} }}\n"
    ));
    reload(&manager, &exporter);
    manager.until_status("accounts: 2; endpoints: 7 answer, 1 fail, 0 not asked yet");

    exporter.signal("TERM");
    assert_eq!(manager.next(), STOPPING);
    assert_eq!(exporter.end().0, Some(0), "{}", exporter.log());
    // Nothing more, and no sign of life, as nobody asked for one.
    assert_eq!(manager.within(Duration::from_millis(10)), None);
}

#[test]
fn demo_notifies_too() {
    let manager = Manager::new();
    let mut demo = manager.starts(program(&["demo", "--web.listen-address", "127.0.0.1:0"]));
    assert_eq!(manager.next(), "READY=1\n");
    TcpStream::connect(demo.address()).unwrap();
    // How many endpoints have answered by now depends on the machine.
    let status = manager.next();
    assert!(status.starts_with("STATUS=accounts: 5; endpoints: "), "{status}");
    demo.signal("INT");
    assert_eq!(manager.next_event(), STOPPING);
    assert_eq!(demo.end().0, Some(0), "{}", demo.log());
}

/// How long the manager of these tests waits for a sign of life.
const WATCHDOG: Duration = Duration::from_millis(300);

fn watched(command: &mut Command) -> &mut Command {
    command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn watchdog_pings_while_alive() {
    let (pool, manager) = (Pool::start().await, Manager::new());
    pool.answers_samples().await;
    let mut command = serve(&pool.base_url(), &[]);
    watched(&mut command);
    let mut exporter = manager.starts(command);
    assert_eq!(manager.next(), "READY=1\n");
    let sign = || assert_eq!(manager.next_event(), "WATCHDOG=1\n");
    sign();
    let begin = Instant::now();
    for _ in 0..6 {
        sign();
    }
    // Neither much too often nor never: each half of the time, give or take what a busy machine takes.
    assert!(begin.elapsed() > WATCHDOG * 2, "{:?}", begin.elapsed());

    // A process that hangs gives none.
    exporter.signal("STOP");
    let process = procfs::process::Process::new(exporter.id().cast_signed()).unwrap();
    let begin = Instant::now();
    while process.stat().unwrap().state != 'T' {
        assert!(begin.elapsed() < PATIENCE, "it does not stand still");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    while manager.within(Duration::from_millis(1)).is_some() {}
    assert_eq!(manager.within(WATCHDOG * 3), None);
    exporter.signal("CONT");
    sign();

    exporter.signal("TERM");
    while manager.next_event() != STOPPING {}
    assert_eq!(exporter.end().0, Some(0), "{}", exporter.log());
}

/// As where a service starts the exporter below itself: what was asked of the service was not asked of the exporter.
#[tokio::test(flavor = "multi_thread")]
async fn watchdog_of_another_process_is_ignored() {
    let (pool, manager) = (Pool::start().await, Manager::new());
    pool.answers_samples().await;
    let mut command = serve(&pool.base_url(), &[]);
    watched(&mut command).env("WATCHDOG_PID", "1");
    let mut exporter = manager.starts(command);
    assert_eq!(manager.next(), "READY=1\n");
    manager.until_status("accounts: 0; endpoints: 1 answer, 0 fail, 0 not asked yet");
    assert_eq!(manager.within(WATCHDOG * 2), None);
    exporter.signal("TERM");
    assert_eq!(manager.next(), STOPPING);
    assert_eq!(exporter.end().0, Some(0), "{}", exporter.log());
}

/// What is no service tells nothing, as where a unit runs it before its own program.
#[test]
fn short_commands_notify_nothing() {
    let manager = Manager::new();
    let base_url = format!("http://{}/", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    for (arguments, code) in [(&["check"][..], 0), (&["once"], 1), (&["health", "--url", &base_url], 1)] {
        let mut command = program(arguments);
        command.env("NOTIFY_SOCKET", manager.path()).env("BTCPOOL__API__BASE_URL", &base_url);
        assert_eq!(run(command).0, Some(code), "{arguments:?}");
    }
    assert_eq!(manager.within(Duration::from_millis(10)), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_manager_is_reported_once() {
    let pool = Pool::start().await;
    pool.answers_samples().await;
    let mut command = serve(&pool.base_url(), &[]);
    watched(command.env("NOTIFY_SOCKET", Path::new("/nowhere/notify")));
    let mut exporter = Program::start(command);
    exporter.until_log("everything was polled once");
    exporter.signal("TERM");
    assert_eq!(exporter.end().0, Some(0), "{}", exporter.log());
    let complaint = "level=warn message=\"the service manager cannot be told how it goes (NOTIFY_SOCKET)\" \
                     error=\"No such file or directory (os error 2)\"";
    assert_eq!(exporter.log().matches(complaint).count(), 1, "{}", exporter.log());
}

/// Whoever writes to a manager that hangs waits for ever.
#[tokio::test(flavor = "multi_thread")]
async fn hanging_manager_blocks_nothing() {
    let (pool, manager) = (Pool::start().await, Manager::new());
    pool.answers_samples().await;
    let full = UnixDatagram::unbound().unwrap();
    full.connect(manager.path()).unwrap();
    full.set_nonblocking(true).unwrap();
    while full.send(b"full").is_ok() {}
    let mut command = serve(&pool.base_url(), &[]);
    watched(&mut command);
    let mut exporter = manager.starts(command);
    let address = exporter.address();
    exporter.until_log("everything was polled once");
    let response = harness::http().get(format!("http://{address}/-/healthy")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    exporter.signal("TERM");
    let (code, took) = exporter.end();
    assert_eq!(code, Some(0), "{}", exporter.log());
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(exporter.log().contains("message=stopped"), "{}", exporter.log());
}
