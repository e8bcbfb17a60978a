use http::Response;

use super::*;
use crate::drill::ledger::Outcome;
use crate::drill::scenario::SizeClass;

const SIZES: [SizeClass; 1] = [SizeClass { from: 1_000, to: 1_000, weight: 1 }];

/// One asset: generation 0 was acknowledged, 1 acknowledged, 2 refused, 3 is a deletion of unknown outcome.
fn ledger() -> Ledger {
    let ledger = Ledger::new(5, &SIZES, 1);
    for outcome in [Outcome::Acknowledged, Outcome::Acknowledged, Outcome::Refused] {
        let (generation, _) = ledger.begin_put(0);
        ledger.settle(0, generation, outcome);
    }
    ledger
}

fn asked(floor: usize, range: Option<Range<u64>>) -> Asked {
    Asked { asset: 0, floor, range }
}

/// What an honest gateway answers, with some headers set otherwise.
fn answer(ledger: &Ledger, generation: usize, range: Option<Range<u64>>, other: &[(&str, &str)]) -> Parts {
    let Some(Written::Put { content, blake3 }) = ledger.generation(0, generation) else {
        panic!("generation {generation}")
    };
    let mut answer = Response::builder().status(if range.is_some() { 206 } else { 200 }).body(()).unwrap();
    let mut set = |name: &str, value: String| {
        let name: header::HeaderName = name.parse().unwrap();
        answer.headers_mut().insert(name, value.parse().unwrap());
    };
    let bytes = range.as_ref().map_or(content.bytes, |range| range.end - range.start);
    set("content-length", bytes.to_string());
    set("content-type", CONTENT_TYPE.to_owned());
    set("etag", format!("\"{blake3}\""));
    set("accept-ranges", "bytes".to_owned());
    set(GENERATION, generation.to_string());
    if let Some(range) = range {
        set("content-range", format!("bytes {}-{}/{}", range.start, range.end - 1, content.bytes));
    }
    other.iter().for_each(|(name, value)| set(name, (*value).to_owned()));
    answer.into_parts().0
}

async fn bytes(generation: usize) -> Vec<u8> {
    use http_body_util::BodyExt;
    let content = crate::drill::content::Content::new(5, 0, generation, &SIZES);
    content.body().collect().await.unwrap().to_bytes().to_vec()
}

fn verifier(ledger: &Ledger, answer: &Parts, asked: &Asked) -> Result<Verifier, Flaw> {
    match head(answer, asked, ledger)? {
        Judged::Body(verifier) => Ok(verifier),
        Judged::Absent => panic!("there is a body"),
    }
}

fn judge(mut verifier: Verifier, pieces: &[&[u8]]) -> Result<(), FlawKind> {
    let result = pieces.iter().try_for_each(|piece| verifier.push(piece)).and_then(|()| verifier.finish());
    result.map_err(|flaw| flaw.kind)
}

#[tokio::test]
async fn an_honest_answer_is_right_whole_and_in_part() {
    let (ledger, bytes) = (ledger(), bytes(1).await);
    for (range, of) in
        [(None, 0..1_000), (Some(0..1), 0..1), (Some(999..1_000), 999..1_000), (Some(3..700), 3..700)]
    {
        let answer = answer(&ledger, 1, range.clone(), &[]);
        let verifier = verifier(&ledger, &answer, &asked(1, range)).unwrap();
        assert_eq!(judge(verifier, &[&bytes[of]]), Ok(()));
    }
}

#[tokio::test]
async fn a_lie_in_the_body_is_caught() {
    let (ledger, right) = (ledger(), bytes(1).await);
    let (mut flipped, mut swapped) = (right.clone(), right.clone());
    flipped[998] ^= 0x10;
    swapped.swap(0, 1);
    let longer = [right.as_slice(), b"!"].concat();
    let older = bytes(0).await;
    let table: [(&[&[u8]], FlawKind); 8] = [
        (&[&flipped], FlawKind::WrongBytes),
        (&[&right[..500], &flipped[500..]], FlawKind::WrongBytes),
        (&[&swapped], FlawKind::WrongBytes),
        (&[&older], FlawKind::WrongBytes),
        (&[&longer], FlawKind::WrongBytes),
        (&[&right, b"!"], FlawKind::WrongBytes),
        (&[&right[..999]], FlawKind::Truncated),
        (&[], FlawKind::Truncated),
    ];
    for (pieces, kind) in table {
        let answer = answer(&ledger, 1, None, &[]);
        let verifier = verifier(&ledger, &answer, &asked(1, None)).unwrap();
        assert_eq!(judge(verifier, pieces), Err(kind), "{} pieces", pieces.len());
    }
}

#[test]
fn a_lie_in_the_head_is_caught() {
    let ledger = ledger();
    let table: [(&[(&str, &str)], FlawKind); 10] = [
        (&[("content-length", "999")], FlawKind::Header),
        (&[("content-type", "text/html")], FlawKind::Header),
        (&[("etag", "\"abc\"")], FlawKind::Header),
        (&[("accept-ranges", "none")], FlawKind::Header),
        (&[("content-encoding", "gzip")], FlawKind::Header),
        (&[("x-amz-request-id", "1")], FlawKind::Header),
        (&[("server", "BunnyCDN")], FlawKind::Header),
        (&[(GENERATION, "0")], FlawKind::Stale),
        (&[(GENERATION, "2")], FlawKind::Header),
        (&[(GENERATION, "none")], FlawKind::Header),
    ];
    for (other, kind) in table {
        let answer = answer(&ledger, 1, None, other);
        let flaw = head(&answer, &asked(1, None), &ledger).map(|_| ()).unwrap_err();
        assert_eq!(flaw.kind, kind, "{other:?}: {flaw:?}");
    }
    let wrong = answer(&ledger, 1, Some(5..10), &[("content-range", "bytes 5-9/1001")]);
    assert_eq!(head(&wrong, &asked(1, Some(5..10)), &ledger).map(|_| ()).unwrap_err().kind, FlawKind::Header);
    // A whole answer to a range is none of ours, though it would be lawful.
    let whole = answer(&ledger, 1, None, &[]);
    assert_eq!(head(&whole, &asked(1, Some(5..10)), &ledger).map(|_| ()).unwrap_err().kind, FlawKind::Status);
}

#[test]
fn an_absence_is_right_only_where_something_was_deleted() {
    let ledger = ledger();
    let status = |status: u16| Response::builder().status(status).body(()).unwrap().into_parts().0;
    let judged =
        |code, floor, range| head(&status(code), &asked(floor, range), &ledger).map_err(|flaw| flaw.kind);
    assert!(matches!(judged(404, 1, None), Err(FlawKind::Status)));
    assert!(matches!(judged(503, 1, None), Err(FlawKind::Status)));
    assert!(matches!(judged(416, 1, Some(999..1_000)), Err(FlawKind::Status)));
    assert!(matches!(judged(416, 1, Some(1_000..1_001)), Ok(Judged::Absent)));
    let deletion = ledger.begin_delete(0);
    ledger.settle(0, deletion, Outcome::Unknown);
    assert!(matches!(judged(404, 1, None), Ok(Judged::Absent)));
    let (generation, _) = ledger.begin_put(0);
    ledger.settle(0, generation, Outcome::Acknowledged);
    assert_eq!(ledger.newest(0).0, generation);
    assert!(matches!(judged(404, generation, None), Err(FlawKind::Status)), "it is back");
}
