//! The admin listener, and `--check`: what operators look at.

use crate::support::data;
use crate::support::gateway::{Outcome, Setup};
use crate::support::provider::{Trio, three_disks};
use crate::support::raw::exchange;

#[tokio::test]
async fn the_admin_listener_shows_providers_assets_and_metrics() {
    let trio = Trio::shared().await;
    let gateway = Setup::of(&trio.all()).start().await;
    for name in ["icons/a.png", "icons/b.png", "other/c.png"] {
        gateway.put_everywhere(name, data::bytes(name, 100)).await;
    }
    let status = gateway.admin("api/status").await;
    assert_eq!(status.status, 200);
    let text = status.json().to_string();
    assert!(trio.all().iter().all(|provider| text.contains(provider.name())), "{text}");
    let listed = gateway.admin("api/assets?prefix=icons/&limit=10").await.json().to_string();
    assert!(
        listed.contains("icons/a.png") && listed.contains("icons/b.png") && !listed.contains("other/"),
        "{listed}"
    );
    let after = gateway.admin("api/assets?prefix=icons/&after=icons/a.png").await.json().to_string();
    assert!(!after.contains("\"icons/a.png\"") && after.contains("icons/b.png"), "{after}");
    let one = gateway.admin("api/assets/icons/a.png").await;
    assert_eq!(one.status, 200);
    assert!(
        trio.all().iter().all(|provider| one.json().to_string().contains(provider.name())),
        "{}",
        one.json()
    );
    assert_eq!(gateway.admin("api/assets/icons/unknown.png").await.status, 404);
    let metrics = gateway.admin("metrics").await;
    assert!(
        metrics.header("content-type").starts_with("application/openmetrics-text")
            || metrics.header("content-type").starts_with("text/plain")
    );
    assert!(String::from_utf8_lossy(&metrics.body).contains("# TYPE triplicate_"));
    assert!(gateway.admin("api/openapi.json").await.json()["openapi"].is_string());
    assert_eq!(gateway.admin("api/events").await.status, 200);
    assert_eq!(gateway.get("metrics").await.status, 404, "nothing of it is public");
}

#[tokio::test]
async fn the_status_page_stands_alone_and_no_other_page_may_read_it() {
    let disks = three_disks();
    let gateway = Setup::of(&disks.iter().collect::<Vec<_>>()).start().await;
    let page = gateway.admin("").await;
    let text = String::from_utf8_lossy(&page.body).into_owned();
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"), "{page:?}");
    assert!(disks.iter().all(|disk| text.contains(disk.name())) && !text.contains("<script"), "{text}");
    for (path, status) in
        [("api/%zz", 400), ("api/assets?prefix=%FF", 400), ("api/assets?limit=1001", 400), ("api/x", 404)]
    {
        assert_eq!(gateway.admin(path).await.status, status, "{path}");
    }
    let log = gateway.log();
    let admin = log.lines().find_map(|line| line.strip_prefix("admin: ")).expect("it says where").trim();
    for (host, status) in [("rebound.example", 421), ("localhost", 200), ("127.0.0.1:8081", 200)] {
        let request = format!("GET /api/status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(exchange(admin, request.as_bytes()).await.status, status, "{host}");
    }
}

#[tokio::test]
async fn a_check_tells_what_to_fix() {
    let trio = Trio::shared().await;
    let mut gateway = Setup::of(&trio.all()).start().await;
    gateway.put_everywhere("a.bin", data::bytes("a", 100)).await;
    gateway.stop().await;
    let fine = gateway.run(&["--check"]).await;
    assert_eq!(fine.code, 0, "{fine:?}");
    let text = |outcome: &Outcome| format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(trio.all().iter().all(|provider| text(&fine).contains(provider.name())), "{fine:?}");
    for down in trio.all() {
        down.wire().refuse().await;
        let outcome = gateway.run(&["--check"]).await;
        assert_eq!(outcome.code, 2, "{outcome:?}");
        assert!(text(&outcome).contains(down.name()), "{outcome:?}");
        down.wire().restore().await;
    }
    let broken = Setup::of(&trio.all()).yaml("surprise: 1").prepare().run(&["--check"]).await;
    assert_eq!(broken.code, 64, "{broken:?}");
    assert!(broken.stderr.contains("surprise"), "{broken:?}");
}

#[tokio::test]
async fn no_secret_is_ever_printed() {
    let trio = Trio::shared().await;
    let mut gateway = Setup::of(&trio.all()).yaml("").start().await;
    gateway.put_everywhere("a.bin", data::bytes("a", 100)).await;
    trio.two.wire().refuse().await;
    assert_eq!(gateway.put("b.bin", data::bytes("b", 100)).await.status, 201);
    let check = gateway.run(&["--check", "--log", "trace"]).await;
    let status = gateway.admin("api/status").await;
    let text =
        [gateway.log(), check.stdout, check.stderr, String::from_utf8_lossy(&status.body).into_owned()]
            .concat();
    for secret in
        [crate::support::servers::SECRET, crate::support::gateway::RECORD_KEY, trio.bunny.zone().password()]
    {
        assert!(!text.contains(secret), "a secret is printed");
    }
    assert_eq!(gateway.stop().await, 0);
}
