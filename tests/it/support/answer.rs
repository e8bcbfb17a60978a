//! What comes back from the gateway and from runs of its binary.

use bytes::Bytes;
use http::HeaderMap;
use reqwest::RequestBuilder;
use serde_json::Value;

/// An answer, received to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// How a run of the binary ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The exit status.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

/// What an audit reported.
#[derive(Debug, Clone)]
pub struct Report {
    /// How the run ended.
    pub outcome: Outcome,
    /// One object a finding.
    pub findings: Vec<Value>,
    /// The last line.
    pub summary: Value,
}

impl Answer {
    /// Sends a request and receives all of the answer.
    pub async fn of(request: RequestBuilder) -> Self {
        let answer = request.send().await.expect("the gateway answers");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.bytes().await.expect("the body is whole");
        Self { status, headers, body }
    }

    /// Returns a header, empty when it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a plain header"))
    }

    /// Reads the body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }
}

impl Report {
    /// Returns provider and kind of every finding, sorted.
    pub fn kinds(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut kinds: Vec<_> = self
            .findings
            .iter()
            .map(|finding| (text(&finding["provider"]), text(&finding["kind"])))
            .collect();
        kinds.sort();
        kinds
    }
}
