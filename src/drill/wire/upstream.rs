//! The provider behind a wire, and the connections to it.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Request, Response, Uri, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper_rustls::builderstates::WantsSchemes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioTimer;
use tracing::debug;
use url::Url;

use super::{Cut, WireError};
use crate::task::Tasks;

/// How long a connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a provider may take to begin its answer: longer than any client waits.
const ANSWER_LIMIT: Duration = Duration::from_secs(300);
/// How long an idle connection is kept: shorter than servers usually do.
const IDLE_LIMIT: Duration = Duration::from_secs(20);
/// How many idle connections are kept.
const IDLE_MAX: usize = 256;

/// A body that is held whole, to be sent more than once or late.
pub(super) type Outgoing = Full<Bytes>;

/// Where requests of a provider are addressed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base {
    scheme: Scheme,
    authority: Authority,
    path: String,
}

/// One provider.
#[derive(Debug)]
pub(super) struct Upstream {
    base: Base,
    client: Client<HttpsConnector<HttpConnector>, Either<Incoming, Outgoing>>,
}

impl Base {
    fn of(url: &Url) -> Result<Self, WireError> {
        let wrong = || WireError::Upstream(format!("`{url}` is no http or https URL of a provider"));
        let uri: Uri = url.as_str().parse().map_err(|_| wrong())?;
        let scheme = uri.scheme().filter(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme));
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        Ok(Self {
            scheme: scheme.ok_or_else(wrong)?.clone(),
            authority: authority.ok_or_else(wrong)?.clone(),
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Returns the path that all requests begin with, without a closing slash.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Tells whether a request in absolute form names a host below the provider's own, as buckets have them.
    pub(super) fn is_above(&self, uri: &Uri) -> bool {
        let host = uri.host().and_then(|host| host.strip_suffix(self.authority.host()));
        host.is_some_and(|container| container.ends_with('.')) && uri.port_u16() == self.authority.port_u16()
    }

    /// Returns where a request goes: to the provider and nowhere else, path and query as they came.
    fn target(&self, uri: &Uri) -> Option<Uri> {
        let authority = match uri.authority() {
            None => &self.authority,
            Some(named) if named == &self.authority || self.is_above(uri) => named,
            Some(_) => return None,
        };
        let path = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        let uri = Uri::builder().scheme(self.scheme.clone()).authority(authority.clone());
        uri.path_and_query(path).build().ok()
    }
}

impl Upstream {
    /// Prepares connections; none is made.
    pub(super) fn new(url: &Url, tasks: &Tasks) -> Result<Self, WireError> {
        let base = Base::of(url)?;
        // It fails only when a provider is installed already, which then serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tls = if base.scheme == Scheme::HTTPS {
            HttpsConnectorBuilder::new()
                .try_with_platform_verifier()
                .map_err(|error| WireError::Tls(error.to_string()))?
        } else {
            // Plain HTTP must work where the machine has no certificates.
            let none = rustls::RootCertStore::empty();
            let config = rustls::ClientConfig::builder().with_root_certificates(none).with_no_client_auth();
            HttpsConnectorBuilder::new().with_tls_config(config)
        };
        Ok(Self::over(base, tls, tasks))
    }

    fn over(base: Base, tls: HttpsConnectorBuilder<WantsSchemes>, tasks: &Tasks) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_LIMIT));
        let connector = tls.https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(Spawner(tasks.clone()))
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_LIMIT)
            .pool_max_idle_per_host(IDLE_MAX)
            .build(connector);
        Self { base, client }
    }

    /// Returns where requests are addressed to.
    pub(super) fn base(&self) -> &Base {
        &self.base
    }

    /// Sends a request as it is; an unreachable or silent provider cuts the client off.
    pub(super) async fn send(
        &self,
        request: Request<Either<Incoming, Outgoing>>,
    ) -> Result<Response<Incoming>, Cut> {
        let (mut parts, body) = request.into_parts();
        let Some(target) = self.base.target(&parts.uri) else {
            debug!(uri = %parts.uri, provider = %self.base.authority, "a request for another host");
            return Err(Cut);
        };
        parts.uri = target;
        parts.extensions.clear();
        remove_hop_headers(&mut parts.headers);
        let sending = self.client.request(Request::from_parts(parts, body));
        match tokio::time::timeout(ANSWER_LIMIT, sending).await {
            Ok(Ok(mut answer)) => {
                remove_hop_headers(answer.headers_mut());
                Ok(answer)
            }
            Ok(Err(error)) => {
                debug!(provider = %self.base.authority, %error, "the provider does not answer");
                Err(Cut)
            }
            Err(_) => Err(Cut),
        }
    }
}

/// Runs the client's connections as tasks that end with the others.
#[derive(Debug, Clone)]
struct Spawner(Tasks);

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        let stop = self.0.stop().clone();
        drop(self.0.spawn("upstream connection", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                _ = future => {}
            }
        }));
    }
}

fn remove_hop_headers(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

#[cfg(test)]
#[path = "upstream_tests.rs"]
mod tests;
