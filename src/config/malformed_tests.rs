use std::env::VarError;
use std::path::Path;

use super::parse;
use crate::config::{Config, ConfigErrors};

/// A file, and the place and a fragment of each of its errors, in the order of the file.
type Case = (String, Vec<(usize, usize, &'static str)>);

fn load(text: &str) -> Result<Config, ConfigErrors> {
    let environment =
        |name: &str| if name == "EMPTY" { Ok(String::new()) } else { Err(VarError::NotPresent) };
    parse(text, "providers.yaml", Path::new("/etc/triplicate"), &environment).map(|(config, _)| config)
}

/// A valid file: one disk provider behind whatever `text` adds.
fn with_provider(text: &str) -> String {
    format!("{text}\nproviders:\n  - {{ name: a, kind: disk, path: ./a }}\n")
}

fn s3(keys: &str) -> String {
    format!("providers:\n  - name: one\n    kind: s3\n{keys}")
}

/// Text that is no YAML, or YAML of a kind that is refused.
fn syntax() -> Vec<Case> {
    vec![
        (String::new(), vec![(1, 1, "the file is empty")]),
        ("# only a comment\n".into(), vec![(1, 1, "the file is empty")]),
        ("providers: [".into(), vec![(2, 1, "not valid YAML")]),
        ("listen: \"unclosed\nproviders: []\n".into(), vec![(1, 9, "not valid YAML")]),
        ("listen: a\n\tadmin: b\n".into(), vec![(1, 9, "not valid YAML")]),
        ("a: ]\n".into(), vec![(1, 4, "not valid YAML")]),
        ("{ access_key: ${SECRET} ]".into(), vec![(1, 16, "with quotes inside `{ }`")]),
        ("[".repeat(40), vec![(1, 17, "nested deeper than 16 levels")]),
        ("- a\n- b\n".into(), vec![(1, 1, "must be keys with values")]),
        ("just text\n".into(), vec![(1, 1, "must be keys with values")]),
        (with_provider("state: &here ./x\nadmin: *here"), vec![(1, 14, "an anchor"), (2, 8, "an alias")]),
        (with_provider("state: !!str ./x"), vec![(1, 14, "a tag")]),
        (with_provider("") + "---\nlisten: x\n", vec![(5, 1, "a second document")]),
        (with_provider("? [a]\n: b"), vec![(1, 3, "a key must be a name")]),
    ]
}

/// Keys that are unknown, doubled or missing.
fn keys() -> Vec<Case> {
    vec![
        (with_provider("listn: 127.0.0.1:1"), vec![(1, 1, "listn: unknown key; did you mean `listen`?")]),
        (with_provider("frobnicate: 1"), vec![(1, 1, "frobnicate: unknown key; known here: listen, admin")]),
        (with_provider("<<: { listen: x }"), vec![(1, 1, "unknown key")]),
        (
            with_provider("listen: 127.0.0.1:1\nlisten: 127.0.0.1:2"),
            vec![(2, 1, "listen: is there twice (line 1)")],
        ),
        (
            with_provider("cache: { memroy: 1 }"),
            vec![(1, 10, "cache.memroy: unknown key; did you mean `memory`?")],
        ),
        ("listen: 127.0.0.1:1\n".into(), vec![(1, 1, "providers: is missing")]),
    ]
}

/// Values of the wrong form.
fn values() -> Vec<Case> {
    vec![
        (with_provider("listen: 8080"), vec![(1, 9, "listen: `8080` is not an address")]),
        (with_provider("listen:"), vec![(1, 1, "listen: has no value")]),
        (with_provider("listen: [a]"), vec![(1, 9, "listen: must be one value")]),
        (with_provider("listen: 127.0.0.1:8081"), vec![(1, 1, "admin: is the address of `listen`")]),
        (with_provider("state: ''"), vec![(1, 8, "state: `` is an empty path")]),
        (
            with_provider("record_key: 1234"),
            vec![(1, 13, "record_key: the value (not shown) is neither 64 hex")],
        ),
        (with_provider("public_url: /assets"), vec![(1, 13, "public_url: `/assets` is not a URL")]),
        (with_provider("cache: { memory: lots }"), vec![(1, 18, "cache.memory: `lots` is not a size")]),
        (with_provider("cache: 256MiB"), vec![(1, 8, "cache: must be keys with values")]),
        (with_provider("limits: { asset: 1TiB }"), vec![(1, 18, "limits.asset: `1TiB` is more than 48GiB")]),
        (
            with_provider("limits: { uploads: 1.5, reads: -1 }"),
            vec![
                (1, 20, "limits.uploads: `1.5` is not a whole number"),
                (1, 32, "limits.reads: `-1` is not a whole"),
            ],
        ),
        (with_provider("feed_interval: 2"), vec![(1, 16, "feed_interval: `2` is not a duration")]),
        (
            with_provider("feed_interval: 0"),
            vec![(1, 16, "feed_interval: `0` is out of range: from 50ms to 1h")],
        ),
        (with_provider("retention: seven days"), vec![(1, 12, "retention: `seven days` is not a duration")]),
        (with_provider("timeouts: { header: 0 }"), vec![(1, 21, "timeouts.header: `0` is out of range")]),
        (with_provider("conditional_writes: yes"), vec![(1, 21, "`yes` is neither `true` nor `false`")]),
        (with_provider("cache_control: { prefix: a/ }"), vec![(1, 16, "cache_control: must be a list")]),
        (
            with_provider("cache_control:\n  - { prefix: /a, value: \"a\\nb\" }\n  - { value: x }"),
            vec![
                (2, 15, "cache_control[0].prefix: `/a` must not begin with `/`"),
                (2, 26, "cache_control[0].value: `a\\nb` is not the value of a header"),
                (3, 5, "cache_control[1].prefix: is missing"),
            ],
        ),
    ]
}

/// Tokens.
fn tokens() -> Vec<Case> {
    let hash = format!("blake3:{}", "0".repeat(64));
    vec![
        (
            with_provider("tokens:\n  - name: a b\n    hash: blake3:12\n    allow: [read]\n    prefixes: a/"),
            vec![
                (2, 11, "tokens[0].name: `a b` is not a name"),
                (3, 11, "tokens[0].hash: the value (not shown) is not `blake3:` and 64 hex digits"),
                (4, 13, "tokens[0].allow[0]: `read` is not a right"),
                (5, 15, "tokens[0].prefixes: must be a list"),
            ],
        ),
        (
            with_provider("tokens:\n  - { name: a, hash: tpl_x, allow: [] }\n  - just-text"),
            vec![
                (2, 22, "is a token, not its hash"),
                (2, 36, "tokens[0].allow: allows nothing"),
                (3, 5, "tokens[1]: must be keys with values"),
            ],
        ),
        (
            with_provider(&format!(
                "tokens:\n  - {{ name: a, hash: {hash}, allow: [write] }}\n  - {{ name: a, hash: {hash}, allow: [write], prefixes: [\"${{EMPTY}}\"] }}"
            )),
            vec![
                (3, 5, "tokens[1]: has the name of tokens[0]"),
                (3, 5, "tokens[1]: has the hash of tokens[0]"),
                (3, 122, "tokens[1].prefixes[0]: `${EMPTY}` is empty"),
            ],
        ),
    ]
}

/// Providers.
fn providers() -> Vec<Case> {
    vec![
        ("providers:\n".into(), vec![(1, 1, "providers: has no provider")]),
        ("providers: []\n".into(), vec![(1, 12, "providers: has no provider")]),
        ("providers: s3\n".into(), vec![(1, 12, "providers: must be a list")]),
        (
            format!("providers:\n{}", (0..16).fold(String::new(), |list, i| {
                list + &format!("- {{ name: p{i}, kind: disk, path: p{i} }}\n")
            })),
            vec![(1, 1, "providers: has more than 15 providers")],
        ),
        ("providers:\n  - {}\n".into(), vec![(2, 5, "kind: is missing"), (2, 5, "name: is missing")]),
        (
            "providers:\n  - { name: a, kind: s33, path: x, frob: 1 }\n".into(),
            vec![(2, 22, "kind: `s33` is not a kind of provider; did you mean `s3`?"), (2, 36, "frob: unknown key")],
        ),
        (
            s3(""),
            vec![
                (2, 5, "providers[0].endpoint: is missing"),
                (2, 5, "providers[0].bucket: is missing"),
                (2, 5, "providers[0].access_key_id: is missing"),
                (2, 5, "providers[0].secret_access_key: is missing"),
            ],
        ),
        (
            s3("    endpint: https://a.example\n    bucket: a/b\n    zone: z\n    access_key_id: x\n    secret_access_key: \"\"\n"),
            vec![
                (2, 5, "providers[0].endpoint: is missing"),
                (4, 5, "providers[0].endpint: unknown key; did you mean `endpoint`?"),
                (5, 13, "providers[0].bucket: `a/b` is not a bucket"),
                (6, 5, "providers[0].zone: unknown key"),
                (8, 24, "providers[0].secret_access_key: the value (not shown) is empty"),
            ],
        ),
        (
            "providers:\n  - { name: B, kind: bunny, endpoint: storage.bunnycdn.com, access_key: \"${UNSET}\" }\n".into(),
            vec![
                (2, 5, "providers[0].zone: is missing"),
                (2, 13, "providers[0].name: `B` is not a name"),
                (2, 39, "providers[0].endpoint: `storage.bunnycdn.com` is not a URL"),
                (2, 73, "providers[0].access_key: the environment variable `UNSET` is not set"),
            ],
        ),
        (
            "providers:\n- { name: a, kind: disk, path: x }\n- { name: a, kind: disk, path: ./y/../x/ }\n- { name: c, kind: disk, path: x/z }\n".into(),
            vec![
                (3, 3, "providers[1]: is the same place as providers[0]"),
                (3, 11, "providers[1].name: is the name of providers[0] already"),
                (4, 3, "providers[2]: and providers[0] lie one within the other"),
                (4, 3, "providers[2]: and providers[1] lie one within the other"),
            ],
        ),
        (
            "providers:\n\
             - { name: a, kind: s3, endpoint: \"https://A.example\", bucket: abc, access_key_id: x, secret_access_key: y }\n\
             - { name: b, kind: s3, endpoint: \"http://a.example:443/\", bucket: abc, access_key_id: z, secret_access_key: y }\n"
                .into(),
            vec![(3, 3, "providers[1]: is the same place as providers[0]")],
        ),
    ]
}

#[test]
fn every_error_of_a_malformed_file_is_told_with_its_place() {
    let cases = [syntax(), keys(), values(), tokens(), providers()].concat();
    assert!(cases.len() >= 50);
    let wrong: Vec<String> = cases.iter().filter_map(judge).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn judge((text, expected): &Case) -> Option<String> {
    let Err(errors) = load(text) else { return Some(format!("{text}\nis accepted")) };
    let problems = errors.problems();
    let fits = problems.len() == expected.len()
        && problems.iter().zip(expected).all(|(problem, (line, column, fragment))| {
            problem.at.is_some_and(|at| (at.line, at.column) == (*line, *column))
                && problem.to_string().contains(fragment)
        });
    (!fits).then(|| format!("{text}\ngives:\n{errors}\nnot:\n{expected:?}"))
}
