//! Requests in, answers out: order of refusal, limits, faults, and the verbs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use data_encoding::HEXUPPER;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use ring::digest::{SHA256, digest};

use super::file;
use super::path::{PathError, Place};
use super::{BunnyFault, DELETES_MAX, LIMITED_TAKES, LISTINGS_MAX, Op, REQUESTS_MAX, State};
use triplicate::drill::wire::{Body, Connection, Cut, Handler, full};

const NGINX_400: &str = "<html>\r\n<head><title>400 Bad Request</title></head>\r\n<body>\r\n<center><h1>400 Bad \
                         Request</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";
const HTML_PAGE: &str = "<!DOCTYPE html><html><body><h1>We will be right back</h1></body></html>";

/// A place among the requests in flight, given back when dropped.
struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    fn enter(count: &'a AtomicUsize, max: usize) -> Option<Self> {
        let place = Self(count);
        (count.fetch_add(1, Ordering::SeqCst) < max).then_some(place)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Handler for State {
    async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        _: Connection,
    ) -> Result<Response<Body>, Cut> {
        let mut answer = self.answer(request).await?;
        let headers = answer.headers_mut();
        let date = httpdate::fmt_http_date(self.now());
        headers.insert(header::DATE, date.parse().expect("a date is a header"));
        for (name, value) in [
            ("access-control-allow-origin", "*"),
            ("access-control-allow-methods", "GET, DELETE, POST, PUT, DESCRIBE"),
            ("access-control-allow-headers", "AccessKey, Content-Type"),
        ] {
            headers.insert(name, value.parse().expect("a plain header"));
        }
        Ok(answer)
    }
}

impl State {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
        let strict = self.strict_slashes.load(Ordering::SeqCst);
        let place = match Place::parse(request.uri().path(), strict) {
            Ok(place) => place,
            Err(PathError::Nginx) => return Ok(html(StatusCode::BAD_REQUEST, NGINX_400)),
            Err(PathError::Service(message)) => return Ok(json(400, message)),
        };
        let Some(_request) = InFlight::enter(&self.requests, REQUESTS_MAX) else {
            return Ok(json(429, "Too Many Requests"));
        };
        let op = op_of(request.method(), place.directory);
        if !self.allows(request.headers(), &place.zone, op) {
            return Ok(json(401, "Unauthorized"));
        }
        *self.counts.lock().unwrap().entry(op).or_default() += 1;
        let limited = match op {
            Op::List => Some((&self.listings, LISTINGS_MAX)),
            Op::Delete => Some((&self.deletes, DELETES_MAX)),
            Op::Put | Op::Get | Op::Describe | Op::Other => None,
        };
        let _in_flight = match limited.map(|(count, max)| InFlight::enter(count, max)) {
            Some(None) => return Ok(overload()),
            Some(entered) => {
                tokio::time::sleep(LIMITED_TAKES).await;
                entered
            }
            None => None,
        };
        let faults = self.faults(op, &place.path);
        for fault in &faults {
            match fault {
                BunnyFault::Delay(delay) => tokio::time::sleep(*delay).await,
                BunnyFault::Unauthorized => return Ok(json(401, "Unauthorized")),
                BunnyFault::NotFound => return Ok(not_found()),
                BunnyFault::Status(status) => return Ok(json(*status, "Something went wrong")),
                BunnyFault::Overload => return Ok(overload()),
                BunnyFault::HtmlPage => return Ok(html(StatusCode::OK, HTML_PAGE)),
                BunnyFault::Forget | BunnyFault::IgnoreDelete | BunnyFault::StaleListing => {}
            }
        }
        match op {
            Op::Put => self.put(request, &place, faults.contains(&BunnyFault::Forget)).await,
            Op::Get => Ok(self.get(&request, &place)),
            Op::Describe => Ok(self.describe(&place)),
            Op::List => Ok(self.list(&place, faults.contains(&BunnyFault::StaleListing))),
            Op::Delete => Ok(self.delete(&request, &place, faults.contains(&BunnyFault::IgnoreDelete))),
            Op::Other => Ok(json(405, "Method Not Allowed")),
        }
    }

    /// `HEAD` is refused as if the key were wrong; the read-only password may not write.
    fn allows(&self, headers: &HeaderMap, zone: &str, op: Op) -> bool {
        let key = headers.get("accesskey").and_then(|key| key.to_str().ok());
        let writes = matches!(op, Op::Put | Op::Delete);
        let right = key == Some(&self.password) || (!writes && key == Some(&self.read_only_password));
        right && zone == self.zone && op != Op::Other
    }

    async fn put(
        &self,
        request: Request<Incoming>,
        place: &Place,
        forget: bool,
    ) -> Result<Response<Body>, Cut> {
        let headers = request.headers().clone();
        // A body that breaks off is stored by nobody.
        let bytes = request.into_body().collect().await.map_err(|_| Cut)?.to_bytes();
        if place.directory {
            return Ok(self.put_directory(place, &bytes));
        }
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        if let Some(checksum) = header("checksum") {
            let actual = HEXUPPER.encode(digest(&SHA256, &bytes).as_ref());
            if !checksum.eq_ignore_ascii_case(&actual) {
                return Ok(json(400, "Checksum does not match."));
            }
        }
        if !forget {
            let now = self.now();
            let mut tree = self.tree.lock().unwrap();
            if tree.put(&place.path, bytes, header("override-content-type"), now).is_err() {
                let message =
                    "Unable to upload file: Failed to create file, directory for path does not exist: ";
                return Ok(json(400, &format!("{message}/{}/{}", self.zone, place.path)));
            }
        }
        Ok(json(201, "File uploaded."))
    }

    fn put_directory(&self, place: &Place, body: &Bytes) -> Response<Body> {
        if !body.is_empty() {
            return json(400, "Unable to create directory: a body was sent.");
        }
        let now = self.now();
        if self.tree.lock().unwrap().put_directory(&place.path, now) {
            json(201, "Directory created.")
        } else {
            json(400, "Unable to create directory: it exists already.")
        }
    }

    fn get(&self, request: &Request<Incoming>, place: &Place) -> Response<Body> {
        let tree = self.tree.lock().unwrap();
        tree.file(&place.path).map_or_else(not_found, |file| file::serve(request, &place.path, file))
    }

    fn describe(&self, place: &Place) -> Response<Body> {
        let tree = self.tree.lock().unwrap();
        match tree.file(&place.path) {
            Some(file) if !place.directory => {
                json_text(200, file::file_row(self, &place.path, file).to_string())
            }
            _ => not_found(),
        }
    }

    fn list(&self, place: &Place, stale: bool) -> Response<Body> {
        let tree = if stale { &self.stale } else { &self.tree };
        let rows = file::rows(self, &place.path, &tree.lock().unwrap());
        json_text(200, serde_json::Value::Array(rows).to_string())
    }

    fn delete(&self, request: &Request<Incoming>, place: &Place, ignore: bool) -> Response<Body> {
        let root_allowed = request.uri().query().is_some_and(|query| query.contains("allowRootDelete=true"))
            || request.headers().get("allowrootdelete").is_some_and(|value| value == "true");
        if place.path.is_empty() && !root_allowed {
            return json(400, "The root directory cannot be deleted.");
        }
        let mut tree = self.tree.lock().unwrap();
        let done = match (ignore, place.directory) {
            (true, _) => true,
            (false, true) => tree.delete_directory(&place.path),
            (false, false) => tree.delete(&place.path),
        };
        if done { json(200, "File deleted successfuly.") } else { not_found() }
    }
}

fn op_of(method: &Method, directory: bool) -> Op {
    match (method.as_str(), directory) {
        ("PUT", _) => Op::Put,
        ("GET", false) => Op::Get,
        ("GET", true) => Op::List,
        ("DESCRIBE", _) => Op::Describe,
        ("DELETE", _) => Op::Delete,
        _ => Op::Other,
    }
}

fn overload() -> Response<Body> {
    json(400, "Unable to process request")
}

fn not_found() -> Response<Body> {
    json(404, "Object Not Found")
}

fn json(status: u16, message: &str) -> Response<Body> {
    // Member by member: a map of JSON sorts its keys, the service does not.
    json_text(status, format!(r#"{{"HttpCode":{status},"Message":{}}}"#, serde_json::Value::from(message)))
}

fn json_text(status: u16, text: String) -> Response<Body> {
    let answer = Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
    answer.body(full(text)).expect("a plain answer")
}

fn html(status: StatusCode, page: &'static str) -> Response<Body> {
    let answer = Response::builder().status(status).header(header::CONTENT_TYPE, "text/html");
    answer.body(full(page)).expect("a plain answer")
}
