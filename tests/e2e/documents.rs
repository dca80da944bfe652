//! The commands of the documents: every block of them is run as it stands there, or says why not.
//!
//! Comments directly before a block, a line each, say what is done with it:
//!
//! | comment | what is done |
//! |---|---|
//! | none | the block is run |
//! | `<!-- not run: REASON -->` | nothing |
//! | `<!-- run by: FILE -->` | nothing here: FILE runs the same, and has the first two words of each command |
//! | ``<!-- run by: FILE, as `TEXT` -->`` | the same, if it goes by another name there: FILE has TEXT |
//! | `<!-- run after: COMMAND -->` | run after this command, which brings about what the text presupposes |
//! | `<!-- run beside: FLAGS -->` | run beside an exporter of `btcpool.yml` with these flags, in the demo's place |
//! | `<!-- run for a moment -->` | run; its last command has no end, and is stopped when it has said something |
//!
//! The blocks of a document are run one after the other, each in a shell of its own, in a folder like a copy of the
//! repository in which somebody has written a `btcpool.yml` for two accounts, `farm_a` and `farm_b`. At port 10058 is
//! the demo, at port 9093 an Alertmanager, which amtool knows of. An answer of 400 or more is a failure to curl.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{
    programs::{Alertmanager, Demo, Ended, Exporter, exporter, run, run_long},
    support::pool::reader,
};

/// How long a block may take.
const LIMIT: &str = "60s";

/// What is run, and no other program: whatever a document names could as well install something, or never end.
const PROGRAMS: [&str; 15] = [
    "amtool",
    "btcpool-exporter",
    "cat",
    "cp",
    "curl",
    "date",
    "echo",
    "env",
    "grep",
    "ls",
    "mkdir",
    "printf",
    "promtool",
    "sed",
    "wc",
];

/// What becomes of a command that was left running in the background: it has to say something, to be still there a
/// moment later, and to end well when it is told to.
const FOR_A_MOMENT: &str = "program=$!
trap 'cat moment.log' EXIT
until [ -s moment.log ]; do kill -0 $program; sleep 0.1; done
sleep 1
kill $program
wait $program
";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a folder that are Markdown; with those in the folders below, if it is to be searched deeply.
fn markdown(folder: &Path, deeply: bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() && deeply && path.file_name() != Some(OsStr::new("target")) {
            found.extend(markdown(&path, true));
        } else if kind.is_file() && path.extension() == Some(OsStr::new("md")) {
            found.push(path);
        }
    }
    found
}

/// A fenced block, without the indentation of the list in which it may stand.
struct Block {
    /// The line of the document on which it begins.
    line: usize,
    /// What it says it is.
    kind: String,
    text: String,
    /// What the comments directly before it say; the nearest one first.
    comments: Vec<String>,
}

/// What is to be done with a block.
enum Plan {
    NotRun,
    RunBy { file: String, text: Option<String> },
    Run(How),
}

/// How a block is run.
#[derive(Default)]
struct How {
    after: Option<String>,
    beside: Option<String>,
    for_a_moment: bool,
}

fn blocks(document: &str) -> Vec<Block> {
    let lines: Vec<_> = document.lines().collect();
    let mut blocks = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let opening = lines[at].trim_start();
        let kind = opening.trim_start_matches('`');
        let fence = opening.len() - kind.len();
        if fence < 3 || kind.contains('`') {
            at += 1;
            continue;
        }
        let indentation = lines[at].len() - opening.len();
        let before = lines[..at].iter().rev();
        let comments = before.map_while(|line| line.trim().strip_prefix("<!--")?.strip_suffix("-->"));
        let rest = &lines[at + 1..];
        let closes = |line: &str| line.len() >= fence && line.bytes().all(|byte| byte == b'`');
        let length = rest.iter().position(|line| closes(line.trim())).unwrap_or(rest.len());
        let spaces = " ".repeat(indentation);
        let text = rest[..length].iter().map(|line| line.strip_prefix(spaces.as_str()).unwrap_or(line.trim_start()));
        blocks.push(Block {
            line: at + 1,
            kind: kind.trim().to_owned(),
            text: text.collect::<Vec<_>>().join("\n"),
            comments: comments.map(|comment| comment.trim().to_owned()).collect(),
        });
        at += length + 2;
    }
    blocks
}

impl Block {
    /// Its commands, a line each, without comments.
    fn commands(&self) -> Vec<String> {
        let whole = self.text.replace("\\\n", " ");
        let lines = whole.lines().map(|line| match line.split_once(" #") {
            // Unless it is in quotes.
            Some((command, comment)) if !comment.contains(['"', '\'']) => command.trim(),
            _ => line.trim(),
        });
        lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
    }

    /// What its comments say; what is wrong with them, or with it, if something is.
    fn plan(&self) -> Result<Plan, String> {
        let commands = self.commands();
        if commands.is_empty() {
            return Err("there is no command in it".to_owned());
        }
        let mut how = How::default();
        for comment in &self.comments {
            if let Some(command) = comment.strip_prefix("run after: ") {
                how.after = Some(command.to_owned());
            } else if let Some(flags) = comment.strip_prefix("run beside: ") {
                how.beside = Some(flags.to_owned());
            } else if comment == "run for a moment" {
                how.for_a_moment = true;
            } else if self.comments.len() > 1 {
                return Err(format!("<!-- {comment} --> cannot stand beside another comment"));
            } else if let Some(reason) = comment.strip_prefix("not run:") {
                let reason = reason.trim();
                return if reason.is_empty() { Err("it says no reason".to_owned()) } else { Ok(Plan::NotRun) };
            } else if let Some(by) = comment.strip_prefix("run by: ") {
                let (file, text) = match by.split_once(", as `") {
                    Some((file, text)) => (file, Some(text.trim_end_matches('`').to_owned())),
                    None => (by, None),
                };
                return Ok(Plan::RunBy { file: file.to_owned(), text });
            } else {
                return Err(format!("<!-- {comment} --> is nothing that one can say of commands"));
            }
        }
        for command in commands {
            // Behind the variables that are set for it.
            let program = command.split_whitespace().find(|word| !word.contains('=')).unwrap_or_default();
            if !PROGRAMS.contains(&program) {
                return Err(format!("it would run {program}: write <!-- not run: REASON --> before it"));
            }
        }
        Ok(Plan::Run(how))
    }

    /// The same, where what runs it elsewhere is held to that.
    fn judge(&self) -> Result<Plan, String> {
        let plan = self.plan()?;
        if let Plan::RunBy { file, text } = &plan {
            let content = fs::read_to_string(repository().join(file)).map_err(|error| format!("{file}: {error}"))?;
            let commands = self.commands();
            let wanted: Vec<&str> = match text {
                Some(text) => vec![text.as_str()],
                None => commands.iter().flat_map(|command| command.split_whitespace().take(2)).collect(),
            };
            let missing: Vec<_> = wanted.into_iter().filter(|wanted| !content.contains(*wanted)).collect();
            if !missing.is_empty() {
                return Err(format!("{file} does not have {missing:?}"));
            }
        }
        Ok(plan)
    }
}

/// The documents by their names in the repository, each with its blocks. The Russian README is not among them: another
/// test holds its blocks to be those of the English one.
fn documents() -> Vec<(String, Vec<Block>)> {
    let top = [("", false), ("docs", false), ("deploy", true), ("fuzz", true), ("tests", true)];
    let mut files: Vec<_> =
        top.into_iter().flat_map(|(folder, deeply)| markdown(&repository().join(folder), deeply)).collect();
    files.sort();
    files.retain(|file| !file.ends_with("README.ru.md"));
    let read = |file: PathBuf| {
        let name = file.strip_prefix(repository()).unwrap().display().to_string();
        (name, blocks(&fs::read_to_string(file).unwrap()))
    };
    files.into_iter().map(read).collect()
}

/// How a shell's commands are announced.
const COMMANDS: &str = "sh";

#[test]
fn command_blocks_run_or_say_why_not() {
    let mut wrong = Vec::new();
    let (mut run, mut elsewhere, mut not_run) = (0, 0, 0);
    for (document, blocks) in documents() {
        for block in blocks {
            let judged = match block.kind.as_str() {
                COMMANDS => block.judge(),
                "bash" | "console" | "shell" => Err(format!("write {COMMANDS}, and commands without a prompt")),
                "" => Err(format!("write what it is: {COMMANDS}, text or another language")),
                _ => continue,
            };
            match judged {
                Ok(Plan::Run(_)) => run += 1,
                Ok(Plan::RunBy { .. }) => elsewhere += 1,
                Ok(Plan::NotRun) => not_run += 1,
                Err(error) => wrong.push(format!("{document}:{}: {error}", block.line)),
            }
        }
    }
    println!("blocks of commands: {run} are run here, {elsewhere} elsewhere, {not_run} say why not");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(run > 35 && elsewhere > 10 && not_run > 10, "where are the blocks?");
}

#[test]
fn broken_blocks_are_noticed() {
    let judged = |comments: &str, commands: &str| {
        let document = format!("Text.\n\n{comments}   ```sh\n   {commands}\n   ```\n");
        let found = blocks(&document);
        let [block] = &found[..] else { panic!("{document}") };
        assert_eq!(block.text, commands);
        block.judge()
    };
    for (comments, commands) in [
        ("", "promtool --version"),
        ("", "A=1 curl -s x # y"),
        ("<!-- not run: because -->\n", "apt install x"),
        ("<!-- run by: tests/run -->\n", "cargo clippy --locked"),
        ("<!-- run by: tests/run, as `fuzz/run 5` -->\n", "fuzz/run"),
        ("   <!-- run after: true -->\n<!-- run for a moment -->\n", "curl x"),
    ] {
        assert!(judged(comments, commands).is_ok(), "{comments}{commands}");
    }
    for (comments, commands) in [
        ("", "apt install x"),
        ("", "# nothing"),
        ("<!-- not run: -->\n", "curl x"),
        ("<!-- notrun: because -->\n", "curl x"),
        ("<!-- not run: because -->\n\n", "apt install x"),
        ("<!-- not run: because -->\n<!-- run for a moment -->\n", "curl x"),
        ("<!-- run by: tests/none -->\n", "cargo clippy"),
        ("<!-- run by: tests/run -->\n", "kubectl apply"),
        ("<!-- run by: tests/run, as `kubectl apply` -->\n", "cargo clippy"),
    ] {
        assert!(judged(comments, commands).is_err(), "{comments}{commands}");
    }
}

/// Where a document's blocks are run.
struct Desk {
    folder: TempDir,
    /// `HOST:PORT` of the demo and of Alertmanager.
    demo: String,
    alertmanager: String,
}

impl Desk {
    fn new(demo: &Demo, alertmanager: &Alertmanager) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for entry in fs::read_dir(repository()).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            // What is written in is a copy.
            if !name.starts_with('.') && !["deploy", "target"].contains(&name.as_str()) {
                symlink(entry.path(), path(&name)).unwrap();
            }
        }
        let mut copy = Command::new("cp");
        copy.arg("--archive").arg(repository().join("deploy")).arg(folder.path());
        let copied = run(copy, "");
        assert!(copied.status.success(), "{}", copied.errors);

        for name in ["bin", "secrets", "metrics2", ".config/amtool", ".config/prometheus"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        symlink(exporter(), path("bin/btcpool-exporter")).unwrap();
        // Debian's amtool looks at another place than its authors'.
        for name in [".config/amtool/config.yml", ".config/prometheus/amtool.yml"] {
            fs::write(path(name), format!("alertmanager.url: http://{}\n", alertmanager.address())).unwrap();
        }
        fs::write(path(".curlrc"), "fail\nshow-error\n").unwrap();

        let twin = reader::twin();
        let accounts = twin.farm().accounts.iter().filter(|account| account.key_valid);
        let mut yaml = format!("api: {{ base_url: \"{}\", requests_per_second: 100 }}\naccounts:\n", demo.pool_url);
        for (name, account) in ["farm_a", "farm_b"].into_iter().zip(accounts) {
            let key = path("secrets").join(name);
            fs::write(&key, format!("{}\n", account.key)).unwrap();
            let currencies: Vec<_> = account.holdings.iter().map(|holding| holding.currency.as_str()).collect();
            yaml += &format!(
                "  {name}: {{ api_key_file: \"{}\", currencies: [{}] }}\n",
                key.display(),
                currencies.join(", ")
            );
        }
        fs::write(path("btcpool.yml"), yaml).unwrap();
        Self { demo: demo.address().to_owned(), alertmanager: alertmanager.address().to_owned(), folder }
    }

    /// Where something is that is named as on a reader's machine.
    fn here(&self, script: &str, exporter: &str) -> String {
        let folder = self.folder.path().display();
        script
            .replace("localhost:10058", exporter)
            .replace("localhost:9093", &self.alertmanager)
            .replace("/run/secrets/", &format!("{folder}/secrets/"))
            .replace("/etc/btcpool-exporter/", &format!("{folder}/"))
            .replace("/var/lib/prometheus/metrics2", &format!("{folder}/metrics2"))
    }

    async fn run(&self, block: &Block, how: &How) -> Ended {
        let config = self.folder.path().join("btcpool.yml");
        let beside = match &how.beside {
            Some(flags) => {
                let mut all = vec!["--config.file", config.to_str().unwrap()];
                all.extend(flags.split_whitespace());
                Some(Exporter::start(&all).await)
            }
            None => None,
        };
        let address = beside.as_ref().map_or_else(|| self.demo.clone(), |exporter| exporter.address.to_string());
        let mut script = format!("exec 2>&1\n{}\n", how.after.as_deref().unwrap_or_default());
        if how.for_a_moment {
            let mut commands = block.commands();
            let last = commands.pop().unwrap();
            script += &commands.join("\n");
            script += "\nrm -f moment.log\nexport BTCPOOL__WEB__LISTEN_ADDRESSES=127.0.0.1:0\n";
            script += &format!("{last} >moment.log 2>&1 &\n{FOR_A_MOMENT}");
        } else {
            script += &block.text;
        }
        let mut path = self.folder.path().join("bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5s", LIMIT, "bash", "-euo", "pipefail", "-c", &self.here(&script, &address)]);
        command.current_dir(self.folder.path()).env_clear().env("PATH", path);
        command.env("HOME", self.folder.path()).env("USER", "reader");
        // So that a command that looks for the exporter of this machine finds this one.
        command.env("BTCPOOL__WEB__LISTEN_ADDRESSES", &address);
        run_long(command)
    }
}

#[tokio::test]
async fn the_commands_of_the_documents_work() {
    let demo = Demo::start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("alertmanager.yml");
    fs::write(&config, "route: { receiver: nobody }\nreceivers: [ { name: nobody } ]\n").unwrap();
    let alertmanager = Alertmanager::start(&config).await;
    let mut failures = Vec::new();
    let mut count = 0;
    for (document, blocks) in documents() {
        let mut desk = None;
        for block in blocks.iter().filter(|block| block.kind == COMMANDS) {
            // What is wrong with one is the other test's.
            let Ok(Plan::Run(how)) = block.plan() else { continue };
            let desk = desk.get_or_insert_with(|| Desk::new(&demo, &alertmanager));
            let ended = desk.run(block, &how).await;
            count += 1;
            if !ended.status.success() {
                let (line, status, text) = (block.line, ended.status, &block.text);
                let late = if status.code() == Some(124) { ", because it did not end" } else { "" };
                let said = format!("{}{}", ended.output, ended.errors);
                failures.push(format!("{document}:{line}: {status}{late}\n{text}\n-- it said:\n{said}"));
            }
        }
    }
    println!("blocks of commands that were run: {count}");
    assert!(failures.is_empty(), "{} of {count} failed\n\n{}", failures.len(), failures.join("\n\n"));
    assert!(count > 35, "{count} were run");
}
