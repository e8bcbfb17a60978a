use std::sync::atomic::Ordering;

use super::stub::{KEY, Manners, Stub};
use super::*;
use crate::provider::contract;
use crate::provider::transport::listen::listen;

async fn zone() -> (BunnyProvider, Arc<Stub>) {
    let stub = Arc::new(Stub::default());
    (provider(&stub, KEY).await, stub)
}

async fn provider(stub: &Arc<Stub>, key: &str) -> BunnyProvider {
    let endpoint = listen(stub.router()).await;
    let settings = BunnySettings { endpoint, zone: "my-zone".to_owned(), access_key: key.into(), via: None };
    BunnyProvider::new(ProviderId::new("bunny"), settings, Clock::system()).unwrap()
}

fn key() -> Key {
    Key::part(Clock::system().upload_id(), 0)
}

fn payload() -> Payload {
    Payload::new(vec![Bytes::from_static(b"01234"), Bytes::from_static(b"56789")])
}

#[tokio::test]
async fn passes_the_contract() {
    let (provider, stub) = zone().await;
    contract::all(&provider, &Clock::system()).await.unwrap();
    assert!(stub.objects.lock().is_empty());
}

#[tokio::test]
async fn no_more_listings_are_in_flight_than_the_servers_allow() {
    let (provider, stub) = zone().await;
    let listings = (0..20).map(|_| provider.list_dir("names/"));
    futures::future::try_join_all(listings).await.unwrap();
    assert_eq!(stub.listings_most.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn uploads_are_read_back_where_no_checksum_is_shown() {
    let (provider, stub) = zone().await;
    stub.manners.lock().no_checksum = true;
    let (key, payload) = (key(), payload());
    provider.put(&key, &payload, "text/plain").await.unwrap();
    assert_eq!(provider.stat(&key).await.unwrap().sha256, None);
    assert!(provider.probe().await.unwrap().checksum.contains("read back"));
}

#[tokio::test]
async fn the_type_of_an_object_is_the_one_of_the_asset() {
    let (provider, stub) = zone().await;
    let key = key();
    provider.put(&key, &payload(), "image/png").await.unwrap();
    assert_eq!(stub.objects.lock()[key.as_str()], (b"0123456789".to_vec(), "image/png".to_owned()));
}

#[tokio::test]
async fn an_accepted_upload_counts_only_when_it_is_there_and_right() {
    let (provider, stub) = zone().await;
    for (manners, expected) in [
        (Manners { forget_uploads: true, ..Manners::default() }, ErrorKind::Protocol),
        (Manners { damage_uploads: true, ..Manners::default() }, ErrorKind::Corrupt),
        (Manners { damage_uploads: true, no_checksum: true, ..Manners::default() }, ErrorKind::Corrupt),
    ] {
        *stub.manners.lock() = manners;
        let error = provider.put(&key(), &payload(), "text/plain").await.unwrap_err();
        assert_eq!(error.kind, expected, "{manners:?}");
    }
}

#[tokio::test]
async fn a_probe_says_what_it_saw_and_leaves_nothing() {
    let (provider, stub) = zone().await;
    let refuses = "refuses a wrong Checksum, and DESCRIBE shows the SHA-256 of what it holds";
    assert_eq!(provider.probe().await.unwrap().checksum, refuses);
    stub.manners.lock().believe_checksums = true;
    assert!(provider.probe().await.unwrap().checksum.ends_with("a wrong Checksum is not refused"));
    stub.manners.lock().forget_uploads = true;
    assert_eq!(provider.probe().await.unwrap_err().kind, ErrorKind::Protocol);
    assert!(stub.objects.lock().is_empty());
}

#[tokio::test]
async fn a_wrong_key_is_denied_and_nothing_is_ever_missing_or_empty_by_it() {
    let stub = Arc::new(Stub::default());
    let provider = provider(&stub, "wrong").await;
    let key = key();
    let kinds = [
        provider.put(&key, &payload(), "text/plain").await.unwrap_err().kind,
        provider.get(&key, None).await.err().unwrap().kind,
        provider.stat(&key).await.unwrap_err().kind,
        provider.delete(&key).await.unwrap_err().kind,
        provider.list_dir("").await.unwrap_err().kind,
        provider.list_tree("").try_collect::<Vec<_>>().await.unwrap_err().kind,
        provider.probe().await.unwrap_err().kind,
    ];
    assert_eq!(kinds, [ErrorKind::Denied; 7]);
}

#[tokio::test]
async fn a_listing_that_is_none_is_never_an_empty_folder() {
    let (provider, stub) = zone().await;
    for (always, expected) in [
        ((200, "text/html", "<html></html>"), ErrorKind::Protocol),
        ((200, "text/html", "[]"), ErrorKind::Protocol),
        ((200, "application/json", "{}"), ErrorKind::Protocol),
        ((200, "application/json", "[{}]"), ErrorKind::Protocol),
        ((404, "text/html", "<html>404</html>"), ErrorKind::Protocol),
        (
            (400, "application/json", r#"{"HttpCode":400,"Message":"Unable to process request"}"#),
            ErrorKind::Throttled,
        ),
        ((429, "text/plain", ""), ErrorKind::Throttled),
        ((500, "text/plain", ""), ErrorKind::Unavailable),
        ((302, "text/plain", ""), ErrorKind::Refused),
    ] {
        stub.manners.lock().always = Some(always);
        assert_eq!(provider.list_dir("names/").await.unwrap_err().kind, expected, "{always:?}");
    }
    let missing = r#"{"HttpCode":404,"Message":"Object Not Found"}"#;
    stub.manners.lock().always = Some((404, "application/json", missing));
    assert_eq!(provider.list_dir("names/").await.unwrap(), DirListing::default());
    assert_eq!(provider.list_dir("").await.unwrap_err().kind, ErrorKind::NoContainer);
    assert_eq!(provider.put(&key(), &payload(), "a/b").await.unwrap_err().kind, ErrorKind::NoContainer);
}

#[tokio::test]
async fn alien_names_are_walked_and_read() {
    let (provider, stub) = zone().await;
    for key in ["a b/ü%41?#/c+d", "top"] {
        stub.objects.lock().insert(key.to_owned(), (b"x".to_vec(), String::new()));
    }
    let pages: Vec<_> = provider.list_tree("").try_collect().await.unwrap();
    let mut found: Vec<_> = pages.into_iter().flatten().map(|entry| entry.key).collect();
    found.sort();
    assert_eq!(found, ["a b/ü%41?#/c+d", "top"]);
}

#[tokio::test]
async fn a_page_of_a_tree_of_many_folders_costs_a_few_dozen_listings() {
    let (provider, stub) = zone().await;
    for number in 0..500 {
        stub.objects
            .lock()
            .insert(format!("names/{:02x}/{number}/one", number % 16), (b"x".to_vec(), String::new()));
    }
    let mut pages = provider.list_tree("names/");
    let (mut found, mut listed) = (0, 0);
    while let Some(page) = pages.try_next().await.unwrap() {
        let now = stub.listings_all.load(Ordering::SeqCst);
        assert!(
            now - listed < 100 && !page.is_empty(),
            "{} listings for {} entries",
            now - listed,
            page.len()
        );
        (found, listed) = (found + page.len(), now);
    }
    assert_eq!((found, listed), (500, 517));
}

#[tokio::test]
async fn echoed_keys_do_not_reach_the_log() {
    let (provider, stub) = zone().await;
    stub.manners.lock().always =
        Some((400, "application/json", r#"{"HttpCode":400,"Message":"bad key zone-password"}"#));
    let error = provider.stat(&key()).await.unwrap_err().to_string();
    assert!(error.contains("(secret)") && !error.contains(KEY), "{error}");
    assert!(!format!("{provider:?}").contains(KEY));
}
