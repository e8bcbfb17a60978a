//! Tokens: made from 32 random bytes, known to the configuration by their hash alone.
//!
//! Where the file names no token, one with all rights is generated and kept in the state folder, so that
//! the first upload needs no set-up and a restart keeps the token.

use std::fmt;
use std::path::{Path, PathBuf};

use data_encoding::BASE64URL_NOPAD;
use secrecy::{ExposeSecret, SecretString};

use super::record_key::draft_suffix;
use super::{Token, secret_file};
use crate::asset::Blake3;
use crate::clock::random_secret;

/// What every token begins with, so that people and scanners of secrets know one when they see it.
pub(super) const TOKEN_PREFIX: &str = "tpl_";
/// The name of the generated token in logs.
const GENERATED_NAME: &str = "generated";
/// The file of the generated token, in the state folder.
const FILE: &str = "token";

/// The text of a token.
#[derive(Clone)]
pub struct TokenText(SecretString);

impl TokenText {
    /// Makes a new token.
    pub fn generate() -> Self {
        Self(SecretString::from(format!("{TOKEN_PREFIX}{}", BASE64URL_NOPAD.encode(&random_secret()))))
    }

    /// Returns the text, for the one place that shows it to its owner.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Returns the hash by which the configuration knows the token.
    pub fn hash(&self) -> Blake3 {
        Blake3::new(*blake3::hash(self.expose().as_bytes()).as_bytes())
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(text.strip_prefix(TOKEN_PREFIX)?.as_bytes()).ok()?;
        (bytes.len() == 32).then(|| Self(SecretString::from(text)))
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(secret)")
    }
}

/// The token that stands in where none is configured.
#[derive(Debug, Clone)]
pub struct GeneratedToken {
    /// What the client sends.
    pub text: TokenText,
    /// What it may do: everything.
    pub token: Token,
    /// Where it is kept.
    pub file: PathBuf,
    /// Whether others than the file's owner may read it.
    pub open_to_others: bool,
}

/// The generated token cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file holds something else.
    #[error("{} does not hold a token; remove it and a new one is made", .0.display())]
    Malformed(PathBuf),
    /// The file cannot be read or made.
    #[error("the token's file {} cannot be read or made: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

/// Reads the token of an earlier start from the folder `state`, or makes one there.
///
/// # Errors
///
/// Says what is wrong with the file.
pub fn load_or_generate(state: &Path) -> Result<GeneratedToken, TokenError> {
    let file = state.join(FILE);
    let io = |error| TokenError::Io { path: file.clone(), error };
    let found = match secret_file::read(&file).map_err(io)? {
        Some(found) => found,
        None => {
            let text = TokenText::generate().0;
            secret_file::create(&file, &text, &draft_suffix()).map_err(io)?;
            secret_file::read(&file).map_err(io)?.ok_or_else(|| TokenError::Malformed(file.clone()))?
        }
    };
    let text = TokenText::parse(found.text.expose_secret());
    let text = text.ok_or_else(|| TokenError::Malformed(file.clone()))?;
    let token = Token {
        name: GENERATED_NAME.to_owned(),
        hash: text.hash(),
        write: true,
        delete: true,
        admin: true,
        prefixes: Vec::new(),
    };
    Ok(GeneratedToken { text, token, file, open_to_others: found.open_to_others })
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
