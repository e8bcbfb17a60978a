//! The report of a check: one form, for people and for programs.

use std::fmt;

use serde::Serialize;

use super::{EXIT_FINE, EXIT_FIX};
use crate::config::{Config, Loaded, Origin, Problem, ProviderSettings, RecordKeySource, Token};

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    #[serde(serialize_with = "as_map")]
    configuration: Vec<(&'static str, String)>,
    warnings: Vec<Problem>,
    record_key: Vec<Finding>,
    pub(super) providers: Vec<ProviderReport>,
    fixes: usize,
    pub(super) exit: u8,
}

/// What was found at one provider.
#[derive(Debug, Serialize)]
pub(super) struct ProviderReport {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) findings: Vec<Finding>,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    pub(super) topic: &'static str,
    pub(super) text: String,
}

/// What a finding asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// Nothing.
    Ok,
    /// Attention; the exit status is the same as without it.
    Note,
    /// Something has to be done.
    Fix,
}

impl Finding {
    /// Finds something in order.
    pub(super) fn ok(topic: &'static str, text: impl Into<String>) -> Self {
        Self { level: Level::Ok, topic, text: text.into() }
    }

    /// Finds something to know.
    pub(super) fn note(topic: &'static str, text: impl Into<String>) -> Self {
        Self { level: Level::Note, topic, text: text.into() }
    }

    /// Finds something to fix.
    pub(super) fn fix(topic: &'static str, text: impl Into<String>) -> Self {
        Self { level: Level::Fix, topic, text: text.into() }
    }
}

impl Report {
    /// Puts everything together.
    pub(super) fn new(loaded: &Loaded, record_key: Vec<Finding>, providers: Vec<ProviderReport>) -> Self {
        let all = providers.iter().flat_map(|provider| &provider.findings).chain(&record_key);
        let fixes = all.filter(|finding| finding.level == Level::Fix).count();
        Self {
            configuration: summary(&loaded.config, &loaded.origin),
            warnings: loaded.warnings.clone(),
            record_key,
            providers,
            fixes,
            exit: if fixes == 0 { EXIT_FINE } else { EXIT_FIX },
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Configuration")?;
        for (topic, text) in &self.configuration {
            writeln!(f, "  {topic:<13} {text}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "  NOTE  {}", warning.to_string().replace('\n', "\n        "))?;
        }
        for finding in &self.record_key {
            writeln!(f, "  {finding}")?;
        }
        for provider in &self.providers {
            writeln!(f, "\n{} ({})", provider.name, provider.kind)?;
            for finding in &provider.findings {
                writeln!(f, "  {finding}")?;
            }
        }
        match self.fixes {
            0 => writeln!(f, "\nFine."),
            1 => writeln!(f, "\nOne thing to fix."),
            fixes => writeln!(f, "\n{fixes} things to fix."),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Note => "NOTE",
            Level::Fix => "FIX",
        };
        write!(f, "{level:<5} {}: {}", self.topic, self.text)
    }
}

fn as_map<S: serde::Serializer>(pairs: &[(&'static str, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(topic, text)| (topic, text)))
}

/// Describes the configuration, free of secrets.
fn summary(config: &Config, origin: &Origin) -> Vec<(&'static str, String)> {
    let file = match origin {
        Origin::File(path) => path.display().to_string(),
        Origin::BuiltIn => "built in, since there is no ./providers.yaml".to_owned(),
    };
    let providers: Vec<String> = config
        .providers
        .iter()
        .map(|provider| format!("{} {}", provider.id, place(&provider.settings)))
        .collect();
    let count = config.providers.len();
    let record_key = match &config.record_key {
        RecordKeySource::Key(_) => "given".to_owned(),
        RecordKeySource::File(path) => path.display().to_string(),
    };
    vec![
        ("file", file),
        ("listen", config.listen.to_string()),
        ("admin", config.admin.to_string()),
        ("state", config.state.display().to_string()),
        ("record key", record_key),
        ("public url", config.public_url.clone().unwrap_or_else(|| "follows listen".to_owned())),
        ("tokens", tokens(&config.tokens)),
        ("providers", format!("{count}, a write needs {}: {}", count / 2 + 1, providers.join(", "))),
    ]
}

fn place(settings: &ProviderSettings) -> String {
    match settings {
        ProviderSettings::S3(s3) => format!("(bucket {} at {})", s3.bucket, s3.endpoint),
        ProviderSettings::Bunny(bunny) => format!("(zone {} at {})", bunny.zone, bunny.endpoint),
        ProviderSettings::Disk(disk) => format!("({})", disk.path.display()),
    }
}

fn tokens(tokens: &[Token]) -> String {
    if tokens.is_empty() {
        return "none: one is generated at the start".to_owned();
    }
    let describe = |token: &Token| {
        let rights = [(token.write, "write"), (token.delete, "delete"), (token.admin, "admin")];
        let rights: Vec<&str> = rights.iter().filter(|(has, _)| *has).map(|(_, right)| *right).collect();
        let below = if token.prefixes.is_empty() {
            String::new()
        } else {
            format!(" below {}", token.prefixes.join(" "))
        };
        format!("{} ({}{below})", token.name, rights.join(", "))
    };
    tokens.iter().map(describe).collect::<Vec<_>>().join(", ")
}
