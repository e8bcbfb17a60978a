//! Drills over two real S3 servers and the Bunny emulator: what clients see while each provider fails in turn.
//!
//! `TRIPLICATE_DRILL=matrix TRIPLICATE_DRILL_READS=34000 cargo test --release --test it drill -- --nocapture` plays
//! another drill, or one with more reads a phase, and shows its table; that is how the figures of
//! docs/operations.md are made.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::support::data_dir;
use crate::support::provider::Trio;

/// A fault that lies; small enough for every run of the tests.
const DRILLS: &str = "flipped-bit";
const READS: &str = "300";
/// How long one drill may take; the largest take most of an hour.
const PATIENCE: Duration = Duration::from_secs(3 * 3_600);

#[tokio::test]
async fn no_fault_of_any_one_provider_is_seen_by_clients_under_load() {
    let trio = Trio::private().await;
    let home = data_dir("drill-");
    let providers: String = trio.all().map(|provider| format!("  - {}\n", provider.direct_yaml())).concat();
    let config = home.path().join("providers.yaml");
    fs::write(&config, format!("providers:\n{providers}")).expect("the configuration is written");
    let setting = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let drills = setting("TRIPLICATE_DRILL", DRILLS);
    for drill in drills.split(',') {
        let report = home.path().join("report.json");
        let drilling = tokio::process::Command::new(env!("CARGO_BIN_EXE_triplicate"))
            .args(["--drill", drill, "--reads", &setting("TRIPLICATE_DRILL_READS", READS), "--config"])
            .arg(&config)
            .arg("--report")
            .arg(&report)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, drilling).await.expect("in time").expect("a process");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let table = format!("{drill}\n{}\n{}", text(&output.stdout), text(&output.stderr));
        println!("{table}");
        let report: Value = serde_json::from_slice(&fs::read(report).expect(&table)).expect("JSON");
        assert_eq!((&report["errors"], &report["wrong"]), (&Value::from(0), &Value::from(0)), "{table}");
        assert_eq!(output.status.code(), Some(0), "{table}");
        let struck = |phase: &Value| phase["struck"].as_u64().unwrap_or(0);
        let phases = report["phases"].as_array().expect("phases");
        // Refused connections never reach the wire's count.
        assert!(drill == "refused" || phases.iter().any(|phase| struck(phase) > 0), "{table}");
    }
}
