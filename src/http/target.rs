//! Targets: what the path of a request stands for. Pure.

use http::{Method, Uri};

use super::problem::Problem;
use crate::asset::AssetName;
use crate::asset::name::NameError;

/// What a path stands for on the public listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// An asset.
    Asset(AssetName),
    /// A folder that takes forms: empty, or canonical with a closing slash.
    Folder(String),
    /// A path below `/-/` that we do not have.
    Ours,
    /// The server itself: `OPTIONS *`, or the authority of CONNECT.
    Server,
}

impl Target {
    /// Reads the path of a request.
    ///
    /// A folder is one only for methods that could mean it; for the others it is a name with an empty
    /// segment.
    ///
    /// # Errors
    ///
    /// 400: the path is neither a name nor a folder.
    pub(super) fn of(method: &Method, uri: &Uri) -> Result<Self, Problem> {
        let path = uri.path();
        if method == Method::CONNECT || (method == Method::OPTIONS && path == "*") {
            return Ok(Self::Server);
        }
        let names_only = [Method::GET, Method::HEAD, Method::PUT, Method::DELETE].contains(method);
        if path.ends_with('/') && !names_only {
            return folder(path).map(Self::Folder).map_err(Problem::from);
        }
        match AssetName::from_url_path(path) {
            Ok(name) => Ok(Self::Asset(name)),
            Err(NameError::Reserved) if method == Method::GET || method == Method::HEAD => Ok(Self::Ours),
            Err(error) => Err(error.into()),
        }
    }
}

/// Canonicalises a folder by way of a name in it, so that there is one set of rules.
fn folder(path: &str) -> Result<String, NameError> {
    let name = AssetName::from_url_path(&format!("{path}x"))?;
    Ok(name.as_str().strip_suffix('x').unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, path: &str) -> Result<Target, u16> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        Target::of(&method, &path.parse().unwrap()).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn paths_stand_for_assets_folders_and_ourselves() {
        let asset = |name: &str| Ok(Target::Asset(name.parse().unwrap()));
        let folder = |name: &str| Ok(Target::Folder(name.into()));
        let table = [
            ("GET", "/icons/a%20b.png?version=1", asset("icons/a b.png")),
            ("GET", "http://host/icons/a.png", asset("icons/a.png")),
            ("PATCH", "/icons/a.png", asset("icons/a.png")),
            ("POST", "/icons/a.png", asset("icons/a.png")),
            ("POST", "/icons/", folder("icons/")),
            ("POST", "/u%CC%88/", folder("ü/")),
            ("POST", "/", folder("")),
            ("OPTIONS", "/icons/", folder("icons/")),
            ("PATCH", "/icons/", folder("icons/")),
            ("OPTIONS", "*", Ok(Target::Server)),
            ("GET", "/-/metrics", Ok(Target::Ours)),
            ("HEAD", "/%2D/metrics", Ok(Target::Ours)),
            ("PUT", "/-/metrics", Err(400)),
            ("POST", "/-/", Err(400)),
            ("GET", "/", Err(400)),
            ("GET", "/icons/", Err(400)),
            ("PUT", "/icons/", Err(400)),
            ("DELETE", "/icons//a", Err(400)),
            ("PATCH", "/icons//a", Err(400)),
            ("POST", "/icons//", Err(400)),
            ("POST", "/../", Err(400)),
            ("GET", "/a%zz", Err(400)),
        ];
        for (method, path, target) in table {
            assert_eq!(read(method, path), target, "{method} {path}");
        }
    }
}
