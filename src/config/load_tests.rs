use proptest::prelude::*;

use super::*;
use crate::config::{ProviderSettings, RecordKeySource};

/// A text that must appear in no message and no `Debug`.
const CANARY: &str = "Hunter2CanaryXyz";

fn environment(name: &str) -> Result<String, VarError> {
    match name {
        "SECRET" => Ok(CANARY.to_owned()),
        "SPACED" => Ok(format!(" {CANARY}")),
        "EMPTY" => Ok(String::new()),
        "YAML" => Ok("x\nlisten: 1".to_owned()),
        _ => Err(VarError::NotPresent),
    }
}

fn load(text: &str) -> Result<(Config, Vec<Problem>), ConfigErrors> {
    parse(text, "providers.yaml", Path::new("/etc/triplicate"), &environment)
}

/// A valid file: one disk provider behind whatever `text` adds.
fn with_provider(text: &str) -> String {
    format!("{text}\nproviders:\n  - {{ name: a, kind: disk, path: ./a }}\n")
}

fn s3(keys: &str) -> String {
    format!("providers:\n  - name: one\n    kind: s3\n{keys}")
}

#[test]
fn an_error_shows_its_line_and_a_caret() {
    let errors = load(&with_provider("listen: 127.0.0.1:1   # why\nfeed_interval: often")).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "providers.yaml:2:16: feed_interval: `often` is not a duration: write a number with a unit such as \
         `500ms`, `2s`, `5m`, `12h` or `7d`\n  2 | feed_interval: often\n    |                ^"
    );
}

#[test]
fn no_secret_is_ever_told() {
    let keys = |id: &str, secret: &str| {
        s3(&format!(
            "    endpoint: https://a.example\n    bucket: abc\n    access_key_id: {id}\n    secret_access_key: {secret}\n"
        ))
    };
    let texts = [
        keys("x", CANARY),
        keys(CANARY, ""),
        keys("\"a b ${SECRET}\"", "\"${SPACED}\""),
        keys(&format!("{{ {CANARY}: x }}"), &format!("[{CANARY}]")),
        keys(&format!("\"{CANARY} \""), &format!("|\n      {CANARY}\n      {CANARY}")),
        keys("x", &format!("\"${{{CANARY}-x}}\"")),
        keys("x", &format!("&{CANARY} x")),
        keys("x", &format!("x\n    secret_access_key: {CANARY}")),
        keys("x", &format!("x\n    secret_acces_key: {CANARY}\n    secret: {CANARY}")),
        keys("x", &format!("\"{CANARY}")),
        format!("providers: [{{ kind: s3, access_key_id: x, secret_access_key:{CANARY} }}]"),
        format!("providers: [{{ kind: s3, endpint: x, secret_access_key: {CANARY} }}]"),
        format!("providers: [{{ kind: s3, endpoint: \"https://me:{CANARY}@a.example\" }}]"),
        "providers: [{ kind: s3, endpoint: \"ftp://${SECRET}\", bucket: \"/${SECRET}\" }]".to_owned(),
        format!("providers: [{{ name: a, kind: bunny, access_key: {CANARY}ü }}]"),
        with_provider(&format!("record_key: {CANARY}\nlisten: x")),
        with_provider(&format!("record_key: {CANARY}\nfrob: x")),
        with_provider("listen: \"${SECRET}\"\nstate: x"),
        with_provider(&format!("listen: x # {CANARY}")),
        with_provider(&format!("tokens: [{{ name: a, hash: tpl_{CANARY}, allow: [frob] }}]")),
        with_provider("tokens: [{ name: a, hash: \"${SECRET}\", allow: [\"${SECRET}\"] }]"),
    ];
    for text in texts {
        let told = match load(&text) {
            Ok((config, warnings)) => format!("{config:?} {warnings:?}"),
            Err(errors) => format!("{errors} {errors:?}"),
        };
        assert!(!told.contains(CANARY), "{text}\n{told}");
    }
}

#[test]
fn keys_of_the_environment_arrive_whole() {
    let (config, warnings) = load(
        "providers: [{ name: b, kind: bunny, endpoint: \"http://store.example\", zone: z, access_key: \"${SECRET}\" }]",
    )
    .unwrap();
    let ProviderSettings::Bunny(bunny) = &config.providers[0].settings else { panic!("{config:?}") };
    assert_eq!(secrecy::ExposeSecret::expose_secret(&bunny.access_key), CANARY);
    let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert!(warnings[0].contains("one provider is for trying out"), "{warnings:?}");
    assert!(warnings[1].contains("is not encrypted"), "{warnings:?}");
}

#[test]
fn no_variable_can_add_a_key() {
    let (config, _) = load(&with_provider("state: \"${YAML}\"")).unwrap();
    assert_eq!(config.state, Path::new("/etc/triplicate/x\nlisten: 1"));
    assert_eq!(config.listen, ([127, 0, 0, 1], 8080).into());
}

#[test]
fn scalars_stay_the_text_that_was_written() {
    let text = "    endpoint: http://localhost:1/\n    bucket: 0123\n    region: no\n    access_key_id: 007\n    secret_access_key: yes\n    path_style: false\n";
    let (config, _) = load(&s3(text)).unwrap();
    let ProviderSettings::S3(s3) = &config.providers[0].settings else { panic!("{config:?}") };
    let secret = secrecy::ExposeSecret::expose_secret;
    assert_eq!((s3.bucket.as_str(), s3.region.as_str(), s3.path_style), ("0123", "no", false));
    assert_eq!((secret(&s3.access_key_id), secret(&s3.secret_access_key)), ("007", "yes"));
}

#[test]
fn zero_takes_the_limits_off() {
    let (config, _) = load(&with_provider("limits: { asset: 0, uploads: 0, reads: 0 }")).unwrap();
    assert_eq!((config.limits.uploads, config.limits.reads), (0, 0));
    assert_eq!(config.limits.asset_bytes, 48 << 30);
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    let (config, _) = load(&with_provider("tokens:\ncache:\n# all of it commented out")).unwrap();
    let (built_in, _) = parse(BUILT_IN, "x", Path::new("/etc/triplicate"), &environment).unwrap();
    assert_eq!(config.listen, built_in.listen);
    assert_eq!(config.admin, built_in.admin);
    assert_eq!(config.cache, built_in.cache);
    assert_eq!(config.limits, built_in.limits);
    assert_eq!(config.timeouts, built_in.timeouts);
    assert_eq!((config.feed_interval, config.retention), (built_in.feed_interval, built_in.retention));
    assert_eq!((&config.public_url, &config.tokens), (&built_in.public_url, &built_in.tokens));
    assert_eq!(config.conditional_writes, built_in.conditional_writes);
    assert_eq!(config.state, built_in.state);
    let (RecordKeySource::File(one), RecordKeySource::File(other)) =
        (&config.record_key, &built_in.record_key)
    else {
        panic!("{config:?}")
    };
    assert_eq!((one, other), (&PathBuf::from("/etc/triplicate/data/record.key"), one));
}

#[test]
fn the_repositorys_file_runs_with_an_empty_environment_and_without_a_warning() {
    let (config, warnings) = parse(BUILT_IN, "x", Path::new(""), &|_| Err(VarError::NotPresent)).unwrap();
    assert_eq!(warnings, []);
    let names: Vec<_> = config.providers.iter().map(|provider| provider.id.as_str()).collect();
    assert_eq!(names, ["disk-a", "disk-b", "disk-c"]);
}

#[test]
fn the_examples_in_the_repositorys_file_are_valid() {
    let hash = format!("blake3:{}", "0".repeat(64));
    let uncommented: Vec<String> = BUILT_IN
        .lines()
        .filter(|line| *line != "tokens: []")
        .map(|line| match line.strip_prefix("#  ") {
            Some(example) => format!("  {}", example.replace("blake3:0123…", &hash)),
            None if line.starts_with("# public_url") => line[2..].to_owned(),
            None => line.replace("# Who may write.", "tokens: # Who may write."),
        })
        .collect();
    let lookup = |_: &str| Ok("${SECRET}".repeat(8).replace(['$', '{', '}'], "A"));
    let text = uncommented.join("\n").replace("record_key: ${", "record_key: file:x # ${");
    let (config, _) = parse(&text, "x", Path::new(""), &lookup).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((config.providers.len(), config.tokens.len()), (5, 1));
    assert_eq!(config.public_url.as_deref(), Some("https://assets.example.com"));
}

#[test]
fn dangerous_but_valid_files_warn() {
    let hash = format!("blake3:{}", "0".repeat(64));
    let table = [
        (with_provider("state: .\nadmin: 0.0.0.0:1"), "record_key: lies within `state`"),
        (with_provider("state: ."), "state: may be deleted, but the provider a lies within it"),
        (
            with_provider(&format!(
                "admin: 0.0.0.0:1\ntokens: [{{ name: a, hash: {hash}, allow: [write] }}]"
            )),
            "admin: is not on the loopback",
        ),
        (
            with_provider(&format!("tokens: [{{ name: a, hash: {hash}, allow: [write], prefixes: [a] }}]")),
            "tokens[0].prefixes[0]: does not end with `/`",
        ),
        (
            with_provider("cache_control: [{ prefix: '', value: x }, { prefix: a/, value: y }]"),
            "cache_control[1]: is never used",
        ),
    ];
    for (text, fragment) in table {
        let (_, warnings) = load(&text).unwrap();
        assert!(
            warnings.iter().any(|warning| warning.to_string().contains(fragment)),
            "{text}: {warnings:?}"
        );
    }
}

#[test]
fn files_that_cannot_be_read_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("providers.yaml");
    let told = |path: &Path| Config::load(path).unwrap_err().to_string();
    assert!(told(&file).contains("there is no such file"), "{}", told(&file));
    assert!(told(folder.path()).contains("is a folder"), "{}", told(folder.path()));
    std::fs::write(&file, b"listen: x\nadmin: a\xff").unwrap();
    assert!(told(&file).contains("providers.yaml:2:9: is not UTF-8"), "{}", told(&file));
    std::fs::write(&file, vec![b'#'; 1024 * 1024 + 1]).unwrap();
    assert!(told(&file).contains("larger than 1MiB"), "{}", told(&file));
    std::fs::write(&file, with_provider("\u{feff}")).unwrap();
    let loaded = Config::load(&file).unwrap();
    assert_eq!(loaded.origin, Origin::File(file));
    assert_eq!(loaded.config.state, folder.path().join("./data/state"));
}

#[test]
fn a_thousand_errors_are_shown_in_part() {
    let text = with_provider(&(0..1000).fold(String::new(), |text, i| format!("{text}k{i}: 1\n")));
    let errors = load(&text).unwrap_err();
    assert_eq!(errors.problems().len(), 1000);
    assert!(errors.to_string().ends_with("and 900 more"));
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,80}") {
        let _ = load(&text);
    }

    #[test]
    fn no_yaml_like_text_panics(pieces in prop::collection::vec(piece(), 0..40)) {
        let _ = load(&pieces.concat());
    }

    #[test]
    fn no_damage_to_a_valid_file_panics(cut in 0..4000usize, char: char, length in 0..40usize) {
        let chars: Vec<char> = BUILT_IN.chars().collect();
        let cut = cut.min(chars.len());
        let rest = (cut + length).min(chars.len());
        let text: String = chars[..cut].iter().chain([&char]).chain(&chars[rest..]).collect();
        let _ = load(&text);
    }
}

fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        ": ",
        ":",
        "? ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "|",
        ">",
        "|2-\n",
        "\"",
        "'",
        "#",
        " #",
        "&a ",
        "*a",
        "!x ",
        "!!str ",
        "---",
        "...",
        "%YAML 1.2\n",
        "%TAG ! x\n",
        "<<",
        "~",
        "\t",
        "\r\n",
        "\\",
        "${A}",
        "${",
        "providers",
        "name",
        "kind",
        "s3",
        "disk",
        "path",
        "tokens",
        "cache",
        "x",
        "ü",
        "\u{85}",
        "\0",
        "\u{feff}",
        "@",
        "`",
    ])
}

#[test]
fn a_provider_of_any_kind_may_be_preferred_and_none_is_unless_said() {
    let s3 = "{ name: a, kind: s3, endpoint: \"https://a.example\", bucket: abc, access_key_id: x, secret_access_key: y";
    let bunny = "{ name: b, kind: bunny, endpoint: \"https://b.example\", zone: abc, access_key: x";
    let disk = "{ name: c, kind: disk, path: ./c";
    let preferred = |suffixes: [&str; 3]| {
        let lines = [s3, bunny, disk]
            .into_iter()
            .zip(suffixes)
            .map(|(entry, suffix)| format!("  - {entry}{suffix} }}\n"));
        load(&format!("providers:\n{}", lines.collect::<String>()))
            .map(|(config, _)| config.providers.iter().map(|provider| provider.preferred).collect::<Vec<_>>())
    };
    assert_eq!(preferred(["", "", ""]).unwrap(), [false, false, false]);
    assert_eq!(
        preferred([", preferred: true", ", preferred: false", ", preferred: true"]).unwrap(),
        [true, false, true]
    );
    let errors = preferred(["", ", preferred: often", ""]).unwrap_err().to_string();
    assert!(errors.contains("providers[1].preferred") && errors.contains("often"), "{errors}");
}
