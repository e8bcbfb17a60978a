//! Keeps the house in order: floors, file length, module docs, and a few words that have no place here.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

/// The floors from the top down; a module imports only from floors below its own, or itself.
const FLOORS: [&[&str]; 12] = [
    &["main"],
    &["cli"],
    &["drill"],
    &["gateway"],
    &["config"],
    &["http"],
    &["read", "write", "audit", "repair", "retention"],
    &["catalog", "cache", "health"],
    &["replica"],
    &["provider", "single", "task"],
    &["clock", "telemetry"],
    &["asset"],
];
/// No source file is longer.
const FILE_LINES_MAX: usize = 400;

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The top-level module that the file belongs to, if it is one of the product's.
    fn module(&self) -> Option<&str> {
        let within = self.path.strip_prefix(root().join("src")).ok()?;
        within.components().next()?.as_os_str().to_str()?.split('.').next()
    }

    fn is_test(&self) -> bool {
        let stem = self.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        stem == "tests" || stem.ends_with("_tests")
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(Source { text: fs::read_to_string(&path).unwrap(), path });
            }
        }
    }
    found
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

#[test]
fn every_module_has_a_floor() {
    let sources = sources("src");
    assert!(sources.len() > 50, "the sources were not found");
    for source in &sources {
        let module = source.module().unwrap();
        assert!(module == "lib" || floor(module).is_some(), "{module} has no floor");
    }
}

#[test]
fn imports_go_downward_only() {
    let mut wrong = Vec::new();
    for source in sources("src") {
        let module = source.module().unwrap();
        let Some(own) = floor(module) else { continue };
        for (number, line) in source.text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let lower = if module == "main" { "triplicate::" } else { "crate::" };
            for (at, _) in code.match_indices(lower) {
                let rest = &code[at + lower.len()..];
                let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let allowed = name == module || floor(&name).is_none_or(|floor| floor > own);
                if !allowed {
                    wrong.push(format!("{}:{}: {module} imports {name}", source.path.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn files_are_short() {
    let all = ["src", "tests", "benches"].map(sources);
    let long = all.iter().flatten().filter(|source| source.text.lines().count() > FILE_LINES_MAX);
    let long: Vec<_> = long.map(|source| source.path.display().to_string()).collect();
    assert!(long.is_empty(), "longer than {FILE_LINES_MAX} lines: {long:?}");
}

#[test]
fn modules_say_what_they_are() {
    let modules = sources("src").into_iter().filter(|source| !source.is_test());
    let silent = modules.filter(|source| {
        !source.text.starts_with("//! ") && !source.text.starts_with("#![doc = include_str!")
    });
    let silent: Vec<_> = silent.map(|source| source.path.display().to_string()).collect();
    assert!(silent.is_empty(), "no module docs: {silent:?}");
}

#[test]
fn nothing_is_left_undone_and_no_test_is_switched_off() {
    // Spelled in halves, so that this list does not find itself.
    let words = [["to", "do!("], ["unimple", "mented!("], ["TO", "DO"], ["FIX", "ME"], ["#[ig", "nore"]];
    for source in ["src", "tests", "benches"].into_iter().flat_map(sources) {
        for word in words.map(|halves| halves.concat()) {
            assert!(!source.text.contains(&word), "{} has {word}", source.path.display());
        }
    }
}
