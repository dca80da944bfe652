//! The manual page and the completions under deploy are what clap makes of the command line's definition; the package's
//! other files fit the program.
//!
//! `UPDATE=1 cargo test --test it manual` writes the manual page and the completions anew.

use std::{collections::BTreeSet, fs, path::PathBuf};

use btcpool_exporter::{
    cli::Cli,
    config::{Config, Overrides},
};
use clap::{Arg, Command, CommandFactory as _, ValueHint};
use clap_complete::Shell;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use crate::support::golden;

/// When the manual page was last changed, for its foot.
const DATE: &str = "2026-11-23";

const NAME: &str = "btcpool-exporter";

/// What stands in the manual page behind the commands: a heading and its entries, each with what it is about.
const SECTIONS: [(&str, &[(&str, &str)]); 4] = [
    (
        "FILES",
        &[
            (
                "/etc/btcpool-exporter/btcpool.yml",
                "The configuration that the service of the Debian package reads. Everybody can read it: keys do not belong there.",
            ),
            (
                "/etc/btcpool-exporter/keys/NAME",
                "A key of the pool, for the service; only root can read it. The service finds it at the place below, and \
                 has to be restarted when it came or changed.",
            ),
            (
                "/run/credentials/btcpool-exporter.service/keys_NAME",
                "The same as the service sees it, for api_key_file in the configuration.",
            ),
            ("/etc/default/btcpool-exporter", "ARGS, the flags of the service."),
            (
                "/usr/share/btcpool-exporter",
                "Rules for Prometheus, templates for Alertmanager, dashboards for Grafana.",
            ),
            (
                "/usr/share/doc/btcpool-exporter/docs",
                "Documents: configuration.md has every key, metrics.md every metric, alerts.md what to do about alerts.",
            ),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            (
                "BTCPOOL__...",
                "A key of the configuration: its path, joined by two underscores, as in BTCPOOL__API__TIMEOUT=30s or \
                 BTCPOOL__ACCOUNTS__FARM_A__API_KEY_FILE=/run/secrets/farm_a. It goes over the file; flags go over it.",
            ),
            ("LISTEN_FDS, LISTEN_PID", "Sockets that systemd hands over; used with --web.systemd-socket."),
            (
                "NOTIFY_SOCKET",
                "Where serve and demo tell a service manager that they are ready, reload or stop, and how it goes.",
            ),
            (
                "WATCHDOG_USEC, WATCHDOG_PID",
                "How long the service manager waits for a sign of life. One is given each half of that time, as long as \
                 the program's own loops turn; it does not matter whether the pool answers.",
            ),
        ],
    ),
    (
        "EXIT STATUS",
        &[
            ("0", "It went well; for serve and demo: a signal ended it."),
            (
                "1",
                "It failed while running: an address is taken, an endpoint failed, the exporter asked is not healthy.",
            ),
            ("2", "Bad usage or bad configuration; nothing was done."),
        ],
    ),
    (
        "SIGNALS",
        &[
            ("SIGTERM, SIGINT", "Stops within 10 seconds; a second one stops at once."),
            (
                "SIGHUP",
                "serve reads the configuration, the key files and the web configuration again. What is not valid changes \
                 nothing; the log says why.",
            ),
        ],
    ),
];

/// The command line as it is, with what a shell can complete told where the definition leaves it open.
fn command() -> Command {
    fn hinted(command: Command) -> Command {
        let command = command.mut_args(|arg| match arg.get_id().as_str() {
            "web_config_file" => arg.value_hint(ValueHint::FilePath),
            "log_level" => arg.value_parser(["debug", "info", "warn", "error"]).hide_possible_values(true),
            "log_format" => arg.value_parser(["logfmt", "json"]).hide_possible_values(true),
            _ => arg,
        });
        command.mut_subcommands(hinted)
    }
    hinted(Cli::command())
}

/// What a command takes beside the flags of every command.
fn own<'a>(command: &'a Command, of: &'a Command) -> impl Iterator<Item = &'a Arg> {
    let common: BTreeSet<_> = command.get_arguments().map(|arg| arg.get_id().clone()).collect();
    of.get_arguments().filter(move |arg| !common.contains(arg.get_id()))
}

fn synopsis(command: &Command) -> String {
    let forms = command.get_subcommands().map(|sub| {
        let name = sub.get_name();
        let name = if name == "serve" { "[serve]" } else { name };
        let own = own(command, sub).map(|arg| {
            let value = arg.get_value_names().map(|names| format!(" <{}>", names[0])).unwrap_or_default();
            let value = if arg.get_action().takes_values() { value } else { String::new() };
            format!(" [--{}{value}]", arg.get_long().unwrap())
        });
        format!("{NAME} {name}{} [FLAG...]", own.collect::<String>())
    });
    forms.collect::<Vec<_>>().join("\n")
}

fn manual() -> String {
    let command = command();
    let man = Man::new(command.clone().override_usage(synopsis(&command)))
        .title(NAME.to_uppercase())
        .date(DATE)
        .source(format!("{NAME} {}", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    man.render_synopsis_section(&mut page).unwrap();
    man.render_description_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    roff.text([roman("Flags may stand before or behind the command.")]);
    roff.to_writer(&mut page).unwrap();
    for sub in command.get_subcommands() {
        let mut roff = Roff::new();
        roff.control("SS", [sub.get_name()]);
        roff.text([roman(sub.get_about().unwrap().to_string())]);
        roff.to_writer(&mut page).unwrap();
        let own: Vec<_> = own(&command, sub).cloned().collect();
        if !own.is_empty() {
            let only = Command::new("own").disable_help_flag(true).args(own);
            Man::new(only).render_options_section(&mut page).unwrap();
        }
    }
    let mut roff = Roff::new();
    for (heading, entries) in SECTIONS {
        roff.control("SH", [heading]);
        for (entry, about) in entries {
            roff.control("TP", []);
            roff.text([bold(*entry)]);
            roff.text([roman(*about)]);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([
        bold("prometheus"),
        roman("(1), "),
        bold("promtool"),
        roman("(1), "),
        bold("systemctl"),
        roman("(1), "),
        bold("journalctl"),
        roman("(1)"),
    ]);
    roff.control("PP", []);
    roff.text([roman("https://github.com/btcpool-exporter/btcpool-exporter")]);
    roff.to_writer(&mut page).unwrap();
    // Each part was written as a page of its own: their beginnings are one, and the options of a command no section.
    let page = String::from_utf8(page).unwrap();
    let mut seen = BTreeSet::new();
    let lines = page.lines().filter(|line| {
        let begins = line.starts_with(".ie ") || line.starts_with(".el ") || *line == ".SH OPTIONS";
        !begins || seen.insert(line.to_owned())
    });
    // The groups of the flags are no sections of their own, either.
    let groups: BTreeSet<_> = command.get_arguments().filter_map(Arg::get_help_heading).collect();
    let group = |line: &str| groups.iter().find(|group| line == format!(".SH {}", group.to_uppercase()));
    lines.map(|line| group(line).map_or_else(|| format!("{line}\n"), |group| format!(".SS {group}\n"))).collect()
}

fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), NAME, &mut script);
    let script = String::from_utf8(script).unwrap();
    match shell {
        // A hyphen in the program's name is one thing where the command is looked for, and another where it is found.
        Shell::Bash => script.replace("btcpool__subcmd__exporter", "btcpool__exporter"),
        Shell::Fish => {
            // It would have fish's argparse find the command, which refuses flags with dots in their names.
            let (begin, end) = (
                "function __fish_btcpool_exporter_global_optspecs",
                "function __fish_btcpool_exporter_using_subcommand",
            );
            let begin = script[..script.find(begin).unwrap()].rfind('#').unwrap();
            let end = script.find(end).unwrap();
            format!("{}{}\n{}", &script[..begin], needs_command(), &script[end..])
        }
        _ => script,
    }
}

/// The function of fish by which the completions find out whether there is a command already, and which.
fn needs_command() -> String {
    let command = command();
    let valued = command.get_arguments().filter(|arg| arg.get_action().takes_values());
    let valued: Vec<_> = valued.map(|arg| format!("--{}", arg.get_long().unwrap())).collect();
    format!(
        "\
# The command, if there is one: the first word that is neither a flag nor a flag's value.
function __fish_btcpool_exporter_needs_command
    set -l words (commandline -opc)
    set -e words[1]
    set -l flag
    for word in $words
        if test -n \"$flag\"
            set flag
            continue
        end
        switch $word
            case {}
                set flag $word
            case '-*'
            case '*'
                echo $word
                return 1
        end
    end
    return 0
end
",
        valued.join(" ")
    )
}

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn read(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn manual_and_completions_are_current() {
    for (file, expected) in [
        ("deploy/man/btcpool-exporter.1", manual()),
        ("deploy/completions/btcpool-exporter.bash", completions(Shell::Bash)),
        ("deploy/completions/_btcpool-exporter", completions(Shell::Zsh)),
        ("deploy/completions/btcpool-exporter.fish", completions(Shell::Fish)),
    ] {
        golden::check(file, &expected);
    }
}

#[test]
fn package_configuration_is_valid() {
    let shipped = read("deploy/debian/btcpool.yml");
    let config = Config::from_yaml("btcpool.yml", &shipped, &Overrides::default()).unwrap();
    assert!(config.accounts.is_empty() && config.warnings.is_empty());
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    fs::write(&key, "0a1b2c-3d4e5f\n").unwrap();
    let (_, example) = shipped.split_once("# In place of the line above:\n#\n").unwrap();
    let example: String = example.lines().map(|line| format!("{}\n", line.strip_prefix("# ").unwrap())).collect();
    let seen = "/run/credentials/btcpool-exporter.service/keys_farm_a";
    assert!(example.contains(seen), "{example}");
    let example = example.replace(seen, key.to_str().unwrap());
    let config = Config::from_yaml("example", &example, &Overrides::default()).unwrap();
    let targets: Vec<_> = config.targets().map(|(target, _)| target.to_string()).collect();
    assert_eq!(targets, ["farm_a BTC", "farm_a LTC"]);
}

#[test]
fn package_has_this_version() {
    let changelog = read("deploy/debian/changelog");
    let expected = format!("{NAME} ({}-", env!("CARGO_PKG_VERSION"));
    assert!(changelog.starts_with(&expected), "{changelog}");
}

#[test]
fn service_files_name_real_flags() {
    let command = command();
    let known: BTreeSet<_> = [&command]
        .into_iter()
        .chain(command.get_subcommands())
        .flat_map(|command| command.get_arguments().filter_map(|arg| arg.get_long()))
        .collect();
    for file in [
        "deploy/systemd/btcpool-exporter.service",
        "deploy/systemd/socket/btcpool-exporter-web.socket",
        "deploy/debian/btcpool-exporter.default",
        "deploy/debian/btcpool.yml",
    ] {
        let text = read(file);
        let flags = text.split(|c: char| c.is_whitespace() || "\"=`".contains(c));
        let flags: Vec<_> = flags.filter_map(|word| word.strip_prefix("--")).collect();
        assert!(!flags.is_empty(), "{file}");
        assert_eq!(flags.iter().find(|&flag| !known.contains(flag)), None, "{file}");
    }
}
