//! The canary: finds a key in what the program lets out, whole or in part, as it is or in a disguise.

use std::collections::HashMap;

/// A key's parts of this many characters must not be seen; fewer could come about by chance.
const PART: usize = 6;

/// The parts of a few keys, in every form that is looked for.
#[derive(Debug)]
pub struct Canary {
    /// What to look for, in lower case, and what it is, by its first two bytes: a log is long.
    needles: HashMap<[u8; 2], Vec<(String, &'static str)>>,
    /// Whether something begins with these two bytes.
    begins: Vec<bool>,
}

impl Canary {
    /// Looks for those keys.
    pub fn of<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        let mut needles = Vec::new();
        for key in keys {
            assert!(key.is_ascii() && key.len() >= PART, "no key to look for");
            for part in key.as_bytes().windows(PART) {
                let plain = String::from_utf8_lossy(part).into_owned();
                needles.push((plain.chars().rev().collect(), "reversed"));
                needles.push((percent_encoded(part), "percent-encoded"));
                needles.push((plain, "as it is"));
                // Wherever the key stands in what is encoded, some of its parts begin where four characters begin.
                needles.push((base64(part), "in base64"));
            }
        }
        for (needle, _) in &mut needles {
            needle.make_ascii_lowercase();
        }
        needles.sort_unstable();
        needles.dedup();
        let mut canary = Self { needles: HashMap::new(), begins: vec![false; 1 << 16] };
        for (needle, form) in needles {
            let two = [needle.as_bytes()[0], needle.as_bytes()[1]];
            canary.begins[usize::from(u16::from_be_bytes(two))] = true;
            canary.needles.entry(two).or_default().push((needle, form));
        }
        canary
    }

    /// What of a key a text holds.
    pub fn found_in(&self, text: &str) -> Option<String> {
        let text = text.to_ascii_lowercase();
        // Names may be percent-encoded in part only: then they are found in the decoded text.
        let decoded = text.contains('%').then(|| percent_decoded(&text));
        self.first_in(text.as_bytes()).or_else(|| self.first_in(decoded?.as_bytes()))
    }

    fn first_in(&self, text: &[u8]) -> Option<String> {
        text.windows(2).enumerate().find_map(|(at, two)| {
            let two = [two[0], two[1]];
            if !self.begins[usize::from(u16::from_be_bytes(two))] {
                return None;
            }
            let (needle, form) =
                self.needles[&two].iter().find(|(needle, _)| text[at..].starts_with(needle.as_bytes()))?;
            Some(format!("{needle:?}, a part of a key {form}"))
        })
    }
}

fn percent_encoded(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02x}")).collect()
}

fn percent_decoded(text: &str) -> String {
    let mut decoded = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        let code = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match code.and_then(|two| u8::from_str_radix(two, 16).ok()).filter(|_| *byte == b'%') {
            Some(code) => {
                decoded.push(code.to_ascii_lowercase());
                rest = &after[2..];
            }
            None => {
                decoded.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The base64 of bytes whose number is a multiple of three.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks_exact(3) {
        let bits = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
        for shift in [18, 12, 6, 0] {
            text.push(char::from(ALPHABET[(bits >> shift) as usize & 63]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "Qz7Wx4-Vp2Ymk-Jr9Txb-Hn6Gcd-Lf3Sqw";

    #[test]
    fn planted_leaks_are_caught() {
        let canary = Canary::of([KEY]);
        for (leak, form) in [
            (format!("error=\"the key {KEY} is refused\""), "as it is"),
            ("a part (p2ymk-) in lower case".to_owned(), "as it is"),
            (KEY[20..26].to_owned(), "as it is"),
            (format!("<b>{}</b>", KEY.chars().rev().collect::<String>()), "reversed"),
            ("https://pool/%56%70%32%59%6D%6B/".to_owned(), "percent-encoded"),
            ("https://pool/?key=Qz7Wx4%2DVp2".to_owned(), "as it is"),
            // `user:` and the key, and the key alone, as a program would write them into a header.
            ("Basic dXNlcjpRejdXeDQtVnAyWW1rLUpyOVR4Yi1IbjZHY2QtTGYzU3F3".to_owned(), "in base64"),
            ("UXo3V3g0LVZwMlltay1KcjlUeGItSG42R2NkLUxmM1Nxdw==".to_owned(), "in base64"),
            ("QXo3V3g0LVZwMlltay1KcjlUeGIt".to_owned(), "in base64"),
        ] {
            let found = canary.found_in(&leak).unwrap_or_else(|| panic!("not seen: {leak}"));
            assert!(found.ends_with(form), "{leak}: {found}");
        }
    }

    #[test]
    fn harmless_text_is_no_leak() {
        let canary = Canary::of([KEY]);
        for innocent in ["", "account=qz7wx x4-vp p2ymk", "%", "100 %", "%zz%2", "level=warn reason=auth status 401"] {
            assert_eq!(canary.found_in(innocent), None);
        }
    }
}
