//! A pool on wiremock: the test sets the answer of each method. Everything else is answered with 404.

use wiremock::{
    Mock, MockServer, Request, Respond, ResponseTemplate,
    matchers::{header, method, path, query_param},
};

/// The pool.
pub struct Pool(pub MockServer);

impl Pool {
    pub async fn start() -> Self {
        Self(MockServer::start().await)
    }

    pub fn base_url(&self) -> String {
        format!("{}/ru/api", self.0.uri())
    }

    /// Answers a method with a body, whatever else is asked.
    pub async fn answers(&self, endpoint: &str, body: impl Into<Vec<u8>>) {
        self.responds(endpoint, ResponseTemplate::new(200).set_body_raw(body, "application/json")).await;
    }

    /// Answers a method as `respond` likes.
    pub async fn responds(&self, endpoint: &str, respond: impl Respond + 'static) {
        let asked = Mock::given(method("GET")).and(path("/ru/api")).and(query_param("method", endpoint));
        asked.and(query_param("v", "1")).respond_with(respond).mount(&self.0).await;
    }

    /// Answers a method for one key only.
    pub async fn responds_to(&self, key: &str, endpoint: &str, respond: impl Respond + 'static) {
        let asked = Mock::given(method("GET")).and(path("/ru/api")).and(query_param("method", endpoint));
        asked.and(header("x-api-key", key)).respond_with(respond).mount(&self.0).await;
    }

    /// The requests that came for a method.
    pub async fn requests(&self, endpoint: &str) -> Vec<Request> {
        let requests = self.0.received_requests().await.unwrap_or_default();
        let wanted = |request: &Request| query(request, "method").as_deref() == Some(endpoint);
        requests.into_iter().filter(wanted).collect()
    }

    /// Answers every method with the pool's published samples.
    pub async fn answers_samples(&self) {
        for endpoint in ENDPOINTS {
            self.answers(endpoint, sample(endpoint)).await;
        }
    }
}

pub const ENDPOINTS: [&str; 5] = ["main_stat", "summary_data", "profit_history", "payment_history", "workers"];

/// The pool's published sample answer of a method (see fixtures/api/README.md).
pub fn sample(endpoint: &str) -> String {
    let file = format!("{}/tests/fixtures/api/{endpoint}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A parameter of a request.
pub fn query(request: &Request, name: &str) -> Option<String> {
    request.url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// A parameter of a request, as a number.
pub fn number(request: &Request, name: &str) -> usize {
    query(request, name).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no {name} in {}", request.url))
}
