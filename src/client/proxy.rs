//! The proxy variables of the environment: which of them applies to the pool's address, and whether it can be used.
//!
//! The variables are read here and not by the HTTP library, which ignores a value that it cannot use and then connects
//! directly.

use std::{env, ffi::OsString, fmt, sync::Arc};

use hyper_util::client::proxy::matcher::Matcher;
use url::{Position, Url};

use super::SetupError;

/// The variables that may name a proxy for an `https` address, by precedence. Within a pair the first one that is set
/// counts, even if it is empty.
const FOR_HTTPS: [[&str; 2]; 2] = [["HTTPS_PROXY", "https_proxy"], ["ALL_PROXY", "all_proxy"]];

/// The same for an `http` address.
const FOR_HTTP: [[&str; 2]; 2] = [["HTTP_PROXY", "http_proxy"], ["ALL_PROXY", "all_proxy"]];

/// The variables that exclude addresses.
const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// An address that every value of a proxy variable is tried on.
const ANY_PROXY: &str = "http://proxy.invalid";

/// How requests reach the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Directly; no proxy variable is set.
    Direct,
    /// Directly, although a proxy variable is set.
    Bypass {
        /// The variable that is set.
        variable: &'static str,
        /// Why it does not apply.
        why: String,
    },
    /// Through a proxy.
    Proxy(Arc<Proxy>),
}

/// A proxy. Its credentials are in the URL only, which is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// The variable that names it.
    pub variable: &'static str,
    /// Host and port.
    pub address: String,
    url: Url,
}

impl Proxy {
    /// The address with its credentials, for the HTTP library.
    pub(super) const fn url(&self) -> &Url {
        &self.url
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.address, self.variable)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("none"),
            Self::Bypass { variable, why } => write!(f, "none: {variable} is set, but {why}"),
            Self::Proxy(proxy) => proxy.fmt(f),
        }
    }
}

impl Route {
    /// The route to a URL under this process' environment.
    ///
    /// # Errors
    ///
    /// When the variable that applies has a value that cannot be used.
    pub fn from_env(url: &Url) -> Result<Self, SetupError> {
        Self::new(url, |name| env::var_os(name))
    }

    /// The route to a URL under an environment.
    fn new(url: &Url, variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, SetupError> {
        let plain = url.scheme() == "http";
        let first = |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, variable(name)?)));
        let pairs = if plain { FOR_HTTP } else { FOR_HTTPS };
        let Some((name, value)) = pairs.into_iter().filter_map(first).find(|(_, value)| !value.is_empty()) else {
            return Ok(Self::Direct);
        };
        if plain {
            // It is meant for this machine and its network, and a proxy elsewhere would see the keys.
            return Ok(Self::Bypass { variable: name, why: "plain HTTP is not sent to a proxy".to_owned() });
        }
        if let Some((exceptions, value)) = first(EXCEPTIONS)
            && value.to_str().is_some_and(|value| !is_proxied(url, ANY_PROXY, value))
        {
            let host = url.host_str().unwrap_or_default();
            return Ok(Self::Bypass { variable: name, why: format!("{exceptions} excludes {host}") });
        }
        let value = value.into_string().map_err(|_| "the value is not UTF-8 text".to_owned());
        let proxy = value.and_then(|value| Proxy::new(name, &value, url));
        proxy
            .map(|proxy| Self::Proxy(Arc::new(proxy)))
            .map_err(|problem| SetupError::Variable { variable: name, problem })
    }

    /// The proxy, if there is one.
    pub const fn proxy(&self) -> Option<&Arc<Proxy>> {
        match self {
            Self::Proxy(proxy) => Some(proxy),
            _ => None,
        }
    }
}

impl Proxy {
    /// Reads a variable's value. The error never quotes the value, which may hold a password.
    fn new(variable: &'static str, value: &str, destination: &Url) -> Result<Self, String> {
        const EXAMPLE: &str = "write it as http://proxy.example:3128 or http://USER:PASSWORD@proxy.example:3128";
        if value.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(format!("the proxy's address has a blank or a control character in it; {EXAMPLE}"));
        }
        let with_scheme = match value.split_once("://") {
            None => format!("http://{value}"),
            Some((scheme, _)) if ["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) => value.to_owned(),
            Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                return Err(format!(
                    "a proxy of the scheme {scheme:?} is not supported, only http and https; {EXAMPLE}"
                ));
            }
            Some(_) => return Err(format!("the proxy's address has no scheme before its \"://\"; {EXAMPLE}")),
        };
        let url =
            Url::parse(&with_scheme).map_err(|error| format!("the proxy's address is broken ({error}); {EXAMPLE}"))?;
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(format!("the proxy's address has no host; {EXAMPLE}"));
        };
        if url[Position::AfterPort..].contains('@') {
            return Err(format!(
                "the proxy's user or password has a \"/\", \"?\" or \"#\" in it, which is written %2F, %3F or %23; {EXAMPLE}"
            ));
        }
        if !is_proxied(destination, url.as_str(), "") {
            return Err(format!("the proxy's address is broken; {EXAMPLE}"));
        }
        Ok(Self { variable, address: format!("{host}:{port}"), url })
    }
}

/// Whether the HTTP library sends requests to a destination through that proxy, by its own rules.
fn is_proxied(destination: &Url, proxy: &str, exceptions: &str) -> bool {
    let matcher = Matcher::builder().all(proxy).no(exceptions).build();
    destination.as_str().parse().is_ok_and(|uri| matcher.intercept(&uri).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The route under these variables, or the error, as text.
    fn route(url: &str, variables: &[(&str, &str)]) -> String {
        let variable = |name: &str| variables.iter().find(|(own, _)| *own == name).map(|(_, value)| value.into());
        match Route::new(&Url::parse(url).unwrap(), variable) {
            Ok(route) => route.to_string(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn variables_are_taken_by_precedence() {
        let pool = "https://pool.example/ru/api";
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[], "none"),
            (&[("HTTP_PROXY", "http://a")], "none"),
            (&[("HTTPS_PROXY", ""), ("https_proxy", "b:1")], "none"),
            (&[("HTTPS_PROXY", ""), ("ALL_PROXY", "c:1")], "c:1 (ALL_PROXY)"),
            (&[("HTTPS_PROXY", "a:1"), ("https_proxy", "b:1"), ("ALL_PROXY", "c:1")], "a:1 (HTTPS_PROXY)"),
            (&[("https_proxy", "HTTP://b"), ("all_proxy", "c:1")], "b:80 (https_proxy)"),
            (&[("all_proxy", "https://user:secret@c")], "c:443 (all_proxy)"),
            (&[("HTTPS_PROXY", "http://u%40:p%2F@[::1]:3128/")], "[::1]:3128 (HTTPS_PROXY)"),
            (
                &[("HTTPS_PROXY", "socks5://a:1"), ("no_proxy", "other.example, .example")],
                "none: HTTPS_PROXY is set, but no_proxy excludes pool.example",
            ),
            (&[("HTTPS_PROXY", "a:1"), ("NO_PROXY", "other.example")], "a:1 (HTTPS_PROXY)"),
            (&[("HTTPS_PROXY", "a:1"), ("NO_PROXY", ""), ("no_proxy", "*")], "a:1 (HTTPS_PROXY)"),
        ];
        for (variables, expected) in cases {
            assert_eq!(route(pool, variables), *expected, "{variables:?}");
        }
        let plain = route("http://127.0.0.1:1/api", &[("http_proxy", "a:1")]);
        assert_eq!(plain, "none: http_proxy is set, but plain HTTP is not sent to a proxy");
    }

    #[test]
    fn unusable_value_is_an_error_without_the_value() {
        const EXAMPLE: &str = "write it as http://proxy.example:3128 or http://USER:PASSWORD@proxy.example:3128";
        let scheme = |scheme| format!("a proxy of the scheme {scheme:?} is not supported, only http and https");
        let blank = "the proxy's address has a blank or a control character in it".to_owned();
        let broken = |why| format!("the proxy's address is broken ({why})");
        let password =
            "the proxy's user or password has a \"/\", \"?\" or \"#\" in it, which is written %2F, %3F or %23";
        let cases = [
            ("socks5://u:hidden@127.0.0.1:9", scheme("socks5")),
            ("ftp://127.0.0.1:9", scheme("ftp")),
            (" http://127.0.0.1:9", blank.clone()),
            ("http://127.0.0.1:9\n", blank.clone()),
            (" ", blank),
            ("http://[::bad", broken("invalid IPv6 address")),
            ("http://u:hid#den@127.0.0.1:9", broken("invalid port number")),
            ("http://u:1#hidden@127.0.0.1:9", password.to_owned()),
            ("http://", broken("empty host")),
            ("u:hidden://127.0.0.1", "the proxy's address has no scheme before its \"://\"".to_owned()),
            ("http://127.0.0.1:99999", broken("invalid port number")),
        ];
        for (value, problem) in cases {
            let error = route("https://pool.example/ru/api", &[("HTTPS_PROXY", value)]);
            assert_eq!(error, format!("error: HTTPS_PROXY: {problem}; {EXAMPLE}"), "{value:?}");
        }
    }
}
