//! Asking a running exporter whether it is healthy.

use std::{error::Error, time::Duration};

use reqwest::StatusCode;
use url::Url;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How often is asked where the answer is lost.
const ATTEMPTS: u32 = 5;

/// Which exporter is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Any: it has to prove who it is, and to let itself be asked.
    Any,
    /// The one on this machine with the same flags. It is asked where its certificate's names do not hold, and by
    /// someone without a password or a certificate, to whom it says that it lives by refusing them; ill, it would
    /// have said so.
    Own,
}

/// Asks a `/-/healthy`.
///
/// # Errors
///
/// Why it is not healthy, or did not answer. A request takes five seconds at most.
pub async fn ask(url: Url, whose: Whose) -> Result<(), String> {
    request(url, whose).await.map_err(|failure| failure.message)
}

/// Asks the `/-/healthy` at a URL, and at another one where the first takes no connection.
///
/// # Errors
///
/// As [`ask`], with the URL that it is about: the first one where neither takes a connection.
pub async fn ask_either(first: Url, other: Option<Url>, whose: Whose) -> Result<(), (Url, String)> {
    let unconnected = match request(first.clone(), whose).await {
        Ok(()) => return Ok(()),
        Err(failure) if failure.unconnected => (first, failure.message),
        Err(failure) => return Err((first, failure.message)),
    };
    let Some(other) = other else { return Err(unconnected) };
    request(other.clone(), whose).await.map_err(|failure| match failure.unconnected {
        true => unconnected,
        false => (other, failure.message),
    })
}

/// Why an exporter is not healthy.
struct Failure {
    message: String,
    /// There was no connection, so that nobody listens there.
    unconnected: bool,
}

async fn request(url: Url, whose: Whose) -> Result<(), Failure> {
    let failure = |message| Failure { message, unconnected: false };
    let mut builder = super::builder().no_proxy().timeout(TIMEOUT);
    if url.scheme() == "http" {
        // CA certificates, which a small container may lack, are not needed.
        builder = builder.tls_certs_only([]);
    }
    let own = whose == Whose::Own;
    let client = builder.tls_danger_accept_invalid_certs(own).build();
    let client = client.map_err(|error| failure(super::innermost(&error, None)))?;
    let mut attempts = 1..ATTEMPTS;
    let response = loop {
        match client.get(url.clone()).send().await {
            Ok(response) => break response,
            Err(error) if own && asks_for_certificate(&error) => return Ok(()),
            // In TLS 1.3 a connection stands before the server refuses it. When the refusal overtakes the request, all that
            // is told here is that the connection was closed.
            Err(error) if own && !error.is_connect() && !error.is_timeout() && attempts.next().is_some() => {}
            Err(error) => {
                let message = format!("{}{}", super::innermost(&error, None), hint(&error, whose));
                return Err(Failure { message, unconnected: error.is_connect() && !is_tls(&error) });
            }
        }
    };
    match response.status() {
        status if status.is_success() => Ok(()),
        StatusCode::UNAUTHORIZED if own => Ok(()),
        status => Err(failure(format!("it answered HTTP {}", status.as_u16()))),
    }
}

/// Whether a request failed in the TLS handshake.
fn is_tls(error: &reqwest::Error) -> bool {
    std::iter::successors(error.source(), |&error| error.source()).any(super::is_tls)
}

/// What to look at where nobody answers.
fn hint(error: &reqwest::Error, whose: Whose) -> &'static str {
    match whose {
        Whose::Own => "; is the exporter running, with the same --config.file and --web.listen-address?",
        // Somebody answered, who is not trusted or does not trust us.
        Whose::Any if is_tls(error) => "",
        Whose::Any => "; is that the exporter's address?",
    }
}

/// Whether a server refused the connection because we have no certificate.
fn asks_for_certificate(error: &(dyn Error + 'static)) -> bool {
    use rustls::{AlertDescription, Error::AlertReceived};
    // TLS 1.2 has no alert of its own for it.
    let asks = |error: &rustls::Error| {
        matches!(error, AlertReceived(AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure))
    };
    // An io::Error's source() skips the error that it wraps.
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.downcast_ref().is_some_and(asks)
        || wrapped.is_some_and(|inner| asks_for_certificate(inner))
        || error.source().is_some_and(asks_for_certificate)
}
