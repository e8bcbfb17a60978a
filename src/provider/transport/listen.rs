//! Servers of tests: a router behind a real socket.

use axum::Router;
use url::Url;

/// Serves a router until the test's runtime ends, and returns its address.
#[expect(clippy::disallowed_methods, reason = "a server of a test is no task of a gateway")]
pub(crate) async fn listen(router: Router) -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}").parse().unwrap()
}
