//! Interpolation: `${NAME}` and `${NAME:-default}` within one scalar.
//!
//! It runs on scalars after the YAML was parsed, so no value of the environment can add a key or a line.
//! What comes out is never interpolated again. `$${` stands for a plain `${`.

use std::env::VarError;

/// Looks up a variable of the environment.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Result<String, VarError>;

/// Replaces every `${…}` of `raw`.
///
/// # Errors
///
/// Everything that is wrong, in order; only names of variables are told, never a part of the text.
pub(super) fn expand(raw: &str, lookup: Lookup<'_>) -> Result<String, Vec<String>> {
    let mut text = String::with_capacity(raw.len());
    let mut flaws = Vec::new();
    let mut rest = raw;
    while let Some(dollar) = rest.find('$') {
        text.push_str(&rest[..dollar]);
        rest = &rest[dollar..];
        if let Some(after) = rest.strip_prefix("$${") {
            text.push_str("${");
            rest = after;
        } else if let Some(after) = rest.strip_prefix("${") {
            let Some((inside, after)) = after.split_once('}') else {
                flaws.push("`${` has no closing `}`; write `$${` for a plain `${`".to_owned());
                rest = "";
                continue;
            };
            match replace(inside, lookup) {
                Ok(value) => text.push_str(&value),
                Err(flaw) => flaws.push(flaw),
            }
            rest = after;
        } else {
            text.push('$');
            rest = &rest[1..];
        }
    }
    text.push_str(rest);
    if flaws.is_empty() { Ok(text) } else { Err(flaws) }
}

fn replace(inside: &str, lookup: Lookup<'_>) -> Result<String, String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    if !is_name(name) {
        return Err(
            "`${…}` must hold a name of letters, digits and `_`, or `NAME:-default`; write `$${` for a plain `${`"
                .to_owned(),
        );
    }
    if default.is_some_and(|default| default.contains("${")) {
        return Err(format!("the default of `${{{name}}}` must not hold another `${{`"));
    }
    match (lookup(name), default) {
        // As in a shell, `:-` is also for a variable that is set and empty.
        (Ok(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Ok(value), _) => Ok(value),
        (Err(VarError::NotPresent), Some(default)) => Ok(default.to_owned()),
        (Err(VarError::NotPresent), None) => Err(format!(
            "the environment variable `{name}` is not set; set it, or give a default with `${{{name}:-…}}`"
        )),
        (Err(VarError::NotUnicode(_)), _) => {
            Err(format!("the environment variable `{name}` is not valid UTF-8"))
        }
    }
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lookup(name: &str) -> Result<String, VarError> {
        match name {
            "A" => Ok("alpha".to_owned()),
            "_B2" => Ok("${A}".to_owned()),
            "EMPTY" => Ok(String::new()),
            "BYTES" => Err(VarError::NotUnicode("x".into())),
            _ => Err(VarError::NotPresent),
        }
    }

    #[test]
    fn variables_and_defaults_are_replaced() {
        let table = [
            ("", ""),
            ("plain", "plain"),
            ("${A}", "alpha"),
            ("<${A}-${A}>", "<alpha-alpha>"),
            ("${A:-other}", "alpha"),
            ("${NONE:-other}", "other"),
            ("${NONE:-}", ""),
            ("${NONE:-file:./data/record.key}", "file:./data/record.key"),
            ("${NONE:-a:-b}", "a:-b"),
            ("${EMPTY}", ""),
            ("${EMPTY:-other}", "other"),
            ("${_B2}", "${A}"),
            ("$${A}", "${A}"),
            ("$$${A}", "$${A}"),
            ("$", "$"),
            ("5$ and $A", "5$ and $A"),
            ("${A}}", "alpha}"),
            ("ü${A}ü", "üalphaü"),
        ];
        for (raw, text) in table {
            assert_eq!(expand(raw, &lookup), Ok(text.to_owned()), "{raw}");
        }
    }

    #[test]
    fn broken_and_unset_ones_are_told_apart() {
        let table = [
            ("${NONE}", "`NONE` is not set"),
            ("${BYTES}", "`BYTES` is not valid UTF-8"),
            ("${BYTES:-x}", "`BYTES` is not valid UTF-8"),
            ("${", "no closing"),
            ("${A", "no closing"),
            ("${}", "must hold a name"),
            ("${ A }", "must hold a name"),
            ("${1A}", "must hold a name"),
            ("${A-x}", "must hold a name"),
            ("${A:x}", "must hold a name"),
            ("${NONE:-${A}}", "must not hold another"),
        ];
        for (raw, fragment) in table {
            let flaws = expand(raw, &lookup).unwrap_err();
            assert!(flaws.iter().any(|flaw| flaw.contains(fragment)), "{raw}: {flaws:?}");
        }
        assert_eq!(expand("${X} ${Y} ${Z", &lookup).unwrap_err().len(), 3);
    }

    proptest! {
        #[test]
        fn no_text_panics(raw in "[$A{}:x-]{0,24}|\\PC{0,40}") {
            let _ = expand(&raw, &lookup);
        }
    }
}
