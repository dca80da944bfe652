//! Programs as processes: the exporter, and the programs that it works with.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::{BufRead as _, BufReader, Read, Write as _},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{PATIENCE, POLL_INTERVAL};

/// How long the output of a process that has ended may take to arrive. A child of its own may keep it open.
const LAST_OUTPUT: Duration = Duration::from_secs(2);

/// A command with an empty standard input.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

/// A command that runs an exporter without the variables of this process that it would read.
pub fn exporter(program: impl AsRef<OsStr>) -> Command {
    let mut command = command(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let own = ["BTCPOOL", "NOTIFY_SOCKET", "WATCHDOG_"].iter().any(|begin| text.starts_with(begin));
        if own || text.to_ascii_lowercase().ends_with("_proxy") {
            command.env_remove(name);
        }
    }
    command
}

/// The lines that a process writes to one of its streams.
pub struct Output {
    shared: Arc<(Mutex<Written>, Condvar)>,
    /// The length of what [`Output::until`] has read.
    read: usize,
}

#[derive(Default)]
struct Written {
    text: String,
    closed: bool,
}

impl Output {
    fn new(stream: impl Read + Send + 'static) -> Self {
        let shared = Arc::<(Mutex<Written>, Condvar)>::default();
        let writer = shared.clone();
        thread::spawn(move || {
            let mut lines = BufReader::new(stream);
            let mut line = Vec::new();
            loop {
                line.clear();
                let more = lines.read_until(b'\n', &mut line).is_ok_and(|count| count > 0);
                let mut written = writer.0.lock().unwrap_or_else(PoisonError::into_inner);
                written.closed = !more;
                written.text += &String::from_utf8_lossy(&line);
                if more && !line.ends_with(b"\n") {
                    written.text.push('\n');
                }
                writer.1.notify_all();
                if !more {
                    return;
                }
            }
        });
        Self { shared, read: 0 }
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        self.written().text.clone()
    }

    /// The next unread line that holds a text, and whether more lines may come.
    fn next(read: &mut usize, written: &Written, wanted: &str) -> (Option<String>, bool) {
        for line in written.text[*read..].split_inclusive('\n') {
            *read += line.len();
            if line.contains(wanted) {
                return (Some(line.trim_end_matches('\n').to_owned()), true);
            }
        }
        (None, !written.closed)
    }

    /// Waits for the next line that holds a text, and returns it. Blocks the thread.
    pub fn until(&mut self, wanted: &str) -> String {
        let begin = Instant::now();
        let shared = self.shared.clone();
        let mut written = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (line, more) = Self::next(&mut self.read, &written, wanted);
            if let Some(line) = line {
                return line;
            }
            let left = PATIENCE.saturating_sub(begin.elapsed());
            assert!(more && !left.is_zero(), "no line with {wanted:?}:\n{}", written.text);
            written = shared.1.wait_timeout(written, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The same without blocking the thread.
    pub async fn until_async(&mut self, wanted: &str) -> String {
        // A plain loop: a future that holds an async closure is not `Send` for every lifetime.
        let begin = Instant::now();
        loop {
            {
                let written = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
                let (line, more) = Self::next(&mut self.read, &written, wanted);
                if let Some(line) = line {
                    return line;
                }
                assert!(more && begin.elapsed() < PATIENCE, "no line with {wanted:?}:\n{}", written.text);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// A running process. It is killed when this is dropped.
pub struct Program {
    name: String,
    child: Child,
    stdout: Output,
    stderr: Output,
}

impl Program {
    /// Starts a command.
    pub fn start(mut command: Command) -> Self {
        let name = command.get_program().display().to_string();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        Self { name, child, stdout: Output::new(stdout), stderr: Output::new(stderr) }
    }

    /// Starts a command, and returns its standard input, too.
    pub fn start_with_input(mut command: Command) -> (Self, ChildStdin) {
        command.stdin(Stdio::piped());
        let mut program = Self::start(command);
        let input = program.child.stdin.take().unwrap();
        (program, input)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The log so far: what came on standard error.
    pub fn log(&self) -> String {
        self.stderr.text()
    }

    /// Standard output.
    pub fn output(&mut self) -> &mut Output {
        &mut self.stdout
    }

    /// Waits for the next line of the log that holds a text, and returns it. Blocks the thread.
    pub fn until_log(&mut self, wanted: &str) -> String {
        self.stderr.until(wanted)
    }

    /// The same without blocking the thread.
    pub async fn until_log_async(&mut self, wanted: &str) -> String {
        self.stderr.until_async(wanted).await
    }

    /// Waits for the next address that the exporter listens on. Blocks the thread.
    pub fn address(&mut self) -> String {
        address(&self.until_log(LISTENING))
    }

    /// The same without blocking the thread.
    pub async fn address_async(&mut self) -> String {
        address(&self.until_log_async(LISTENING).await)
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Panics if the process has ended.
    pub fn assert_alive(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{} ended, {status}:\n{}", self.name, self.log());
        }
    }

    /// The largest resident memory so far, in KiB.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The exit status, if the process has ended and its output has arrived.
    fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().unwrap()?;
        let begin = Instant::now();
        while !(self.stdout.written().closed && self.stderr.written().closed) && begin.elapsed() < LAST_OUTPUT {
            thread::sleep(POLL_INTERVAL);
        }
        Some(status)
    }

    /// Waits for the end. Returns the exit code, and how long it took. Blocks the thread.
    pub fn end(&mut self) -> (Option<i32>, Duration) {
        let begin = Instant::now();
        loop {
            let waited = begin.elapsed();
            if let Some(status) = self.ended() {
                return (status.code(), waited);
            }
            assert!(waited < PATIENCE, "{} does not end:\n{}", self.name, self.log());
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Waits for the end without blocking the thread. Panics unless the process succeeded.
    pub async fn end_async(&mut self) {
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.ended() {
                break status;
            }
            assert!(begin.elapsed() < PATIENCE, "{} does not end:\n{}", self.name, self.log());
            tokio::time::sleep(POLL_INTERVAL).await;
        };
        assert!(status.success(), "{}: {status}:\n{}", self.name, self.log());
    }

    /// Asks the process to stop, and waits for its end.
    pub async fn stop(&mut self) {
        self.signal("TERM");
        self.end_async().await;
    }

    /// Kills the process, and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the exporter logs when it listens.
const LISTENING: &str = "message=listening";

fn address(line: &str) -> String {
    line.rsplit_once("address=").unwrap().1.trim().to_owned()
}

/// How a command ended, and what it wrote.
pub struct Ended {
    pub status: ExitStatus,
    pub output: String,
    pub errors: String,
}

/// Runs a command to its end, with a text as its standard input.
pub fn run(patience: Duration, mut command: Command, input: &str) -> Ended {
    let name = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Killed(command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}")));
    let read = |mut from: Box<dyn Read + Send>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).unwrap();
            String::from_utf8(bytes).unwrap()
        })
    };
    let output = read(Box::new(child.0.stdout.take().unwrap()));
    let errors = read(Box::new(child.0.stderr.take().unwrap()));
    let (mut stdin, input) = (child.0.stdin.take().unwrap(), input.to_owned());
    // On a thread: a program that does not read must not block the test. It may also end without reading.
    thread::spawn(move || stdin.write_all(input.as_bytes()));
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.0.try_wait().unwrap() {
            break status;
        }
        assert!(begin.elapsed() < patience, "{name} does not end");
        thread::sleep(POLL_INTERVAL);
    };
    Ended { status, output: output.join().unwrap(), errors: errors.join().unwrap() }
}

/// Kills a process when it is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The fields of a line of the log.
pub fn fields(line: &str) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let mut rest = line;
    while let Some((name, after)) = rest.split_once('=') {
        let mut value = String::new();
        rest = match after.strip_prefix('"') {
            Some(quoted) => {
                let mut characters = quoted.char_indices();
                loop {
                    match characters.next() {
                        Some((_, '\\')) => value.extend(characters.next().map(|(_, escaped)| escaped)),
                        Some((end, '"')) => break &quoted[end + 1..],
                        Some((_, character)) => value.push(character),
                        None => break "",
                    }
                }
            }
            None => {
                let end = after.find(' ').unwrap_or(after.len());
                value.push_str(&after[..end]);
                &after[end..]
            }
        };
        fields.insert(name.trim_start().to_owned(), value);
        rest = rest.trim_start();
    }
    fields
}
