use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

fn strikes(rule: &mut Rule, seed: u64, throws: usize) -> Vec<bool> {
    let mut die = StdRng::seed_from_u64(seed);
    (0..throws).map(|_| rule.strike(&Method::GET, "blobs/x", &mut die).is_some()).collect()
}

#[test]
fn a_share_is_about_right_and_that_of_the_seed() {
    for (share, fewest, most) in
        [(0.2, 1_900, 2_100), (0.5, 4_850, 5_150), (0.0, 0, 0), (1.0, 10_000, 10_000)]
    {
        let mut rule = Rule::from(Fault::BlackHole).share(share);
        let first = strikes(&mut rule, 42, 10_000);
        let struck = first.iter().filter(|struck| **struck).count();
        assert!((fewest..=most).contains(&struck), "{struck} of 10,000 with seed 42 and share {share}");
        assert_eq!(first, strikes(&mut rule, 42, 10_000));
    }
    let mut few = Rule::from(Fault::BlackHole).share(0.2).times(3);
    assert_eq!(strikes(&mut few, 42, 1_000).iter().filter(|struck| **struck).count(), 3);
}

#[test]
fn a_rule_fits_methods_and_prefixes() {
    let mut rule = Rule::from(Fault::BlackHole).methods(&["GET", "DESCRIBE"]).prefix("blobs/").times(2);
    let describe: Method = "DESCRIBE".parse().unwrap();
    let mut die = StdRng::seed_from_u64(1);
    let mut strike = |method: &Method, key: &str| rule.strike(method, key, &mut die).is_some();
    assert!(!strike(&Method::PUT, "blobs/x"));
    assert!(!strike(&Method::GET, "names/x"));
    assert!(strike(&Method::GET, "blobs/x"));
    assert!(strike(&describe, "blobs/x"));
    assert!(!strike(&describe, "blobs/x"), "it has happened twice");
}
