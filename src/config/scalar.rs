//! Scalars: texts of the file and of flags turned into values, each with what is right in its refusal.
//!
//! A refusal is what follows the quoted value in a sentence ("`12x` is not a size: …"), and never holds
//! the value itself, which may come from the environment.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use secrecy::SecretString;
use url::{Host, Url};

use super::Blake3;
use crate::asset::AssetName;
use crate::asset::name::NameError;

/// The longest name of a provider or token, in bytes.
const NAME_BYTES_MAX: usize = 63;
/// The longest access key, in bytes; vendors' have up to a few hundred.
const SECRET_BYTES_MAX: usize = 4096;

/// Reads `true` or `false`.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "is neither `true` nor `false`".to_owned())
}

/// Reads a whole number within `range`.
pub(crate) fn integer(text: &str, range: &RangeInclusive<usize>) -> Result<usize, String> {
    let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    number
        .filter(|number| range.contains(number))
        .ok_or_else(|| format!("is not a whole number from {} to {}", range.start(), range.end()))
}

/// Reads a size in bytes, such as `256MiB`; `0` is off.
///
/// # Errors
///
/// Says which form a size has.
pub fn size(text: &str) -> Result<u64, String> {
    let form = "is not a size: write bytes, or a number with a unit such as `256MiB` or `5GiB`; `0` is off";
    let parsed = text.starts_with(|first: char| first.is_ascii_digit()).then(|| text.parse::<ByteSize>());
    match parsed {
        Some(Ok(ByteSize(u64::MAX))) => Err("is too large".to_owned()),
        Some(Ok(ByteSize(bytes))) => Ok(bytes),
        Some(Err(_)) | None => Err(form.to_owned()),
    }
}

/// Reads a share such as `1%` as a part of 1, both ends included.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let digits =
        text.strip_suffix('%').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
    digits
        .and_then(|digits| digits.parse().ok())
        .filter(|percent| (0.0..=100.0).contains(percent))
        .map(|percent: f64| percent / 100.0)
        .ok_or_else(|| "is not a share: write a percentage from 0% to 100%, such as `1%`".to_owned())
}

/// Reads a duration within `range`, such as `2s` or `7d`.
pub(crate) fn duration(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let form = "is not a duration: write a number with a unit such as `500ms`, `2s`, `5m`, `12h` or `7d`";
    let duration = humantime::parse_duration(text).map_err(|_| form.to_owned())?;
    if range.contains(&duration) {
        return Ok(duration);
    }
    let [least, most] = [*range.start(), *range.end()].map(humantime::format_duration);
    Err(format!("is out of range: from {least} to {most}"))
}

/// Reads the address of a listener, such as `127.0.0.1:8080`.
///
/// # Errors
///
/// Says which form an address has.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let hint = match text.rsplit_once(':') {
        Some(("localhost", port)) => {
            let port = port.parse().ok();
            if let Some(port) = port {
                return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
            }
            "the port is a number up to 65535"
        }
        Some(("", _)) => "write `0.0.0.0:8080` for all addresses of the machine",
        Some((host, _)) if host.parse::<IpAddr>().is_ok() => "the port is a number up to 65535",
        Some(_) => "write an IP address, not a host name",
        None => "the port is missing",
    };
    Err(format!("is not an address such as `127.0.0.1:8080` or `[::1]:8080`: {hint}"))
}

/// Reads an `http` or `https` URL without credentials, query and fragment.
pub(super) fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|_| {
        "is not a URL: write it with its scheme, such as `https://storage.example.com`".to_owned()
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with `https://` or `http://`".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or password: keys have their own settings".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not have a query or fragment: end it before the `?` or `#`".to_owned());
    }
    Ok(url)
}

/// Tells whether a URL points to this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Reads the name of a provider.
pub(super) fn provider_name(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed);
    if fits && !text.starts_with('-') && !text.ends_with('-') {
        return Ok(text.to_owned());
    }
    Err(format!(
        "is not a name: 1-{NAME_BYTES_MAX} of `a-z`, `0-9` and `-`, beginning and ending with a letter or digit"
    ))
}

/// Reads the name of a token.
///
/// # Errors
///
/// Says which form a name has.
pub fn token_name(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let fits = (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed);
    if fits && !text.starts_with(['-', '.']) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "is not a name: 1-{NAME_BYTES_MAX} letters, digits, `-`, `_` and `.`, not beginning with `-` or `.`"
    ))
}

/// Reads the hash of a token; a token itself is told apart, and never repeated.
pub(super) fn token_hash(text: &str) -> Result<Blake3, String> {
    if text.starts_with(super::token::TOKEN_PREFIX) {
        return Err("is a token, not its hash: keep it secret, and write the `hash: blake3:…` that \
                    `triplicate --new-token NAME` printed with it"
            .to_owned());
    }
    let hex = text.strip_prefix("blake3:");
    hex.and_then(|hex| hex.parse().ok()).ok_or_else(|| {
        "is not `blake3:` and 64 hex digits; make a token and its hash with `triplicate --new-token NAME`"
            .to_owned()
    })
}

/// Reads a prefix of names, in the spelling that names have; empty fits every name.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn prefix(text: &str) -> Result<String, String> {
    if text.starts_with('/') {
        return Err("must not begin with `/`: names do not".to_owned());
    }
    // A prefix may end within a segment or with its slash; the start of a name it is in both cases.
    let within = if text.is_empty() || text.ends_with('/') { format!("{text}x") } else { text.to_owned() };
    let name = AssetName::from_str(&within).map_err(|error| refuse_prefix(error).to_owned())?;
    if name.as_str() == within {
        Ok(text.to_owned())
    } else {
        Err("is not in Unicode's form NFC, which names have: type it again, letters with accents as one"
            .to_owned())
    }
}

fn refuse_prefix(error: NameError) -> &'static str {
    match error {
        NameError::Empty | NameError::Escape | NameError::Utf8 => "is not the start of a name",
        NameError::TooLong => "is longer than a name can be",
        NameError::EmptySegment => "has a doubled slash, which no name has",
        NameError::SegmentTooLong => "has a segment that is longer than 255 bytes",
        NameError::DotSegment => "has a segment `.` or `..`, which no name has",
        NameError::Control => "has a control character, which no name has",
        NameError::Backslash => "has a backslash, which no name has: write `/`",
        NameError::Reserved => "begins with `-/`, which belongs to the gateway",
    }
}

/// Reads the value of a `Cache-Control` header.
pub(super) fn header_value(text: &str) -> Result<String, String> {
    let valid = http::HeaderValue::from_str(text).is_ok_and(|value| value.to_str().is_ok());
    if valid && !text.is_empty() && text.trim() == text {
        return Ok(text.to_owned());
    }
    Err("is not the value of a header: printable ASCII such as `public, max-age=3600`".to_owned())
}

/// Reads the name of a bucket.
pub(super) fn bucket(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let edges = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    if (3..=63).contains(&text.len()) && text.bytes().all(allowed) && edges(text) && !text.contains("..") {
        return Ok(text.to_owned());
    }
    Err("is not a bucket: 3-63 letters, digits, `-`, `_` and `.`, beginning and ending with a letter or digit, \
         without a path"
        .to_owned())
}

/// Reads the name of a region.
pub(super) fn region(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err("is not a region: letters, digits and `-`, such as `eu-central-1`".to_owned())
}

/// Reads the name of a Bunny storage zone.
pub(super) fn zone(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err("is not a storage zone: letters, digits and `-`, without a path".to_owned())
}

/// Reads an access key.
pub(super) fn secret(text: &str) -> Result<SecretString, String> {
    let flaw = match text {
        "" => "is empty",
        _ if text.trim() != text => "begins or ends with a space or line break: remove it",
        _ if text.len() > SECRET_BYTES_MAX => "is too long for an access key",
        _ if !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            "has a space, a control character or a letter beyond ASCII, which no access key has"
        }
        _ => return Ok(SecretString::from(text)),
    };
    Err(flaw.to_owned())
}

#[cfg(test)]
#[path = "scalar_tests.rs"]
mod tests;
