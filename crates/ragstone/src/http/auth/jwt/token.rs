//! A token as it is written: three parts, a header and claims, nothing verified yet.
//!
//! Invariant: what a header says about keys (`jwk`, `jku`, `x5u`, `x5c`) is not read; a name that stands twice in an
//! object refuses the token, so that nobody else can read it in another way.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::TokenRefused;
use super::unique::Unique;
use crate::config::Algorithm;

/// Longest token, in bytes.
pub const MAX_TOKEN_BYTES: usize = 16 << 10;
/// Longest key id, in bytes.
const MAX_KEY_ID_BYTES: usize = 1 << 10;
/// Types of tokens that speak for a caller (RFC 7519, RFC 9068); others are made for other uses, and signed alike.
const TYPES: [&str; 4] = ["jwt", "application/jwt", "at+jwt", "application/at+jwt"];

/// The claims of a token.
pub type Claims = Map<String, Value>;

/// A token in its parts.
#[derive(Debug)]
pub struct Token<'a> {
    /// How it says that it was signed.
    pub algorithm: Algorithm,
    /// The key it names.
    pub key_id: Option<String>,
    /// What it says; not to be believed before the signature is verified.
    pub claims: Claims,
    /// The text that was signed.
    pub signed: &'a [u8],
    /// The signature, decoded.
    pub signature: Vec<u8>,
}

/// Takes a token apart.
pub fn parse(text: &str) -> Result<Token<'_>, TokenRefused> {
    if text.len() > MAX_TOKEN_BYTES {
        return Err(TokenRefused::TooLong);
    }
    let (signed, signature) = text.rsplit_once('.').ok_or(TokenRefused::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(TokenRefused::Malformed)?;
    let header = object(header)?;
    let (algorithm, key_id) = read_header(&header)?;
    let signature = decode(signature)?;
    if signature.is_empty() {
        return Err(TokenRefused::Signature);
    }
    Ok(Token {
        algorithm,
        key_id,
        claims: object(claims)?,
        signed: signed.as_bytes(),
        signature,
    })
}

fn read_header(header: &Map<String, Value>) -> Result<(Algorithm, Option<String>), TokenRefused> {
    // No extension is understood here, and what is critical has to be (RFC 7515, 4.1.11).
    if header.contains_key("crit") {
        return Err(TokenRefused::Critical);
    }
    let typ = text(header, "typ")?.unwrap_or("jwt");
    if !TYPES.iter().any(|known| known.eq_ignore_ascii_case(typ)) {
        return Err(TokenRefused::Type);
    }
    let algorithm = text(header, "alg")?.and_then(Algorithm::of);
    let algorithm = algorithm.ok_or(TokenRefused::Algorithm)?;
    match text(header, "kid")? {
        Some(id) if id.len() > MAX_KEY_ID_BYTES => Err(TokenRefused::Malformed),
        id => Ok((algorithm, id.map(str::to_owned))),
    }
}

fn text<'a>(header: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, TokenRefused> {
    match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(TokenRefused::Malformed),
    }
}

fn object(part: &str) -> Result<Map<String, Value>, TokenRefused> {
    match serde_json::from_slice(&decode(part)?) {
        Ok(Unique(Value::Object(object))) => Ok(object),
        _ => Err(TokenRefused::Malformed),
    }
}

/// Base64url in its one form: no padding, no white space, no spare bits (RFC 7515, 2).
fn decode(part: &str) -> Result<Vec<u8>, TokenRefused> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenRefused::Malformed)
}
