use super::*;
use crate::provider::ProviderId;
use crate::retention::Tally;

#[test]
fn the_page_shows_each_provider_and_nothing_that_could_run() {
    let health = ProviderHealth {
        name: ProviderId::new("s3-one"),
        kind: "s3",
        health: "down",
        breaker: "open",
        open_for_s: Some(2.5),
        next_probe_s: Some(1.0),
        canary: "ours",
        latency_ms: Some(12.345),
        p95_ms: Some(45.6),
        hedge_ms: 45.6,
        throughput_bytes: Some(1e6),
        success_rate: Some(0.75),
        in_flight: 2,
        clock_offset_ms: Some(-7),
        checksum: None,
        last_error: Some("<script>alert('x')</script> & \"more\"".into()),
    };
    let repair = Progress::new(3, Some(std::time::Duration::from_secs(60)), 0.5);
    let provider = ProviderStatus { health, repair };
    let tally = Tally { provider: "s3-one".into(), held: 900, planned: 500, ..Tally::default() };
    let at = crate::clock::to_utc(1_795_345_530_000);
    let report =
        Report { at, waits: None, braked: true, forgotten: 0, sweep_began: false, tallies: vec![tally] };
    let page = render(&Status {
        ready: true,
        fresh: false,
        version: "1.2.3",
        names: 42,
        clock_offset_ms: Some(-40_000),
        providers: vec![provider],
        repair: Pacing { yielding: true, copies_at_once: 1, rest_factor: 2.5, toll: None },
        retention: Some(report),
    });
    for part in [
        "ready: yes",
        "fresh: <span class=\"bad\">no</span>",
        "names: 42",
        "clock is wrong",
        "version 1.2.3",
        "<td>s3-one<td>s3<td class=\"bad\">down<td class=\"bad\">open<td>ours<td>12.3 ms<td class=\"bad\">3, 0.5 a second, 6 s left<td>-7 ms<td>–<td>",
        "<td>&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;more&quot;\n",
        "<p>repair yields to clients: copies at once 1, rests 2.5 times its work",
        "href=\"/api/assets\"",
        "<p class=\"bad\">retention, 2026-11-22 11:05:30 UTC:<br>s3-one: 0 of 500 planned copies removed",
        "triplicate --retention --allow-large-removal",
    ] {
        assert!(page.contains(part), "{part} is missing in {page}");
    }
    assert!(!page.contains("<script"), "{page}");
}
