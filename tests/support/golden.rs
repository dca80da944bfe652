//! Golden files: the expected output of a test, as a file of the repository.
//!
//! `UPDATE=1 cargo test --test TARGET FILTER` writes the files of the tests that the filter selects. Read the difference
//! before you commit it.

use std::path::{Path, PathBuf};

/// Whether golden files are written instead of compared.
pub fn updating() -> bool {
    let updating = std::env::var_os("UPDATE").is_some_and(|value| value == "1");
    assert!(!updating || std::env::var_os("CI").is_none(), "UPDATE=1 under CI would compare nothing");
    updating
}

/// The path of a file of the repository.
pub fn repository(file: impl AsRef<Path>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

/// Compares a text with a file of the repository, or writes the file.
pub fn check(file: impl AsRef<Path>, found: &str) {
    let file = repository(file);
    if updating() {
        std::fs::write(&file, found).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    same(&file.display().to_string(), found, &expected);
}

/// Compares a text with what `name` holds. Panics at the first line that differs.
pub fn same(name: &str, found: &str, expected: &str) {
    const ADVICE: &str = "UPDATE=1 updates it";
    let lines = (1..).zip(found.lines().zip(expected.lines()));
    for (number, (found, expected)) in lines {
        assert!(found == expected, "{name}:{number}: {ADVICE}:\n  expected {expected}\n  found    {found}");
    }
    let lengths = [found, expected].map(|text| text.lines().count());
    assert_eq!(lengths[0], lengths[1], "{name} has another number of lines; {ADVICE}");
    assert!(found == expected, "{name} differs in its line breaks; {ADVICE}");
}

/// The part of a text between two marks; the second may be empty, for the end.
pub fn part<'a>(text: &'a str, mark: &str, until: &str) -> &'a str {
    let rest = text.split_once(mark).unwrap_or_else(|| panic!("{mark} is not there")).1;
    let end = if until.is_empty() { rest.len() } else { rest.find(until).unwrap_or_else(|| panic!("no {until:?}")) };
    rest[..end].trim_matches('\n')
}

/// Compares the generated part of a document with the expected text, or writes it.
pub fn check_part(document: &str, mark: &str, until: &str, expected: &str) {
    let file = repository(document);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{document}: {error}"));
    let (found, expected) = (part(&text, mark, until), expected.trim_matches('\n'));
    if updating() {
        std::fs::write(file, text.replace(found, expected)).unwrap();
    } else {
        same(document, expected, found);
    }
}
