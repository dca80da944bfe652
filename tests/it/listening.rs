//! `:PORT`, whatever the kernel's default for IPv6 sockets is.

use std::process::{Command, Stdio};

use axum::{Router, routing::get};
use btcpool_exporter::server;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::harness::{Program, program, run};

/// A command in a network of its own, where IPv6 sockets take no IPv4 unless told to.
fn in_own_network(command: &Command) -> Command {
    let script = "ip link set lo up && echo 1 >/proc/sys/net/ipv6/bindv6only && exec \"$@\"";
    wrap(&["unshare", "--map-root-user", "--net", "sh", "-c", script, "sh"], command)
}

/// A command run by another.
fn wrap(words: &[&str], command: &Command) -> Command {
    let mut wrapped = Command::new(words[0]);
    wrapped.args(&words[1..]).arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    wrapped
}

#[test]
fn a_port_alone_takes_ipv4_and_ipv6() {
    let mut probe = in_own_network(&Command::new("true"));
    if !probe.stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        if cfg!(feature = "e2e") {
            panic!("no namespaces here, so that net.ipv6.bindv6only cannot be set");
        }
        return;
    }
    for address in [":20993", "[::]:20993"] {
        let mut demo = Program::start(in_own_network(&program(&["demo", "--web.listen-address", address])));
        assert_eq!(demo.address(), "[::]:20993");
        let pid = demo.id().to_string();
        let health = |arguments: &[&str]| {
            let command = program(&[&["health"], arguments].concat());
            run(wrap(&["nsenter", "--target", &pid, "--user", "--net", "--preserve-credentials", "--"], &command))
        };
        let healthy = (Some(0), "healthy\n".to_owned(), String::new());
        for host in ["127.0.0.1", "[::1]"] {
            let url = format!("http://{host}:20993/-/healthy");
            assert_eq!(health(&["--url", &url]), healthy, "{address}, {host}");
        }
        assert_eq!(health(&["--web.listen-address", address]), healthy, "{address}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_asks_ipv6_where_ipv4_refuses() {
    let listener = match TcpListener::bind("[::1]:0").await {
        Ok(listener) => listener,
        Err(error) => {
            if cfg!(feature = "e2e") {
                panic!("no IPv6 here: {error}");
            }
            return;
        }
    };
    let port = listener.local_addr().unwrap().port();
    let router = Router::new().route("/-/healthy", get(|| async { "healthy\n" }));
    let serving = tokio::spawn(async move { server::serve(listener, router, CancellationToken::new()).await });
    let health = async |address: String| {
        let command = move || run(program(&["health", "--web.listen-address", &address]));
        tokio::task::spawn_blocking(command).await.unwrap()
    };
    assert_eq!(health(format!(":{port}")).await, (Some(0), "healthy\n".to_owned(), String::new()));
    // An address that is named is the only one that is asked.
    let (code, output, error) = health(format!("127.0.0.1:{port}")).await;
    let hint = "is the exporter running, with the same --config.file and --web.listen-address?";
    let expected =
        format!("btcpool-exporter: http://127.0.0.1:{port}/-/healthy: Connection refused (os error 111); {hint}\n");
    assert_eq!((code, output.as_str(), error), (Some(1), "", expected));
    serving.abort();
}
