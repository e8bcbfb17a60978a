//! Which answers a fault can happen to, and what it makes of their heads. Pure.

use http::{HeaderValue, Response, StatusCode, header};
use http_body::Body;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::body::Shape;
use super::fault::Fault;

/// Where no length is told, the die chooses among so many bytes: the first one, which is always there.
const BYTES_UNTOLD: u64 = 1;

/// Changes the head of an answer and says how its body is delivered; `None` leaves the answer alone.
pub(super) fn spoil<B: Body>(
    fault: &Fault,
    mut answer: Response<B>,
    seed: u64,
) -> (Response<B>, Option<Shape>) {
    let shape = shape(fault, &mut answer, seed);
    (answer, shape)
}

fn shape<B: Body>(fault: &Fault, answer: &mut Response<B>, seed: u64) -> Option<Shape> {
    if answer.body().is_end_stream() {
        return None;
    }
    let bytes = answer.body().size_hint().exact();
    let inside = |at: u64| bytes.is_none_or(|bytes| at < bytes).then_some(at);
    let anywhere = || StdRng::seed_from_u64(seed).random_range(0..bytes.unwrap_or(BYTES_UNTOLD).max(1));
    match fault {
        Fault::Dribble(bytes, pause) => Some(Shape::Dribble((*bytes).max(1), *pause)),
        Fault::StallAfter(after) => inside(*after).map(Shape::Stall),
        Fault::ResetAfter(after) => inside(*after).map(|after| Shape::Cut { after, reset: true }),
        Fault::ResetAnywhere => Some(Shape::Cut { after: anywhere(), reset: true }),
        Fault::ShortBody(after) => inside(*after).map(|after| Shape::Cut { after, reset: false }),
        Fault::CleanShortBody(after) => {
            let after = inside(*after)?;
            answer.headers_mut().insert(header::CONTENT_LENGTH, after.into());
            Some(Shape::End(after))
        }
        Fault::FlipBit(at) => inside(*at).map(Shape::Flip),
        Fault::FlipAnywhere => Some(Shape::Flip(anywhere())),
        Fault::WrongRange => {
            let range = answer.headers_mut().get_mut(header::CONTENT_RANGE)?;
            *range = HeaderValue::from_static("bytes 1000000000-1000000001/1000000002");
            Some(Shape::Plain)
        }
        Fault::ShiftedRange => is_partial(answer).then_some(Shape::Shift),
        Fault::RangeIgnored => ignore_range(answer),
        Fault::WholeForRange(other) | Fault::OtherBody(other) => {
            if !answer.status().is_success() {
                return None;
            }
            make_whole(answer, other.len() as u64);
            Some(Shape::Instead(other.clone()))
        }
        Fault::WrongBody => answer.status().is_success().then_some(Shape::Random(seed)),
        Fault::GzipHeader => {
            answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            Some(Shape::Plain)
        }
        Fault::BlackHole
        | Fault::SlowFirstByte(_)
        | Fault::Status(..)
        | Fault::ApiError(_)
        | Fault::HtmlPage(_)
        | Fault::ErrorWithStatus200
        | Fault::Wiped
        | Fault::NoContainer
        | Fault::LostAnswer
        | Fault::DelayRequest(_)
        | Fault::DoubleRequest(_)
        | Fault::Hold(_) => None,
    }
}

fn is_partial<B>(answer: &Response<B>) -> bool {
    answer.status() == StatusCode::PARTIAL_CONTENT
}

fn make_whole<B>(answer: &mut Response<B>, bytes: u64) {
    *answer.status_mut() = StatusCode::OK;
    answer.headers_mut().remove(header::CONTENT_RANGE);
    answer.headers_mut().insert(header::CONTENT_LENGTH, bytes.into());
}

fn ignore_range<B>(answer: &mut Response<B>) -> Option<Shape> {
    if !is_partial(answer) {
        return None;
    }
    let told = answer.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, object_bytes) = told.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let object_bytes: u64 = object_bytes.parse().ok()?;
    let before: u64 = first.parse().ok()?;
    let after = object_bytes.checked_sub(last.parse::<u64>().ok()?.checked_add(1)?)?;
    make_whole(answer, object_bytes);
    Some(Shape::Pad { before, after })
}
