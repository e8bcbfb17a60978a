//! Paths of requests: decoded, folded, and refused as the service refuses them.

use percent_encoding::percent_decode_str;

/// The longest path, in characters.
const PATH_CHARS_MAX: usize = 6_000;

/// A request's place in its zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The zone that the request names.
    pub zone: String,
    /// The path in the zone, without slashes at either end; empty for the root.
    pub path: String,
    /// Whether the request's path ends in a slash, which means a directory.
    pub directory: bool,
}

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathError {
    /// The web server in front refuses it, with its own page.
    Nginx,
    /// The service refuses it, with JSON.
    Service(&'static str),
}

impl Place {
    /// Reads the path of a request target.
    pub fn parse(target: &str, strict_slashes: bool) -> Result<Self, PathError> {
        let decoded = percent_decode_str(target).decode_utf8().map_err(|_| PathError::Nginx)?;
        let text = decoded.strip_prefix('/').ok_or(PathError::Nginx)?;
        if text.contains('\0') || text.split('/').any(|segment| segment == ".." || segment == ".") {
            return Err(PathError::Nginx);
        }
        if decoded.chars().count() > PATH_CHARS_MAX {
            return Err(PathError::Service("The path is too long."));
        }
        if strict_slashes && text.contains("//") {
            return Err(PathError::Service("Invalid path."));
        }
        let directory = text.ends_with('/');
        let mut segments = text.split('/').filter(|segment| !segment.is_empty());
        let zone = segments.next().unwrap_or_default().to_owned();
        let segments: Vec<&str> = segments.collect();
        if segments.iter().any(|segment| segment.trim() != *segment) {
            return Err(PathError::Service("Names cannot begin or end with a space."));
        }
        Ok(Self { zone, path: segments.join("/"), directory: directory || segments.is_empty() })
    }
}
