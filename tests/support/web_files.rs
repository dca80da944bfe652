//! The files that the web configurations under `tests/fixtures/web_config` name, made anew for each run.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use tempfile::TempDir;

/// The certificates and keys by their files' names: `server.key` belongs to `server.crt`, `other.key` to nobody.
fn credentials() -> Vec<(&'static str, String)> {
    let (server, authority, other) = (KeyPair::generate(), KeyPair::generate(), KeyPair::generate());
    let (server, authority, other) = (server.unwrap(), authority.unwrap(), other.unwrap());
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&server).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&authority).unwrap();
    vec![
        ("server.crt", certificate.pem()),
        ("server.key", server.serialize_pem()),
        ("other.key", other.serialize_pem()),
        ("ca.crt", ca.pem()),
        ("broken.pem", "-----BEGIN CERTIFICATE-----\nno base64!\n-----END CERTIFICATE-----\n".to_owned()),
        ("nonsense.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned()),
        (
            "encrypted.key",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n".to_owned(),
        ),
        (
            "encrypted-old.key",
            "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n\
             -----END EC PRIVATE KEY-----\n"
                .to_owned(),
        ),
        ("nonsense.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned()),
    ]
}

/// A directory with every configuration of `good` and `broken`, and the files that they name. Where a configuration
/// has `@NAME@`, it gets what that file holds, as YAML writes it in double quotes.
pub fn prepare() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let credentials = credentials();
    for kind in ["good", "broken"] {
        let to = directory.path().join(kind);
        fs::create_dir(&to).unwrap();
        for (name, text) in &credentials {
            fs::write(to.join(name), text).unwrap();
        }
        for name in names(kind) {
            let mut text = fs::read_to_string(fixtures(kind).join(&name)).unwrap();
            for (file, contents) in &credentials {
                text = text.replace(&format!("@{file}@"), &contents.replace('\n', "\\n"));
            }
            fs::write(to.join(name), text).unwrap();
        }
    }
    directory
}

/// Where the configurations of a kind are kept.
pub fn fixtures(kind: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/web_config").join(kind)
}

/// The configurations' names, sorted.
pub fn names(kind: &str) -> Vec<String> {
    let entries = fs::read_dir(fixtures(kind)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.filter(|name| name.ends_with(".yml")).collect();
    names.sort();
    assert!(!names.is_empty());
    names
}
