use std::sync::Arc;

use data_encoding::BASE64;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::clock::Clock;
use crate::drill::wire::{Fault, Rule, Wire};
use crate::drill::zone::Zone;
use crate::provider::bunny::{BunnyProvider, BunnySettings};
use crate::provider::disk::{DiskProvider, DiskSettings};
use crate::provider::{Provider, ProviderId, contract};

/// A certificate for `localhost` that signed itself, good until 2126, and its key. They protect nothing.
const CERTIFICATE: &str = "MIIBkTCCATigAwIBAgIUS3udrAwR812f5cu6spIwozTGj50wCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJb\
    G9jYWxob3N0MCAXDTI2MTEyNDEzMjczOFoYDzIxMjYxMDMxMTMyNzM4WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBgg\
    qhkjOPQMBBwNCAASlLVgJrlnbDnxUBBjIq0+6apO58KuJDqzp3jZaB2v6SyUpHeaCofVXH0RJgJXKMq84fAKUNtHtBiy5K+QGad6xo2YwZ\
    DAdBgNVHQ4EFgQUA1FGHr/AgnUeL2s5cbDYYZzHxBIwHwYDVR0jBBgwFoAUA1FGHr/AgnUeL2s5cbDYYZzHxBIwFAYDVR0RBA0wC4IJbG9\
    jYWxob3N0MAwGA1UdEwEB/wQCMAAwCgYIKoZIzj0EAwIDRwAwRAIgHA0vSaQZXqLNQbYsuO3QUJkXYPqWIIHXePOmobh2fYQCIC2bgQxvW\
    vZLpgoeplARp1TWJ/96l7xbUumLymDwsKJH";
const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg72396aCYDt7Tfw9OuT4sUe7wdw6Gv86cxRkcUmKbd\
    oehRANCAASlLVgJrlnbDnxUBBjIq0+6apO58KuJDqzp3jZaB2v6SyUpHeaCofVXH0RJgJXKMq84fAKUNtHtBiy5K+QGad6x";

fn base(url: &str) -> Base {
    Base::of(&url.parse().unwrap()).unwrap()
}

#[test]
fn requests_go_to_the_provider_and_to_hosts_below_it_alone() {
    let https = "https://s3.example.com";
    for (provider, asked, expected) in [
        (https, "/b/k%2F?x", Some("https://s3.example.com/b/k%2F?x")),
        (https, "http://s3.example.com/b/k", Some("https://s3.example.com/b/k")),
        (https, "http://assets.s3.example.com/k?a=b", Some("https://assets.s3.example.com/k?a=b")),
        (https, "http://s3.example.com:81/b/k", None),
        (https, "http://assets.s3.example.com:81/b/k", None),
        (https, "http://evils3.example.com/b/k", None),
        (https, "http://example.com/b/k", None),
        ("http://127.0.0.1:9000/", "http://127.0.0.1:9000/b/k", Some("http://127.0.0.1:9000/b/k")),
        ("http://127.0.0.1:9000/", "/../b//k", Some("http://127.0.0.1:9000/../b//k")),
        ("http://127.0.0.1:9000/", "http://127.0.0.1:9001/b/k", None),
    ] {
        let target = base(provider).target(&asked.parse().unwrap());
        assert_eq!(target.map(|target| target.to_string()).as_deref(), expected, "{provider} {asked}");
    }
}

#[test]
fn the_key_begins_behind_the_container_wherever_that_stands() {
    for (provider, asked, key, listing) in [
        ("https://h", "/assets/blobs/x%20y", "blobs/x y", false),
        ("https://h", "http://h/assets/blobs/x", "blobs/x", false),
        ("https://h/s3/", "/s3/assets/blobs/x", "blobs/x", false),
        ("https://h", "http://assets.h/blobs/x", "blobs/x", false),
        ("https://h", "http://assets.h/?list-type=2&prefix=names%2F", "names/", true),
        ("https://h", "/assets?list-type=2", "", true),
        ("https://h", "/zone/names/", "names/", true),
    ] {
        let request = Request::get(asked).body(()).unwrap();
        let seen = crate::drill::wire::Seen::of(&request, &base(provider));
        assert_eq!((seen.key.as_str(), seen.listing), (key, listing), "{provider} {asked}");
    }
}

/// Listens with TLS and passes everything on to `to`.
async fn tls_before(to: &Url, tasks: &Tasks) -> Url {
    let der = |text: &str| BASE64.decode(text.as_bytes()).unwrap();
    let key = PrivateKeyDer::try_from(der(KEY)).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![CertificateDer::from(der(CERTIFICATE))], key).unwrap();
    let (acceptor, running) = (TlsAcceptor::from(Arc::new(config)), tasks.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let to = to.socket_addrs(|| None).unwrap()[0];
    drop(tasks.spawn("tls front", async move {
        while let Ok((near, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            drop(running.spawn("tls pipe", async move {
                let mut near = acceptor.accept(near).await?;
                let mut far = TcpStream::connect(to).await?;
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            }));
        }
    }));
    format!("https://localhost:{port}").parse().unwrap()
}

/// A zone behind TLS, by a certificate that signed itself.
struct TlsZone {
    /// Removed last.
    _folder: tempfile::TempDir,
    zone: Zone,
    endpoint: Url,
    tasks: Tasks,
    clock: Clock,
}

impl TlsZone {
    async fn serve() -> Self {
        // It fails only when another test has installed one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (folder, tasks, clock) = (tempfile::tempdir().unwrap(), Tasks::new(), Clock::system());
        let settings = DiskSettings { path: folder.path().to_owned() };
        let disk = DiskProvider::new(ProviderId::new("disk"), settings, clock.clone()).unwrap();
        let zone = Zone::serve(Arc::new(disk), &tasks).await.unwrap();
        let endpoint = tls_before(&zone.settings().endpoint, &tasks).await;
        Self { _folder: folder, zone, endpoint, tasks, clock }
    }

    /// Lays a wire before the zone that trusts `roots` alone, and a client behind it.
    fn through(&self, roots: rustls::RootCertStore) -> (Wire, BunnyProvider) {
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let tls = HttpsConnectorBuilder::new().with_tls_config(config);
        let upstream = Upstream::over(Base::of(&self.endpoint).unwrap(), tls, &self.tasks);
        let wire = Wire::over(upstream, 1, &self.tasks).unwrap();
        let endpoint = self.endpoint.clone();
        let settings = BunnySettings { endpoint, via: Some(wire.address()), ..self.zone.settings() };
        let bunny = BunnyProvider::new(ProviderId::new("bunny"), settings, self.clock.clone()).unwrap();
        (wire, bunny)
    }
}

/// Roots that vouch for the certificate.
fn vouching() -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(BASE64.decode(CERTIFICATE.as_bytes()).unwrap())).unwrap();
    roots
}

#[tokio::test]
async fn faults_come_between_a_client_and_a_provider_with_tls() {
    let tls = TlsZone::serve().await;
    let (wire, bunny) = tls.through(vouching());
    contract::keeps_objects(&bunny, &tls.clock).await.unwrap();
    contract::lists_dirs(&bunny, &tls.clock).await.unwrap();
    assert!(wire.counts().requests > 20 && wire.counts().blob_reads > 5, "{:?}", wire.counts());
    wire.inject(Rule::from(Fault::ApiError(503)));
    assert!(bunny.list_dir("").await.is_err());
    assert_eq!(wire.counts().struck, 1);
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let tls = TlsZone::serve().await;
    let (wire, trusting) = tls.through(vouching());
    assert!(trusting.list_dir("").await.is_ok(), "the server is there, and answers who trusts it");
    assert_eq!(wire.counts().requests, 1);
    let (wire, wary) = tls.through(rustls::RootCertStore::empty());
    assert!(wary.list_dir("").await.is_err(), "the same request to the same server");
    assert!(wire.counts().requests > 0, "the request came as far as the wire");
}
