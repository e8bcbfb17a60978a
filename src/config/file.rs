//! The file: every key of the configuration but those of a provider, with its default and its range.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::providers::real_path;
use super::reader::{Field, Findings, Section};
use super::tree::{Node, Position};
use super::{
    CacheConfig, CacheControlRule, Config, Limits, ProviderSettings, RecordKeySource, Timeouts, Token,
    providers, scalar,
};

/// The default of `record_key`, interpolated as if it stood in the file.
pub(super) const RECORD_KEY_DEFAULT: &str = "${TRIPLICATE_RECORD_KEY:-file:./data/record.key}";

/// What the layout can hold: the sizes of more parts would not fit into a record.
const ASSET_BYTES_MAX: u64 = 48 << 30;
const ASSET_BYTES_DEFAULT: u64 = 5 << 30;
const MEMORY_BYTES_DEFAULT: u64 = 256 << 20;
const UPLOADS_DEFAULT: usize = 64;
const UPLOADS_MAX: usize = 100_000;
const READS_DEFAULT: usize = 4096;
const READS_MAX: usize = 1_000_000;
const FEED_INTERVAL_DEFAULT: Duration = Duration::from_secs(2);
const FEED_INTERVAL_MIN: Duration = Duration::from_millis(50);
const RETENTION_DEFAULT: Duration = Duration::from_hours(7 * 24);
const RETENTION_MAX: Duration = Duration::from_hours(100 * 365 * 24);
const TIMEOUT_MIN: Duration = Duration::from_millis(100);
const HOUR: Duration = Duration::from_hours(1);

const ROOT_KEYS: &[&str] = &[
    "listen",
    "admin",
    "state",
    "record_key",
    "public_url",
    "tokens",
    "providers",
    "cache",
    "limits",
    "cache_control",
    "feed_interval",
    "retention",
    "timeouts",
    "conditional_writes",
];
const TOKEN_KEYS: &[&str] = &["name", "hash", "allow", "prefixes"];

/// Reads the whole file; relative paths start at `base`. `None` goes with at least one error.
pub(super) fn read(root: Option<&Node>, base: &Path, findings: &mut Findings<'_>) -> Option<Config> {
    let Some(root) = root else {
        findings.error(Position { line: 1, column: 1 }, "", "the file is empty; `providers` is needed");
        return None;
    };
    let field = Field::root(root);
    let section = Section::open(&field, findings)?;
    section.refuse_unknown(&field, ROOT_KEYS, findings);
    let state = section.read("state", findings, |text| path(text, base));
    let state = state.unwrap_or_else(|| base.join("./data/state"));
    let config = Config {
        listen: section.read("listen", findings, scalar::address).unwrap_or(([127, 0, 0, 1], 8080).into()),
        admin: section.read("admin", findings, scalar::address).unwrap_or(([127, 0, 0, 1], 8081).into()),
        record_key: record_key(&section, base, findings)
            .unwrap_or_else(|| RecordKeySource::File(PathBuf::new())),
        public_url: section.read("public_url", findings, public_url).flatten(),
        tokens: tokens(&section, findings),
        providers: providers::read(&section, base, findings),
        cache: cache(&section, &state, base, findings),
        limits: limits(&section, findings),
        cache_control: cache_control(&section, findings),
        feed_interval: duration(&section, "feed_interval", FEED_INTERVAL_MIN, HOUR, findings)
            .unwrap_or(FEED_INTERVAL_DEFAULT),
        retention: duration(&section, "retention", Duration::ZERO, RETENTION_MAX, findings)
            .unwrap_or(RETENTION_DEFAULT),
        timeouts: timeouts(&section, findings),
        conditional_writes: section.read("conditional_writes", findings, scalar::boolean).unwrap_or(false),
        hedging: true,
        state,
    };
    check_listeners(&config, &section, findings);
    warn_of_state(&config, &section, findings);
    findings.errors.is_empty().then_some(config)
}

/// Reads a path; a relative one starts at `base`.
pub(super) fn path(text: &str, base: &Path) -> Result<PathBuf, String> {
    match text {
        "" => Err("is an empty path".to_owned()),
        _ if text.contains('\0') => Err("is not a path".to_owned()),
        _ => Ok(base.join(text)),
    }
}

fn record_key(section: &Section<'_>, base: &Path, findings: &mut Findings<'_>) -> Option<RecordKeySource> {
    if let Some(field) = section.get("record_key") {
        return field.parse_hidden(findings, |text| parse_record_key(text, base));
    }
    let text = super::interpolate::expand(RECORD_KEY_DEFAULT, findings.lookup);
    let parsed = text.map_err(|flaws| flaws.join("; ")).and_then(|text| {
        parse_record_key(&text, base).map_err(|flaw| format!("TRIPLICATE_RECORD_KEY (not shown) {flaw}"))
    });
    parsed.map_err(|flaw| findings.error(section.at, "record_key", flaw)).ok()
}

fn parse_record_key(text: &str, base: &Path) -> Result<RecordKeySource, String> {
    if let Some(file) = text.strip_prefix("file:") {
        return path(file, base).map(RecordKeySource::File);
    }
    text.parse().map(RecordKeySource::Key).map_err(|_| {
        "is neither 64 hex digits nor `file:PATH`; `openssl rand -hex 32` makes a key".to_owned()
    })
}

/// Reads the base of URLs in receipts; an empty one is as good as none.
fn public_url(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    Ok(Some(scalar::url(text)?.as_str().trim_end_matches('/').to_owned()))
}

fn tokens(section: &Section<'_>, findings: &mut Findings<'_>) -> Vec<Token> {
    let mut names = HashMap::new();
    let mut hashes = HashMap::new();
    let mut tokens = Vec::new();
    for item in section.list("tokens", findings) {
        let Some(token) = token(&item, findings) else { continue };
        if let Some(other) = names.insert(token.name.clone(), item.path.clone()) {
            findings.error(item.at, &item.path, format!("has the name of {other}; choose another"));
        }
        if let Some(other) = hashes.insert(token.hash, item.path.clone()) {
            findings.error(item.at, &item.path, format!("has the hash of {other}; make a token for each"));
        }
        tokens.push(token);
    }
    tokens
}

fn token(item: &Field<'_>, findings: &mut Findings<'_>) -> Option<Token> {
    let section = Section::open(item, findings)?;
    section.refuse_unknown(item, TOKEN_KEYS, findings);
    let name = section.read_required("name", findings, scalar::token_name);
    let hash = section.read_secret("hash", findings, scalar::token_hash);
    let allow = section.require("allow", findings).map(|allow| (allow.clone(), allow.items(findings)));
    let mut rights = Vec::new();
    if let Some((field, items)) = allow {
        if items.is_empty() && !findings.errors.iter().any(|error| error.path == field.path) {
            findings.error(field.at, &field.path, "allows nothing; list `write`, `delete` or `admin`");
        }
        rights.extend(items.iter().filter_map(|item| item.parse(findings, right)));
    }
    let prefixes = token_prefixes(&section, findings);
    Some(Token {
        name: name?,
        hash: hash?,
        write: rights.contains(&Right::Write),
        delete: rights.contains(&Right::Delete),
        admin: rights.contains(&Right::Admin),
        prefixes,
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Right {
    Write,
    Delete,
    Admin,
}

fn right(text: &str) -> Result<Right, String> {
    match text {
        "write" => Ok(Right::Write),
        "delete" => Ok(Right::Delete),
        "admin" => Ok(Right::Admin),
        _ => Err("is not a right: `write`, `delete` or `admin`".to_owned()),
    }
}

fn token_prefixes(section: &Section<'_>, findings: &mut Findings<'_>) -> Vec<String> {
    let mut prefixes = Vec::new();
    for item in section.list("prefixes", findings) {
        let parsed = item.parse(findings, |text| match text {
            // An unset variable must not turn into a right to all names.
            "" => Err("is empty; leave `prefixes` out to allow all names".to_owned()),
            _ => scalar::prefix(text),
        });
        let Some(prefix) = parsed else { continue };
        if !prefix.ends_with('/') {
            findings.warn(
                item.at,
                &item.path,
                "does not end with `/`: it fits every name that begins so, not only a folder",
            );
        }
        prefixes.push(prefix);
    }
    prefixes
}

fn cache(section: &Section<'_>, state: &Path, base: &Path, findings: &mut Findings<'_>) -> CacheConfig {
    let section = section.section("cache", &["memory", "disk", "path"], findings);
    let size = |key, default, findings: &mut Findings<'_>| {
        section.as_ref().and_then(|section| section.read(key, findings, scalar::size)).unwrap_or(default)
    };
    let memory_bytes = size("memory", MEMORY_BYTES_DEFAULT, findings);
    let disk_bytes = size("disk", 0, findings);
    let folder = section.as_ref().and_then(|section| section.read("path", findings, |text| path(text, base)));
    CacheConfig { memory_bytes, disk_bytes, path: folder.unwrap_or_else(|| state.join("cache")) }
}

fn limits(section: &Section<'_>, findings: &mut Findings<'_>) -> Limits {
    let mut limits =
        Limits { asset_bytes: ASSET_BYTES_DEFAULT, uploads: UPLOADS_DEFAULT, reads: READS_DEFAULT };
    let Some(section) = section.section("limits", &["asset", "uploads", "reads"], findings) else {
        return limits;
    };
    if let Some(bytes) = section.read("asset", findings, asset_size) {
        limits.asset_bytes = bytes;
    }
    if let Some(count) = section.read("uploads", findings, |text| scalar::integer(text, &(0..=UPLOADS_MAX))) {
        limits.uploads = count;
    }
    if let Some(count) = section.read("reads", findings, |text| scalar::integer(text, &(0..=READS_MAX))) {
        limits.reads = count;
    }
    limits
}

fn asset_size(text: &str) -> Result<u64, String> {
    match scalar::size(text)? {
        0 => Ok(ASSET_BYTES_MAX),
        bytes if bytes <= ASSET_BYTES_MAX => Ok(bytes),
        _ => Err("is more than 48GiB, the largest asset that a record can describe".to_owned()),
    }
}

fn cache_control(section: &Section<'_>, findings: &mut Findings<'_>) -> Vec<CacheControlRule> {
    let mut rules: Vec<CacheControlRule> = Vec::new();
    for item in section.list("cache_control", findings) {
        let Some(section) = Section::open(&item, findings) else { continue };
        section.refuse_unknown(&item, &["prefix", "value"], findings);
        let prefix = section.read_required("prefix", findings, scalar::prefix);
        let value = section.read_required("value", findings, scalar::header_value);
        let (Some(prefix), Some(value)) = (prefix, value) else { continue };
        if rules.iter().any(|rule| prefix.starts_with(&rule.prefix)) {
            findings.warn(
                item.at,
                &item.path,
                "is never used: a rule above fits all of its names; move it up",
            );
        }
        rules.push(CacheControlRule { prefix, value });
    }
    rules
}

fn timeouts(section: &Section<'_>, findings: &mut Findings<'_>) -> Timeouts {
    let default = Timeouts::default();
    let Some(section) = section.section("timeouts", &["header", "idle", "body", "write"], findings) else {
        return default;
    };
    let mut read = |key| duration(&section, key, TIMEOUT_MIN, HOUR, findings);
    Timeouts {
        header: read("header").unwrap_or(default.header),
        idle: read("idle").unwrap_or(default.idle),
        body: read("body").unwrap_or(default.body),
        write: read("write").unwrap_or(default.write),
    }
}

fn duration(
    section: &Section<'_>,
    key: &str,
    least: Duration,
    most: Duration,
    findings: &mut Findings<'_>,
) -> Option<Duration> {
    section.read(key, findings, |text| scalar::duration(text, &(least..=most)))
}

fn check_listeners(config: &Config, section: &Section<'_>, findings: &mut Findings<'_>) {
    let at = |key| section.get(key).map_or(section.at, |field| field.at);
    if same_listener(config.listen, config.admin) {
        findings.error(at("admin"), "admin", "is the address of `listen`; choose another port");
    }
    let nobody = !config.tokens.is_empty() && !config.tokens.iter().any(|token| token.admin);
    if nobody && !config.admin.ip().is_loopback() {
        findings.warn(
            at("admin"),
            "admin",
            "is not on the loopback, so it asks for a token that allows `admin`, and there is none",
        );
    }
}

/// Tells whether two listeners cannot both be opened.
pub(super) fn same_listener(one: SocketAddr, other: SocketAddr) -> bool {
    one == other && one.port() != 0
}

/// What may be deleted must not hold what may not.
fn warn_of_state(config: &Config, section: &Section<'_>, findings: &mut Findings<'_>) {
    let state = real_path(&config.state);
    let at = |key| section.get(key).map_or(section.at, |field| field.at);
    if let RecordKeySource::File(file) = &config.record_key
        && real_path(file).starts_with(&state)
    {
        let message = "lies within `state`, which may be deleted: without the key nothing can be read";
        findings.warn(at("record_key"), "record_key", message);
    }
    for provider in &config.providers {
        if let ProviderSettings::Disk(disk) = &provider.settings
            && real_path(&disk.path).starts_with(&state)
        {
            let message = format!("may be deleted, but the provider {} lies within it", provider.id);
            findings.warn(at("state"), "state", message);
        }
    }
}
