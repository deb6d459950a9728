//! Parses a token into its three parts, header and claims. Nothing is verified here.
//!
//! Invariant: keys in the header (`jwk`, `jku`, `x5u`, `x5c`) are ignored; a duplicate name in a JSON object refuses
//! the token, so that no other reader can interpret it differently.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::TokenError;
use super::unique::UniqueJson;
use crate::config::SignatureAlgorithm;

/// Longest token, in bytes.
pub const MAX_TOKEN_BYTES: usize = 16 << 10;
/// Longest key id (`kid`), in bytes.
const MAX_KEY_ID_BYTES: usize = 1 << 10;
/// Accepted values of `typ` (RFC 7519, RFC 9068). Tokens of other types are made for other uses, with the same keys.
const ACCEPTED_TYPES: [&str; 4] = ["jwt", "application/jwt", "at+jwt", "application/at+jwt"];

/// The JSON object with the claims of a token.
pub type Claims = Map<String, Value>;

/// A parsed token.
#[derive(Debug)]
pub struct ParsedToken<'a> {
    /// `alg` of the header.
    pub algorithm: SignatureAlgorithm,
    /// `kid` of the header.
    pub key_id: Option<String>,
    /// The claims; not to be trusted before the signature is verified.
    pub claims: Claims,
    /// The bytes that were signed: header and claims, encoded.
    pub signed: &'a [u8],
    /// The signature, decoded from base64url.
    pub signature: Vec<u8>,
}

/// Splits and decodes a token. Errors: too long, malformed, or a header that is not accepted.
pub fn parse_token(text: &str) -> Result<ParsedToken<'_>, TokenError> {
    if text.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::TooLong);
    }
    let (signed, signature) = text.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
    let header = decode_object(header)?;
    let (algorithm, key_id) = read_header(&header)?;
    let signature = decode_base64url(signature)?;
    if signature.is_empty() {
        return Err(TokenError::Signature);
    }
    Ok(ParsedToken {
        algorithm,
        key_id,
        claims: decode_object(claims)?,
        signed: signed.as_bytes(),
        signature,
    })
}

fn read_header(header: &Map<String, Value>) -> Result<(SignatureAlgorithm, Option<String>), TokenError> {
    // No extension is supported, and a critical one must be (RFC 7515, 4.1.11).
    if header.contains_key("crit") {
        return Err(TokenError::Critical);
    }
    let typ = header_text(header, "typ")?.unwrap_or("jwt");
    if !ACCEPTED_TYPES.iter().any(|known| known.eq_ignore_ascii_case(typ)) {
        return Err(TokenError::Type);
    }
    let algorithm = header_text(header, "alg")?.and_then(SignatureAlgorithm::from_name);
    let algorithm = algorithm.ok_or(TokenError::Algorithm)?;
    match header_text(header, "kid")? {
        Some(id) if id.len() > MAX_KEY_ID_BYTES => Err(TokenError::Malformed),
        id => Ok((algorithm, id.map(str::to_owned))),
    }
}

fn header_text<'a>(header: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, TokenError> {
    match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(TokenError::Malformed),
    }
}

fn decode_object(part: &str) -> Result<Map<String, Value>, TokenError> {
    match serde_json::from_slice(&decode_base64url(part)?) {
        Ok(UniqueJson(Value::Object(object))) => Ok(object),
        _ => Err(TokenError::Malformed),
    }
}

/// Decodes base64url in its canonical form only: no padding, no white space, no trailing bits (RFC 7515, 2).
fn decode_base64url(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)
}
