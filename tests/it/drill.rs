//! Drills over two real S3 servers and the Bunny emulator: what clients see while each provider fails in turn.
//!
//! `TRIPLICATE_DRILL=refused,stall,mid-body:50 TRIPLICATE_DRILL_READS=34000 cargo test --test it drill -- --nocapture`
//! plays other drills, one after the other, with more reads a phase (of one: its own), and shows their tables;
//! `campaign` stands for those that the figures of docs/operations.md are made of. `TRIPLICATE_BINARY` names another
//! build of the gateway, and `TRIPLICATE_DRILL_REPORTS` a folder for a report of each drill (`NAME.json`, `NAME.txt`)
//! and `summary.md`.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::support::data_dir;
use crate::support::gateway::binary;
use crate::support::provider::Trio;

/// A fault that lies; small enough for every run of the tests.
const DRILLS: &str = "flipped-bit";
const READS: &str = "300";
/// What is played as `campaign`: what the documented figures are made of, the short ones first.
const CAMPAIGN: &str = "tail,tail-unhedged,mid-body:30,stampede:100000,year,refused,black-hole,slow-first-byte,dribble,\
                        stall,reset,flipped-bit,short-body,wrong-range,wrong-body,gzip,html,throttled,401,403,404,\
                        flapping,wiped";
/// Drills of another kind than one fault at one provider, of which less is promised.
const OTHERS: [&str; 9] = [
    "tail",
    "tail-unhedged",
    "mid-body",
    "stampede",
    "year",
    "debt",
    "two-refused",
    "two-flipped-bit",
    "matrix",
];
/// How long one drill may take; the largest take most of an hour.
const PATIENCE: Duration = Duration::from_secs(3 * 3_600);
const SUMMARY_HEAD: &str = "\
| drill | reads | failed | wrong | healthy p99, p99.9 | worst p99 after 1 s, p99.9 | hedge | extra | demoted | takeovers, hedges won | writes | s |
|---|---|---|---|---|---|---|---|---|---|---|---|
";

#[tokio::test]
async fn no_fault_of_any_one_provider_is_seen_by_clients_under_load() {
    let trio = Trio::private().await;
    let home = data_dir("drill-");
    let providers: String = trio.all().map(|provider| format!("  - {}\n", provider.direct_yaml())).concat();
    let config = home.path().join("providers.yaml");
    fs::write(&config, format!("providers:\n{providers}")).expect("the configuration is written");
    let setting = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let measured = std::env::var_os("TRIPLICATE_DRILL").is_some();
    let folder = std::env::var_os("TRIPLICATE_DRILL_REPORTS").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| home.path().join("reports"));
    fs::create_dir_all(&folder).expect("a folder for the reports");
    let (drills, reads) = (setting("TRIPLICATE_DRILL", DRILLS), setting("TRIPLICATE_DRILL_READS", READS));
    let (mut summary, mut failed) = (SUMMARY_HEAD.to_owned(), Vec::new());
    let drills = if drills == "campaign" { CAMPAIGN } else { &drills };
    for drill in drills.split(',') {
        let (drill, reads) = drill.split_once(':').unwrap_or((drill, &reads));
        let (report, table) = play(drill, reads, &config, &folder).await;
        println!("{table}");
        match report.as_ref().map(|report| judge(drill, report, measured)) {
            Some(Ok(())) => {}
            Some(Err(reason)) => failed.push(format!("{drill}: {reason}\n{table}")),
            None => failed.push(format!("{drill}: there is no report\n{table}")),
        }
        summary += &report.map_or(format!("| {drill} | not played |\n"), |report| row(drill, &report));
        // Written after each, so that whoever ends a long run has what was played until then.
        fs::write(folder.join("summary.md"), &summary).expect("the summary is written");
    }
    println!("{summary}");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Plays a drill, and returns its report and what it showed.
async fn play(drill: &str, reads: &str, config: &Path, folder: &Path) -> (Option<Value>, String) {
    let report = folder.join(format!("{drill}.json"));
    // One of an earlier run is none of this one.
    let _ = fs::remove_file(&report);
    let drilling = tokio::process::Command::new(binary())
        .args(["--drill", drill, "--reads", reads, "--config"])
        .arg(config)
        .arg("--report")
        .arg(&report)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, drilling).await.expect("in time").expect("a process");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let table = format!("{drill}: {}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr));
    fs::write(folder.join(format!("{drill}.txt")), &table).expect("the table is written");
    (fs::read(report).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()), table)
}

/// Says what is wrong with what clients saw, if anything is; what was promised of a single fault beyond that is told
/// from enough reads only, where somebody has chosen a drill to be `measured`.
fn judge(drill: &str, report: &Value, measured: bool) -> Result<(), String> {
    let struck = phases(report).any(|phase| phase["struck"].as_u64().unwrap_or(0) > 0);
    // These never reach the wire's count.
    let is_counted = !["refused", "two-refused", "flapping", "wiped", "stampede", "debt"].contains(&drill);
    let is_of_one_fault = !OTHERS.contains(&drill);
    match (report["errors"].as_u64(), report["wrong"].as_u64(), report["exit"].as_u64()) {
        (Some(0), Some(0), Some(0)) if !struck && is_counted => Err("nothing was ever broken".to_owned()),
        (Some(0), Some(0), Some(0)) if measured && is_of_one_fault => promised(report),
        (Some(0), Some(0), Some(0)) => Ok(()),
        told => Err(format!("errors, wrong reads, exit status: {told:?}")),
    }
}

/// Says what was promised and not kept: how soon reads leave a faulty provider, and how many requests more are sent.
/// How slow the slowest reads are tells more of this machine, and is merely shown.
fn promised(report: &Value) -> Result<(), String> {
    let missed: Vec<_> =
        report["missed"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let broken: Vec<_> = missed.iter().filter(|missed| !missed.contains(": p99 ")).collect();
    if broken.is_empty() { Ok(()) } else { Err(format!("{broken:?}")) }
}

fn phases(report: &Value) -> impl Iterator<Item = &Value> {
    report["phases"].as_array().into_iter().flatten()
}

/// Returns the line of a drill in the summary; of its faulty phases the worst.
fn row(drill: &str, report: &Value) -> String {
    let is_faulty = |phase: &&Value| !phase["demoted"].is_null() || phase["struck"].as_u64() > Some(0);
    let worst = |of: &dyn Fn(&Value) -> Option<f64>| {
        phases(report).filter(is_faulty).filter_map(of).fold(0.0, f64::max)
    };
    let at = |key: &'static [&'static str]| {
        move |phase: &Value| key.iter().fold(phase, |value, key| &value[*key]).as_f64()
    };
    let sum = |key: &str| phases(report).filter_map(|phase| phase[key].as_u64()).sum::<u64>();
    let healthy = phases(report).next().unwrap_or(&Value::Null);
    let never = phases(report).any(|phase| phase["demoted"] == "never");
    let left = phases(report).filter_map(|phase| phase["demoted"]["after_ms"].as_u64()).max();
    let demoted = match left {
        _ if never => "never".to_owned(),
        Some(milliseconds) => format!("{milliseconds} ms"),
        None => "–".to_owned(),
    };
    let mut row = String::new();
    let _ = writeln!(
        row,
        "| {drill} | {} | {} | {} | {:.0}, {:.0} ms | {:.0}, {:.0} ms | {:.0} ms | {:.1} % | {demoted} | {}, {} | {}/{} | {:.0} |",
        report["reads"],
        report["errors"],
        report["wrong"],
        at(&["whole_ms", "p99"])(healthy).unwrap_or(0.0),
        at(&["whole_ms", "p999"])(healthy).unwrap_or(0.0),
        worst(&at(&["later_ms", "p99"])),
        worst(&at(&["whole_ms", "p999"])),
        worst(&at(&["hedge_ms"])),
        worst(&at(&["extra_requests"])) * 100.0,
        sum("takeovers"),
        sum("hedges_won"),
        report["writes_acknowledged"],
        report["writes_asked"],
        report["seconds"].as_f64().unwrap_or(0.0),
    );
    row
}
