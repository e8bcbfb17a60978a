//! The test kit: real servers, an emulator, a fault proxy, the gateway under test, and data.

pub mod answer;
pub mod bucket;
pub mod bunny;
pub mod copies;
pub mod data;
pub mod gateway;
pub mod install;
pub mod ports;
pub mod process;
pub mod provider;
pub mod raw;
pub mod servers;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once, OnceLock};
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};
use tokio::time::Instant;
use triplicate::drill::wire::{Handler, Loopback, Wire};
use triplicate::task::Tasks;

/// Returns the runtime of the kit's own servers.
///
/// They do not live on the runtime of a test: a test may block (it runs the binary to completion) and must
/// not stop the emulator that the binary talks to.
pub fn runtime() -> &'static Handle {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("the kit's runtime")).handle()
}

/// Lays a wire before the provider at `endpoint`, on the kit's runtime, that records its requests.
pub async fn wire_before(endpoint: &str) -> Wire {
    let upstream = endpoint.parse().expect("the endpoint is a URL");
    let laid = runtime().spawn(async move { Wire::before(&upstream, WIRE_SEED, tasks()).await });
    let wire = laid.await.expect("the kit's runtime runs").expect("there is a port");
    wire.record();
    wire
}

/// Serves `handler` on the kit's runtime.
pub async fn serve<H: Handler>(handler: Arc<H>) -> Loopback<H> {
    let served = runtime().spawn(async move { Loopback::open(handler, tasks()) });
    served.await.expect("the kit's runtime runs").expect("there is a port")
}

/// The seed of every wire's die; no fault of these tests is left to it.
const WIRE_SEED: u64 = 1;

fn tasks() -> &'static Tasks {
    static TASKS: OnceLock<Tasks> = OnceLock::new();
    TASKS.get_or_init(Tasks::new)
}

/// Installs the TLS provider that every HTTP client of this process uses.
pub fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // It fails only when one is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// Returns an HTTP client that follows no redirect and has a deadline.
pub fn http_client() -> reqwest::Client {
    install_crypto();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(120))
        .no_proxy()
        .build()
        .expect("an HTTP client")
}

/// Returns `target/`, wherever cargo was told to have it.
pub fn target_dir() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp has a parent").to_owned()
}

/// Returns a new folder for the data of one server, removed when dropped.
pub fn data_dir(prefix: &str) -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix(prefix)
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a folder for data")
}

/// Asks again and again until the answer is `Some`, and fails the test after `within`.
pub async fn eventually<T, F>(what: &str, within: Duration, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Returns a text that no other test of any process uses, fit for a bucket name.
pub fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
