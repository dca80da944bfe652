//! Asking a running exporter whether it is healthy.

use std::time::Duration;

use url::Url;

/// Asks a `/-/healthy`.
///
/// # Errors
///
/// Why it is not healthy, or could not be asked within five seconds.
pub async fn ask(url: Url) -> Result<(), String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(5))
        .no_proxy()
        .build()
        .map_err(|error| super::innermost(&error))?;
    let response = client.get(url).send().await.map_err(|error| super::innermost(&error))?;
    match response.status() {
        status if status.is_success() => Ok(()),
        status => Err(format!("it answered HTTP {}", status.as_u16())),
    }
}
