//! Drills as they are played: a real gateway, real connections, small scenarios.

use std::io::Write;
use std::path::Path;

use parking_lot::Mutex;
use serde_json::Value;

use super::super::Options;
use super::*;

/// What was shown.
#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Vec<u8>>>);

impl Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shown {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

/// Plays a scenario, and returns the exit status, the report and the notes.
async fn played(scenario: &str, config: Option<&Config>, stop: &CancellationToken) -> (u8, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("scenario.yaml");
    std::fs::write(&file, scenario).unwrap();
    let options = Options { json: true, ..Options::default() };
    let drill = Drill::load(file.to_str().unwrap(), config, options).unwrap();
    let (out, notes) = (Shown::default(), Shown::default());
    let screen = Screen::new(Box::new(out.clone()), Box::new(notes.clone()));
    let status = run(drill, config, &screen, stop).await;
    (status, out.text(), notes.text())
}

/// A configuration with three folders as providers.
fn configured(folder: &Path) -> Config {
    let file = folder.join("providers.yaml");
    let provider = |name| format!("  - {{ name: {name}, kind: disk, path: ./{name} }}\n");
    let providers: String = ["a", "b", "c"].map(provider).concat();
    std::fs::write(&file, format!("record_key: file:./key\nproviders:\n{providers}")).unwrap();
    Config::load(&file).unwrap().config
}

/// The files of a provider's folder.
fn files(folder: &Path) -> Vec<String> {
    // What a probe leaves behind may go while it is looked at.
    let files = walkdir::WalkDir::new(folder).into_iter().filter_map(Result::ok);
    let files = files.filter(|entry| entry.file_type().is_file());
    files.map(|entry| entry.path().display().to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_at_one_provider_is_hidden_and_one_at_all_is_counted() {
    let scenario = "
name: tiny
load: { readers: 2, assets: 4, sizes: [{ from: 1KiB, to: 2KiB }], writers: 1, writes: 2/s }
phases:
  - { name: healthy, reads: 20 }
  - { name: one, reads: 20, faults: [{ at: first, fault: '500' }] }
  - { name: all, reads: 4, faults: [{ at: all, fault: '503', methods: [GET], prefix: blobs/ }] }
";
    let (status, out, notes) = played(scenario, None, &CancellationToken::new()).await;
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}\n{out}\n{notes}"));
    let phases = report["phases"].as_array().unwrap();
    let of = |name: &str, key: &str| {
        let phase = phases.iter().find(|phase| phase["name"] == name).unwrap();
        phase[key].as_u64().unwrap()
    };
    assert_eq!(
        (of("healthy", "reads"), of("healthy", "errors"), of("healthy", "struck")),
        (20, 0, 0),
        "{out}"
    );
    // Readers of the same asset at the same time share a request.
    assert!((4..=20).contains(&of("healthy", "part_reads")), "{out}");
    assert_eq!((of("one", "reads"), of("one", "errors"), of("one", "wrong")), (20, 0, 0), "{out}");
    assert_eq!((of("all", "reads"), of("all", "errors"), of("all", "wrong")), (4, 4, 0), "{out}");
    // Each provider was asked, for one of them at least.
    assert!(of("all", "struck") >= 3, "{out}");
    assert_eq!(of("at the end, each asset once", "reads"), 4, "{out}");
    assert_eq!(of("at the end, each asset once", "errors"), 0, "{out}");
    assert!(report["writes_acknowledged"].as_u64().unwrap() > 0, "{out}");
    assert!(report["examples"].as_array().unwrap().len() >= 4, "{out}");
    assert_eq!((status, report["exit"].as_u64()), (1, Some(1)), "{notes}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configured_providers_are_emptied_again_and_their_key_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path());
    let scenario = "
name: tiny
load: { readers: 1, assets: 2, sizes: [{ from: 1KiB, to: 2KiB }] }
phases:
  - { name: healthy, reads: 2 }
  - { name: wiped, reads: 2, faults: [{ at: b, fault: wiped }] }
";
    let (status, out, notes) = played(scenario, Some(&config), &CancellationToken::new()).await;
    assert_eq!(status, 0, "{out}\n{notes}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["providers"], serde_json::json!(["a", "b", "c"]));
    for name in ["a", "b", "c"] {
        assert!(files(&folder.path().join(name)).is_empty(), "{name}");
    }
    assert!(!folder.path().join("key").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_holds_anything_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path());
    let precious = folder.path().join("c/precious.txt");
    std::fs::create_dir_all(precious.parent().unwrap()).unwrap();
    std::fs::write(&precious, "not a drill's").unwrap();
    let scenario = "name: tiny\nphases: [{ name: one, reads: 1 }]";
    let (status, out, notes) = played(scenario, Some(&config), &CancellationToken::new()).await;
    assert_eq!((status, out.as_str()), (64, ""));
    assert!(notes.contains("the provider c is not empty (it holds precious.txt)"), "{notes}");
    assert!(notes.contains("buckets of its own"), "{notes}");
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "not a drill's");
    assert!(files(&folder.path().join("a")).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_the_phase_and_empties_the_providers() {
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path());
    let scenario = "
name: tiny
load: { readers: 16, assets: 2, sizes: [{ from: 1KiB, to: 2KiB }], pace: 100/s, writers: 1, writes: 1/s }
phases: [{ name: long, for: 24h }]
";
    let stop = CancellationToken::new();
    let drill = played(scenario, Some(&config), &stop);
    let begun = async {
        // Two assets in three copies: parts, records and feed entries; canaries besides.
        while ["a", "b", "c"].iter().map(|name| files(&folder.path().join(name)).len()).sum::<usize>() < 21 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let ((status, _, notes), ()) = tokio::join!(drill, begun);
    assert_eq!(status, EXIT_NOT_PLAYED, "{notes}");
    for name in ["a", "b", "c"] {
        assert!(files(&folder.path().join(name)).is_empty(), "{name}");
    }
}
