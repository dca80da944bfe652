//! The web configuration: what each file comes to, and what is said of each that is broken.
//!
//! `UPDATE=1 cargo test --test it web_config` writes both anew; read the difference before you commit it.

use std::{fs, path::Path};

use btcpool_exporter::{
    config::sources::Sources,
    server::web_config::{ClientAuth, Pem, Tls, WebConfig},
};

use crate::{
    config::told_errors,
    support::{golden, web_files},
};

/// Every value of a configuration, a line for each, and what its files held.
fn values(config: &WebConfig, directory: &Path) -> String {
    let WebConfig { tls, http2, headers, users, rate_limit, warnings } = config;
    let mut lines = Vec::new();
    match tls {
        None => lines.push("no TLS".to_owned()),
        Some(tls) => {
            let Tls { certificate, key, client_auth, client_allowed_sans, .. } = tls;
            let Tls { versions, cipher_suites, kx_groups, prefer_server_cipher_suites, .. } = tls;
            let pem = |pem: &Pem| pem.key;
            lines.push(format!("certificate {}, key {}", pem(certificate), pem(key)));
            lines.push(match client_auth {
                ClientAuth::None => "clients: no certificate".to_owned(),
                ClientAuth::Unverified { required, authorities } => {
                    format!("clients: unverified, required {required}, {:?}", authorities.as_ref().map(pem))
                }
                ClientAuth::Verified { required, authorities } => {
                    format!("clients: verified, required {required}, {}", pem(authorities))
                }
            });
            lines.push(format!("sans {client_allowed_sans:?}"));
            lines.push(format!("versions {:?}", versions.iter().map(|it| it.version).collect::<Vec<_>>()));
            lines.extend(cipher_suites.iter().map(|suite| format!("suite {:?}", suite.suite())));
            lines.push(format!("groups {:?}", kx_groups.iter().map(|group| group.name()).collect::<Vec<_>>()));
            lines.push(format!("the server prefers {prefer_server_cipher_suites}"));
            let loaded = tls.load(&mut Sources::default()).unwrap();
            let authorities = loaded.authorities.map(|authorities| authorities.certificates.len());
            lines.push(format!("loaded {} certificates, authorities {authorities:?}", loaded.certified_key.cert.len()));
            // A server can be built of it.
            let builder = rustls::ServerConfig::builder_with_provider(tls.provider().into());
            builder.with_protocol_versions(versions).unwrap();
        }
    }
    lines.push(format!("http2 {http2}"));
    lines.extend(headers.iter().map(|(name, value)| format!("header {name}: {}", value.to_str().unwrap())));
    for (name, hash) in users {
        lines.push(format!("user {name}: {} {:02x?} {:02x?}", hash.cost(), hash.salt(), hash.expose_digest()));
    }
    lines.extend(rate_limit.iter().map(|limit| format!("a request each {:?}, burst {}", limit.interval, limit.burst)));
    let directory = format!("{}/", directory.display());
    lines.extend(warnings.iter().map(|warning| format!("warning {}", warning.replace(&directory, ""))));
    lines.join("\n") + "\n"
}

#[test]
fn good_files_have_the_expected_values() {
    let directory = web_files::prepare();
    let directory = directory.path().join("good");
    for name in web_files::names("good") {
        let config =
            WebConfig::read(&directory.join(&name), &mut Sources::default()).unwrap_or_else(|error| panic!("{error}"));
        let expected = web_files::fixtures("good").join(&name).with_extension("txt");
        let found = values(&config, &directory);
        golden::check(expected, &found);
    }
}

/// The error of a file, from whichever step it comes.
fn error(file: &Path) -> Option<String> {
    let config = match WebConfig::read(file, &mut Sources::default()) {
        Ok(config) => config,
        Err(error) => return Some(error.to_string()),
    };
    config.tls?.load(&mut Sources::default()).err().map(|error| error.to_string())
}

#[test]
fn broken_files_are_refused_with_the_reason() {
    let directory = web_files::prepare();
    let directory = directory.path().join("broken");
    for name in web_files::names("broken") {
        let text = fs::read_to_string(web_files::fixtures("broken").join(&name)).unwrap();
        let expected = told_errors(&text);
        let found = error(&directory.join(&name)).unwrap_or_else(|| panic!("{name} is accepted"));
        let found = found.replace(&format!("{}/", directory.display()), "");
        if golden::updating() {
            let errors: String = found.lines().map(|line| format!("# error: {line}\n")).collect();
            let rest = text.lines().skip_while(|line| line.starts_with("# error: "));
            let rest: String = rest.map(|line| format!("{line}\n")).collect();
            fs::write(web_files::fixtures("broken").join(&name), errors + &rest).unwrap();
            continue;
        }
        assert_eq!(found, expected, "{name}");
        assert!(!found.contains("CANARY") && !found.contains("$2y$10$"), "{found}");
    }
}

#[test]
fn missing_file_is_named() {
    let error = WebConfig::read(Path::new("no/such/file.yml"), &mut Sources::default()).unwrap_err().to_string();
    assert_eq!(
        error,
        "no/such/file.yml: the web configuration file cannot be read: No such file or directory (os error 2)"
    );
}

#[test]
fn no_secret_is_printed() {
    let directory = web_files::prepare();
    for name in ["full.yml", "tls_inline.yml", "users.yml"] {
        let text = fs::read_to_string(directory.path().join("good").join(name)).unwrap();
        let config = WebConfig::from_yaml(name, &text, &directory.path().join("good")).unwrap();
        let loaded = config.tls.as_ref().map(|tls| tls.load(&mut Sources::default()).unwrap());
        let printed = format!("{config:?} {loaded:?}");
        assert!(!printed.contains("PRIVATE") && !printed.contains("BEGIN"), "{printed}");
        for hash in config.users.values() {
            let digest = format!("{:?}", hash.expose_digest());
            assert!(!printed.contains(&digest[1..digest.len() - 1]), "{printed}");
        }
    }
}
