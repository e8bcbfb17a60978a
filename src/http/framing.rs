//! Framing: where one request ends and the next begins, judged strictly and by us alone. Pure.
//!
//! Two readers that disagree on the end of a request let an attacker smuggle one (RFC 9112, section 11.2), so
//! whatever can be read in two ways is refused: `Content-Length` beside `Transfer-Encoding`, more than one of
//! either, a bare LF or CR, folded lines, a second `Host`. What passes here is read the same way by every
//! parser behind it.

use httparse::Status;

/// The largest head of a request, in bytes.
pub(super) const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The most header fields of a request.
const HEADERS_MAX: usize = 64;
/// The longest line within a chunked body that is not data: a size with its extensions, or a trailer field.
const CHUNK_LINE_BYTES_MAX: usize = 4 * 1024;
/// All trailer fields together, in bytes.
const TRAILER_BYTES_MAX: usize = HEAD_BYTES_MAX;

/// Why the head of a request is not handed on; the connection is closed after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The head breaks a rule, or can be read in two ways.
    Malformed(&'static str),
    /// The head is larger than allowed.
    TooLarge(&'static str),
    /// The body comes in a transfer coding that is not offered.
    UnknownCoding,
    /// The head did not arrive in time.
    Timeout,
}

/// How the body of a request is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFraming {
    /// By its length in bytes; without a body it is 0.
    Length(u64),
    /// By chunks.
    Chunked,
}

/// Finds the end of a head that begins at the start of `bytes`; `None` while it is incomplete.
///
/// # Errors
///
/// A line ends in a bare LF. Waiting for a proper end would leave a client of that habit without an answer.
pub(super) fn head_end(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
    let mut line_start = 0;
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        if at == 0 || bytes[at - 1] != b'\r' {
            return Err(Refusal::Malformed("a line of the head ends without a carriage return"));
        }
        if at - line_start == 1 {
            return Ok(Some(at + 1));
        }
        line_start = at + 1;
    }
    Ok(None)
}

/// Judges a complete head, empty line included.
///
/// # Errors
///
/// Says why it is not handed on.
pub(super) fn judge(head: &[u8]) -> Result<BodyFraming, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(Status::Complete(bytes)) if bytes == head.len() => {}
        Ok(Status::Complete(_) | Status::Partial) => {
            return Err(Refusal::Malformed("the head is not one request line and header fields"));
        }
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal::TooLarge("the request has more than 64 header fields"));
        }
        Err(httparse::Error::Version) => {
            return Err(Refusal::Malformed("the request line does not end in HTTP/1.0 or HTTP/1.1"));
        }
        Err(httparse::Error::HeaderName | httparse::Error::HeaderValue | httparse::Error::NewLine) => {
            return Err(Refusal::Malformed("a header field is malformed"));
        }
        Err(httparse::Error::Token | httparse::Error::Status) => {
            return Err(Refusal::Malformed("the request line is malformed"));
        }
    }
    let http_11 = request.version == Some(1);
    check_target(request.method.unwrap_or_default(), request.path.unwrap_or_default())?;
    check_host(request.headers, http_11)?;
    body_framing(request.headers, http_11)
}

fn check_target(method: &str, target: &str) -> Result<(), Refusal> {
    let lower = target.get(..8).unwrap_or(target).to_ascii_lowercase();
    let form_fits = match method {
        "CONNECT" => true,
        "OPTIONS" if target == "*" => true,
        _ => target.starts_with('/') || lower.starts_with("http://") || lower.starts_with("https://"),
    };
    // A URI parser drops a fragment silently: `/a#b` would become `/a`.
    if !form_fits || target.contains('#') || target.parse::<http::Uri>().is_err() {
        return Err(Refusal::Malformed("the request target is malformed"));
    }
    Ok(())
}

fn check_host(headers: &[httparse::Header<'_>], http_11: bool) -> Result<(), Refusal> {
    let mut hosts = values(headers, "host");
    match (hosts.next(), hosts.next()) {
        (None, _) if http_11 => Err(Refusal::Malformed("the Host header field is missing")),
        (Some(_), Some(_)) => Err(Refusal::Malformed("there is more than one Host header field")),
        (Some(host), None) if host.contains(&b' ') || host.contains(&b'\t') => {
            Err(Refusal::Malformed("the Host header field is malformed"))
        }
        (None | Some(_), None) | (None, Some(_)) => Ok(()),
    }
}

fn body_framing(headers: &[httparse::Header<'_>], http_11: bool) -> Result<BodyFraming, Refusal> {
    let mut lengths = values(headers, "content-length");
    let mut codings = values(headers, "transfer-encoding");
    let (length, coding) = (lengths.next(), codings.next());
    if lengths.next().is_some() {
        return Err(Refusal::Malformed("there is more than one Content-Length"));
    }
    if codings.next().is_some() {
        return Err(Refusal::Malformed("there is more than one Transfer-Encoding"));
    }
    match (length, coding) {
        (Some(_), Some(_)) => {
            Err(Refusal::Malformed("Content-Length and Transfer-Encoding exclude each other"))
        }
        (None, Some(_)) if !http_11 => Err(Refusal::Malformed("HTTP/1.0 has no Transfer-Encoding")),
        (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => Ok(BodyFraming::Chunked),
        (None, Some(coding)) => Err(judge_coding(coding)),
        (Some(length), None) => parse_length(length).map(BodyFraming::Length),
        (None, None) => Ok(BodyFraming::Length(0)),
    }
}

/// A body whose last coding is not `chunked` has no end (RFC 9112, section 6.3); other codings before it are
/// proper, but nobody here decodes them.
fn judge_coding(codings: &[u8]) -> Refusal {
    let mut parts = codings.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).rev();
    let ends_chunked = parts.next().is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
    let again = parts.any(|coding| coding.is_empty() || coding.eq_ignore_ascii_case(b"chunked"));
    if ends_chunked && !again {
        Refusal::UnknownCoding
    } else {
        Refusal::Malformed("Transfer-Encoding does not end in one `chunked`")
    }
}

fn parse_length(text: &[u8]) -> Result<u64, Refusal> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let length = std::str::from_utf8(text).ok().filter(|_| digits).and_then(|text| text.parse::<u64>().ok());
    // The two largest values mean something else to the parser behind this one.
    length.filter(|length| *length < u64::MAX - 1).ok_or(Refusal::Malformed("Content-Length is not a length"))
}

fn values<'a>(headers: &'a [httparse::Header<'a>], name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

/// Follows a chunked body to its end without keeping any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkScanner {
    at: At,
    line_bytes: usize,
    trailer_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In the digits of a size: the size so far, and how many digits it has.
    Size(u64, u8),
    /// Behind the digits, up to the end of the line; the size of the chunk.
    Extension(u64),
    /// Behind the carriage return of a size line.
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// At the start of a trailer line, or of the empty line that ends the body.
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
}

/// How far a piece of a chunked body belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scan {
    /// All of the piece does, and more is to come.
    More,
    /// The body ends behind so many bytes of the piece.
    End(usize),
    /// The chunking breaks behind so many bytes.
    Broken(usize),
}

impl ChunkScanner {
    /// Starts before the first chunk.
    pub(super) const fn new() -> Self {
        Self { at: At::Size(0, 0), line_bytes: 0, trailer_bytes: 0 }
    }

    /// Follows the body through its next piece.
    pub(super) fn scan(&mut self, piece: &[u8]) -> Scan {
        let mut at = 0;
        while let Some(byte) = piece.get(at).copied() {
            if let At::Data(left) = self.at {
                let step = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len() - at);
                at += step;
                let left = left - step as u64;
                self.at = if left == 0 { At::DataCr } else { At::Data(left) };
                continue;
            }
            let Some(next) = self.step(byte) else { return Scan::Broken(at) };
            at += 1;
            match next {
                Some(next) => self.at = next,
                None => return Scan::End(at),
            }
        }
        Scan::More
    }

    /// Takes one byte that is not data: `None` breaks, `Some(None)` ends the body.
    fn step(&mut self, byte: u8) -> Option<Option<At>> {
        self.line_bytes = if byte == b'\n' { 0 } else { self.line_bytes + 1 };
        if self.line_bytes > CHUNK_LINE_BYTES_MAX {
            return None;
        }
        let next = match (self.at, byte) {
            // 15 digits are more than any asset has and cannot overflow.
            (At::Size(size, digits @ 0..15), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16)?;
                At::Size(size << 4 | u64::from(digit), digits + 1)
            }
            (At::Size(size, 1..), b'\r') => At::SizeLf(size),
            (At::Size(size, 1..), b';' | b' ' | b'\t') => At::Extension(size),
            (At::Extension(size), b'\r') => At::SizeLf(size),
            (At::Extension(size), other) if other != b'\n' => At::Extension(size),
            (At::SizeLf(0), b'\n') => At::TrailerStart,
            (At::SizeLf(size), b'\n') => At::Data(size),
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size(0, 0),
            (At::TrailerStart, b'\r') => At::EndLf,
            (At::EndLf, b'\n') => return Some(None),
            (At::Trailer, b'\r') => At::TrailerLf,
            (At::TrailerLf, b'\n') => At::TrailerStart,
            (At::TrailerStart | At::Trailer, other) if other != b'\n' => {
                self.trailer_bytes += 1;
                if self.trailer_bytes > TRAILER_BYTES_MAX {
                    return None;
                }
                At::Trailer
            }
            (_, _) => return None,
        };
        Some(Some(next))
    }
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
