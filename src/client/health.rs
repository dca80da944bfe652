//! Asking a running exporter whether it is healthy.

use std::time::Duration;

use url::Url;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks a `/-/healthy`.
///
/// # Errors
///
/// Why it is not healthy, or could not be asked within five seconds.
pub async fn ask(url: Url) -> Result<(), String> {
    let client =
        super::http(&url).no_proxy().timeout(TIMEOUT).build().map_err(|error| super::innermost(&error, None))?;
    let response = client.get(url).send().await.map_err(|error| super::innermost(&error, None))?;
    match response.status() {
        status if status.is_success() => Ok(()),
        status => Err(format!("it answered HTTP {}", status.as_u16())),
    }
}
