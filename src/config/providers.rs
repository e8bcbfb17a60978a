//! Providers: reads their list, and refuses two that are the same place.
//!
//! Two providers at one place would look like two copies and be lost together.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use url::Url;

use super::reader::{Field, Findings, Section, nearest};
use super::{ProviderConfig, ProviderSettings, scalar};
use crate::provider::ProviderId;
use crate::provider::bunny::BunnySettings;
use crate::provider::disk::DiskSettings;
use crate::provider::s3::S3Settings;

/// How many providers there may be; every write waits for a majority of them.
const PROVIDERS_MAX: usize = 15;
/// The region that vendors without regions take.
const REGION_DEFAULT: &str = "us-east-1";

const KINDS: [&str; 3] = ["s3", "bunny", "disk"];
const S3_KEYS: &[&str] =
    &["name", "kind", "endpoint", "region", "bucket", "access_key_id", "secret_access_key", "path_style"];
const BUNNY_KEYS: &[&str] = &["name", "kind", "endpoint", "zone", "access_key"];
const DISK_KEYS: &[&str] = &["name", "kind", "path"];
const ALL_KEYS: &[&str] = &[
    "name",
    "kind",
    "endpoint",
    "region",
    "bucket",
    "access_key_id",
    "secret_access_key",
    "path_style",
    "zone",
    "access_key",
    "path",
];

#[derive(Clone, Copy)]
enum Kind {
    S3,
    Bunny,
    Disk,
}

impl Kind {
    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::S3 => S3_KEYS,
            Self::Bunny => BUNNY_KEYS,
            Self::Disk => DISK_KEYS,
        }
    }
}

/// Reads `providers`, whose relative paths start at `base`.
pub(super) fn read(root: &Section<'_>, base: &Path, findings: &mut Findings<'_>) -> Vec<ProviderConfig> {
    let Some(list) = root.require("providers", findings) else { return Vec::new() };
    let items = list.items(findings);
    if let Some(flaw) = refuse_count(list, items.len(), findings) {
        findings.error(list.at, &list.path, flaw);
    }
    match items.len() {
        1 => findings.warn(list.at, &list.path, "one provider is for trying out: losing it loses everything"),
        2 => findings.warn(
            list.at,
            &list.path,
            "two providers are for trying out: a write needs both, so one that is down stops all uploads",
        ),
        _ => {}
    }
    let mut names = HashMap::new();
    let mut places: Vec<(Place, String)> = Vec::new();
    let read = |item: &Field<'_>| read_one(item, base, &mut names, &mut places, findings);
    items.iter().filter_map(read).collect()
}

fn refuse_count(list: &Field<'_>, count: usize, findings: &Findings<'_>) -> Option<String> {
    let refused_already = findings.errors.iter().any(|error| error.path == list.path);
    match count {
        0 if refused_already => None,
        0 => Some("has no provider; three are what keeps assets in triplicate".to_owned()),
        1..=PROVIDERS_MAX => None,
        _ => Some(format!("has more than {PROVIDERS_MAX} providers")),
    }
}

fn read_one(
    item: &Field<'_>,
    base: &Path,
    names: &mut HashMap<String, String>,
    places: &mut Vec<(Place, String)>,
    findings: &mut Findings<'_>,
) -> Option<ProviderConfig> {
    let section = Section::open(item, findings)?;
    let kind = section.read_required("kind", findings, read_kind);
    match kind {
        Some(kind) => section.refuse_unknown(item, kind.keys(), findings),
        // The kind decides which keys are known: until it is right, only what none of them knows is wrong.
        None => section.refuse_unknown(item, ALL_KEYS, findings),
    }
    let name = section.read_required("name", findings, scalar::provider_name);
    if let (Some(name), Some(field)) = (&name, section.get("name")) {
        if let Some(other) = names.get(name) {
            findings.error(field.at, &field.path, format!("is the name of {other} already; choose another"));
        }
        names.entry(name.clone()).or_insert_with(|| item.path.clone());
    }
    let settings = read_settings(kind?, &section, base, findings)?;
    refuse_same_place(&section, &settings, places, findings);
    Some(ProviderConfig { id: ProviderId::new(&name?), settings })
}

fn read_kind(text: &str) -> Result<Kind, String> {
    match text {
        "s3" => Ok(Kind::S3),
        "bunny" => Ok(Kind::Bunny),
        "disk" => Ok(Kind::Disk),
        other => Err(match nearest(other, &KINDS) {
            Some(near) => format!("is not a kind of provider; did you mean `{near}`?"),
            None => "is not a kind of provider: `s3`, `bunny` or `disk`".to_owned(),
        }),
    }
}

fn read_settings(
    kind: Kind,
    section: &Section<'_>,
    base: &Path,
    findings: &mut Findings<'_>,
) -> Option<ProviderSettings> {
    // Every value is read before the first `?`, so that each one's error is found.
    match kind {
        Kind::S3 => {
            let endpoint = endpoint(section, findings);
            let bucket = section.read_required("bucket", findings, scalar::bucket);
            let region = section.read("region", findings, scalar::region);
            let access_key_id = section.read_secret("access_key_id", findings, scalar::secret);
            let secret_access_key = section.read_secret("secret_access_key", findings, scalar::secret);
            let path_style = section.read("path_style", findings, scalar::boolean).unwrap_or(true);
            Some(ProviderSettings::S3(S3Settings {
                endpoint: endpoint?,
                region: region.unwrap_or_else(|| REGION_DEFAULT.to_owned()),
                bucket: bucket?,
                access_key_id: access_key_id?,
                secret_access_key: secret_access_key?,
                path_style,
                via: None,
            }))
        }
        Kind::Bunny => {
            let endpoint = endpoint(section, findings);
            let zone = section.read_required("zone", findings, scalar::zone);
            let access_key = section.read_secret("access_key", findings, scalar::secret);
            Some(ProviderSettings::Bunny(BunnySettings {
                endpoint: endpoint?,
                zone: zone?,
                access_key: access_key?,
                via: None,
            }))
        }
        Kind::Disk => {
            let path = section.read_required("path", findings, |text| super::file::path(text, base))?;
            Some(ProviderSettings::Disk(DiskSettings { path }))
        }
    }
}

fn endpoint(section: &Section<'_>, findings: &mut Findings<'_>) -> Option<Url> {
    let url = section.read_required("endpoint", findings, scalar::url)?;
    if let Some(field) = section.get("endpoint")
        && url.scheme() == "http"
        && !scalar::is_loopback(&url)
    {
        findings.warn(
            field.at,
            &field.path,
            "is not encrypted: anybody on the way can read along; use `https://`",
        );
    }
    Some(url)
}

/// Where a provider keeps its objects.
#[derive(PartialEq)]
enum Place {
    /// Host, port, path and bucket or zone; the scheme plays no part.
    Net(String),
    /// A folder, as far as it can be told apart from others.
    Folder(PathBuf),
}

fn refuse_same_place(
    section: &Section<'_>,
    settings: &ProviderSettings,
    places: &mut Vec<(Place, String)>,
    findings: &mut Findings<'_>,
) {
    let place = match settings {
        ProviderSettings::S3(s3) => net_place(&s3.endpoint, &s3.bucket),
        ProviderSettings::Bunny(bunny) => net_place(&bunny.endpoint, &bunny.zone),
        ProviderSettings::Disk(disk) => Place::Folder(real_path(&disk.path)),
    };
    for (other, path) in places.iter() {
        let flaw = match (&place, other) {
            (one, other) if one == other => format!("is the same place as {path}: two copies there are one"),
            (Place::Folder(one), Place::Folder(other))
                if one.starts_with(other) || other.starts_with(one) =>
            {
                format!("and {path} lie one within the other: give each a folder of its own")
            }
            _ => continue,
        };
        findings.error(section.at, &section.path, flaw);
    }
    places.push((place, section.path.clone()));
}

fn net_place(endpoint: &Url, container: &str) -> Place {
    let host = endpoint.host_str().unwrap_or_default().trim_end_matches('.');
    let port = endpoint.port_or_known_default().unwrap_or_default();
    Place::Net(format!("{host}:{port}{}/{container}", endpoint.path().trim_end_matches('/')))
}

/// Resolves links as far as the path exists, and dots for the rest.
pub(super) fn real_path(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut real = PathBuf::new();
    for component in absolute.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                real.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => {
                real.push(component);
                real = real.canonicalize().unwrap_or(real);
            }
        }
    }
    real
}
