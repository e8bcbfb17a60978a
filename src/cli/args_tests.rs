use super::*;

fn parse(args: &[&str]) -> Result<Invocation, Stop> {
    let args = std::iter::once("triplicate").chain(args.iter().copied());
    Invocation::parse(args.map(OsString::from))
}

fn audit(args: &[&str]) -> AuditArgs {
    match parse(args).unwrap().command {
        Command::Audit(audit) => audit,
        command @ (Command::Serve
        | Command::Check
        | Command::NewToken { .. }
        | Command::Drill { .. }
        | Command::Purge(_)
        | Command::Undo(_)
        | Command::Retention { .. }) => panic!("{command:?}"),
    }
}

#[test]
fn flags_become_one_command() {
    let serve = parse(&[]).unwrap();
    assert_eq!(
        (serve.command, serve.config, serve.json, serve.log.as_str()),
        (Command::Serve, None, false, "info")
    );
    let serve =
        parse(&["--config", "a.yaml", "--listen", "[::1]:1", "--admin=127.0.0.1:2", "--json"]).unwrap();
    assert_eq!(serve.config.as_deref(), Some(std::path::Path::new("a.yaml")));
    assert_eq!(serve.listen.map(|at| at.port()), Some(1));
    assert_eq!(serve.admin.map(|at| at.port()), Some(2));
    assert!(serve.json);
    let check = parse(&["--check", "--listen", "127.0.0.1:1"]).unwrap();
    assert_eq!((check.command, check.log.as_str()), (Command::Check, "warn"));
    for (text, name) in [("icons/gold.png", "icons/gold.png"), ("/u%CC%88%20x", "ü x")] {
        assert_eq!(parse(&["--purge", text]).unwrap().command, Command::Purge(name.parse().unwrap()));
        assert_eq!(parse(&["--undo", text]).unwrap().command, Command::Undo(name.parse().unwrap()));
    }
    for (args, allow_large_removal) in
        [(&["--retention"][..], false), (&["--allow-large-removal", "--retention"], true)]
    {
        assert_eq!(parse(args).unwrap().command, Command::Retention { allow_large_removal });
    }
    let token = parse(&["--new-token", "shop-backend"]).unwrap();
    assert_eq!(token.command, Command::NewToken { name: "shop-backend".to_owned() });
}

#[test]
fn an_audit_has_its_level_and_its_flags() {
    for (flag, level) in [
        ("--audit", AuditLevel::Checksum),
        ("--audit=list", AuditLevel::List),
        ("--audit=checksum", AuditLevel::Checksum),
        ("--audit=bytes", AuditLevel::Bytes),
    ] {
        assert_eq!(audit(&[flag]).level, level);
        assert_eq!(audit(&["--repair", flag, "--json"]).level, level);
    }
    let all = audit(&[
        "--audit=bytes",
        "--repair",
        "--prefix",
        "icons/",
        "--sample",
        "1%",
        "--max-rate",
        "50MiB/s",
        "--resume",
        "--report",
        "out.jsonl",
    ]);
    let expected = AuditArgs {
        level: AuditLevel::Bytes,
        repair: true,
        prefix: Some("icons/".to_owned()),
        sample: Some(0.01),
        max_bytes_per_second: Some(50 << 20),
        resume: true,
        report: Some("out.jsonl".into()),
    };
    assert_eq!(all, expected);
    assert_eq!(audit(&["--audit", "--sample=0.5%"]).sample, Some(0.005));
    assert_eq!(audit(&["--audit", "--sample=100%"]).sample, Some(1.0));
}

#[test]
fn a_drill_has_its_scenario_and_its_flags() {
    let drill = parse(&["--drill", "year"]).unwrap();
    let command = Command::Drill { scenario: "year".to_owned(), options: drill::Options::default() };
    assert_eq!((drill.command, drill.log.as_str(), drill.config), (command, "error", None));
    let all = [
        "--drill=a.yaml",
        "--config",
        "b",
        "--json",
        "--reads",
        "7",
        "--seed",
        "8",
        "--report",
        "c",
        "--log",
        "off",
    ];
    let all = parse(&all).unwrap();
    let options = drill::Options { reads: Some(7), seed: Some(8), report: Some("c".into()), json: true };
    assert_eq!(all.command, Command::Drill { scenario: "a.yaml".to_owned(), options });
    assert_eq!((all.log.as_str(), all.json), ("off", true));
    assert_eq!(all.config.as_deref(), Some(std::path::Path::new("b")));
}

#[test]
fn every_misuse_is_told_with_status_64() {
    let table: &[(&[&str], &str)] = &[
        (&["serve"], "unexpected argument 'serve'"),
        (&["--frob"], "unexpected argument '--frob'"),
        (&["--chek"], "'--check'"),
        (&["--config"], "a value is required for '--config <FILE>'"),
        (&["--config", ""], "a value is required for '--config <FILE>'"),
        (&["--config", "a", "--config", "b"], "cannot be used multiple times"),
        (&["--listen"], "a value is required"),
        (&["--listen", "8080"], "it is not an address such as `127.0.0.1:8080`"),
        (&["--listen", "gateway:8080"], "not a host name"),
        (&["--listen", "127.0.0.1:99999"], "up to 65535"),
        (&["--admin", ":8081"], "0.0.0.0:8080"),
        (&["--log"], "a value is required"),
        (&["--log", ""], "write a level"),
        (&["--log", "verbose"], "`verbose` is not a level"),
        (&["--log", "info,debgu"], "`debgu` is not a level"),
        (&["--log", "triplicate=loud"], "write a level"),
        (&["--json=yes"], "unexpected value 'yes'"),
        (&["--check=yes"], "unexpected value 'yes'"),
        (&["--check", "s3-one"], "unexpected argument 's3-one'"),
        (&["--new-token"], "a value is required for '--new-token <NAME>'"),
        (&["--new-token", ""], "it is not a name"),
        (&["--new-token", "a b"], "it is not a name"),
        (&["--new-token", "../x"], "it is not a name"),
        (&["--check", "--new-token", "a"], "cannot be used with"),
        (&["--check", "--audit"], "cannot be used with"),
        (&["--audit", "--new-token", "a"], "cannot be used with"),
        (&["--audit", "--listen", "127.0.0.1:1"], "cannot be used with"),
        (&["--new-token", "a", "--admin", "127.0.0.1:1"], "cannot be used with"),
        (&["--new-token", "a", "--config", "x"], "cannot be used with"),
        (&["--audit", "--audit=list"], "cannot be used multiple times"),
        (&["--audit=deep"], "[possible values: list, checksum, bytes]"),
        (&["--audit="], "a value is required"),
        (&["--audit", "bytes"], "write `--audit=bytes`, with `=`"),
        (&["--repair"], "--audit"),
        (&["--check", "--repair"], "cannot be used with"),
        (&["--check", "--prefix", "a"], "cannot be used with"),
        (&["--check", "--sample", "1%"], "cannot be used with"),
        (&["--check", "--max-rate", "1/s"], "cannot be used with"),
        (&["--check", "--resume"], "cannot be used with"),
        (&["--new-token", "a", "--report", "x"], "cannot be used with"),
        (&["--prefix", "a/"], "--audit"),
        (&["--sample", "1%"], "--audit"),
        (&["--max-rate", "1MiB/s"], "--audit"),
        (&["--resume"], "--audit"),
        (&["--report", "x"], "--audit"),
        (&["--audit", "--repair=yes"], "unexpected value 'yes'"),
        (&["--audit", "--prefix"], "a value is required"),
        (&["--audit", "--prefix", ""], "leave --prefix out"),
        (&["--audit", "--prefix", "/icons"], "it must not begin with `/`"),
        (&["--audit", "--prefix", "a/../b"], "`.` or `..`"),
        (&["--audit", "--sample", "1"], "such as `1%`"),
        (&["--audit", "--sample", "0%"], "such as `1%`"),
        (&["--audit", "--sample", "101%"], "such as `1%`"),
        (&["--audit", "--sample", "-1%"], "unexpected argument '-1'"),
        (&["--audit", "--sample=-1%"], "such as `1%`"),
        (&["--audit", "--sample", "NaN%"], "such as `1%`"),
        (&["--audit", "--max-rate", "50MiB"], "such as `50MiB/s`"),
        (&["--audit", "--max-rate", "0/s"], "such as `50MiB/s`"),
        (&["--audit", "--max-rate", "fast/s"], "such as `50MiB/s`"),
        (&["--audit", "--report"], "a value is required"),
        (&["--audit", "--resume=1"], "unexpected value '1'"),
    ];
    assert_all_misused(table);
}

#[test]
fn every_misuse_of_the_tools_is_told_with_status_64() {
    assert_all_misused(&[
        (&["--purge"], "a value is required for '--purge <NAME>'"),
        (&["--purge", "a/../b"], "it is not a name"),
        (&["--undo", "100%"], "it is not a name"),
        (&["--undo", "a", "--purge", "b"], "cannot be used with"),
        (&["--purge", "a", "--listen", "127.0.0.1:1"], "cannot be used with"),
        (&["--purge", "a", "--repair"], "cannot be used with"),
        (&["--purge", "a", "--drill", "year"], "cannot be used with"),
        (&["--purge", "a", "--report", "x"], "cannot be used with"),
        (&["--allow-large-removal"], "--retention"),
        (&["--audit", "--allow-large-removal"], "cannot be used with"),
    ]);
}

#[test]
fn every_misuse_of_a_drill_is_told_with_status_64() {
    let table: &[(&[&str], &str)] = &[
        (&["--drill"], "a value is required"),
        (&["--drill", ""], "a value is required"),
        (&["--drill", "year", "--audit"], "cannot be used with"),
        (&["--drill", "year", "--check"], "cannot be used with"),
        (&["--drill", "year", "--listen", "127.0.0.1:1"], "cannot be used with"),
        (&["--drill", "year", "--admin", "127.0.0.1:1"], "cannot be used with"),
        (&["--drill", "year", "--repair"], "cannot be used with"),
        (&["--drill", "year", "--sample", "1%"], "cannot be used with"),
        (&["--drill", "year", "--reads", "0"], "a whole number from 1"),
        (&["--drill", "year", "--seed", "-1"], "unexpected argument '-1'"),
        (&["--audit", "--reads", "5"], "cannot be used with"),
        (&["--audit", "--seed", "5"], "cannot be used with"),
        (&["--reads", "5"], "--drill"),
        (&["--check", "--report", "x"], "cannot be used with"),
    ];
    assert_all_misused(table);
}

/// Each of the arguments is refused with status 64 and a text that holds the fragment.
fn assert_all_misused(table: &[(&[&str], &str)]) {
    for (args, fragment) in table {
        let stop = parse(args).map(|invocation| format!("{args:?} is {invocation:?}")).unwrap_err();
        let told = stop.0.to_string();
        assert!(told.contains(fragment), "{args:?}\n{told}\nlacks: {fragment}");
        assert_eq!(stop.status(), EXIT_USAGE, "{args:?}");
    }
}

#[test]
fn arguments_that_are_not_utf_8_are_told() {
    use std::os::unix::ffi::OsStringExt;
    let broken = OsString::from_vec(b"--new-token=\xff".to_vec());
    let stop = Invocation::parse(["triplicate".into(), broken]).unwrap_err();
    assert_eq!((stop.0.kind(), stop.status()), (ErrorKind::InvalidUtf8, EXIT_USAGE));
}

#[test]
fn help_and_version_are_no_misuse() {
    for (flag, fragment) in
        [("--help", "Exit status:"), ("-h", "--audit"), ("--version", "triplicate 0."), ("-V", "0.")]
    {
        let stop = parse(&[flag]).unwrap_err();
        assert!(stop.0.to_string().contains(fragment), "{}", stop.0);
        assert_eq!(stop.status(), EXIT_FINE);
    }
}

#[test]
fn directives_are_those_of_the_log() {
    for text in
        ["info", "DEBUG", "off", "warn,triplicate=debug", "triplicate::write=trace", "info,hyper=warn"]
    {
        assert_eq!(parse(&["--log", text]).unwrap().log, text);
    }
}
