use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn the_generated_token_outlives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("data/state");
    let first = load_or_generate(&state).unwrap();
    let second = load_or_generate(&state).unwrap();
    assert_eq!(first.text.expose(), second.text.expose());
    assert_eq!(first.token, second.token);
    assert!(first.token.write && first.token.delete && first.token.admin && first.token.prefixes.is_empty());
    assert_eq!(fs::metadata(state.join("token")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!format!("{first:?}").contains(first.text.expose()));
}

#[test]
fn tokens_differ_and_have_their_form() {
    let (one, other) = (TokenText::generate(), TokenText::generate());
    assert_ne!(one.expose(), other.expose());
    assert_eq!(one.expose().len(), 4 + 43);
    assert_eq!(one.hash(), Blake3::new(*blake3::hash(one.expose().as_bytes()).as_bytes()));
    assert!(one.expose().starts_with("tpl_"));
}

#[test]
fn a_file_with_other_content_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for content in ["", "tpl_", "tpl_short", "x", &format!("tpl_{}", "!".repeat(43))] {
        fs::write(folder.path().join("token"), content).unwrap();
        let error = load_or_generate(folder.path()).unwrap_err();
        assert!(matches!(error, TokenError::Malformed(_)), "{error}");
    }
}
