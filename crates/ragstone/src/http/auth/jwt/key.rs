//! One public key of an issuer, parsed from a JWK (RFC 7517) and usable with one algorithm only.
//!
//! Invariant: a key verifies with its own algorithm only, whatever the token says; symmetric and weak keys are refused.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;

use crate::config::SignatureAlgorithm;

/// Bits of an RSA modulus: the minimum of NIST SP 800-131A, and the maximum of `ring`.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Bytes of a coordinate on P-256, and of an Ed25519 key.
const COORDINATE_BYTES: usize = 32;
/// First byte of an uncompressed point (SEC 1, 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// A public key that verifies signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerKey {
    /// `kid`, by which tokens name the key.
    pub id: Option<String>,
    public: KeyMaterial,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum KeyMaterial {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// Why a key of an issuer's set is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IssuerKeyError {
    /// Key type or curve is not supported.
    #[error("its kind or curve is not one that is used here")]
    Kind,
    /// `use`, `key_ops` or `alg` says that the key is not for verifying with its algorithm.
    #[error("it is meant for another use or algorithm")]
    Use,
    /// Members are missing, or do not decode.
    #[error("it is malformed")]
    Malformed,
    /// The RSA modulus is too short to be safe, or longer than `ring` supports.
    #[error("an RSA key has 2048 to 8192 bits")]
    Size,
    /// The set contains the private key (`d`).
    #[error("its private half is published")]
    Private,
}

/// The members of a JWK that are used; certificates are ignored.
#[derive(Debug, Deserialize)]
pub struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<serde::de::IgnoredAny>,
}

impl IssuerKey {
    /// Parses and checks a JWK.
    pub fn from_jwk(jwk: Jwk) -> Result<Self, IssuerKeyError> {
        if jwk.d.is_some() {
            return Err(IssuerKeyError::Private);
        }
        let key = Self {
            public: KeyMaterial::from_jwk(&jwk)?,
            id: jwk.kid,
        };
        let signs = jwk.usage.is_none_or(|usage| usage == "sig");
        let verifies = jwk.key_ops.is_none_or(|uses| uses.iter().any(|one| one == "verify"));
        let agrees = jwk.alg.is_none_or(|name| name == key.algorithm().as_str());
        match signs && verifies && agrees {
            true => Ok(key),
            false => Err(IssuerKeyError::Use),
        }
    }

    /// The only algorithm that the key is used with.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        match self.public {
            KeyMaterial::Rsa { .. } => SignatureAlgorithm::Rs256,
            KeyMaterial::P256(_) => SignatureAlgorithm::Es256,
            KeyMaterial::Ed25519(_) => SignatureAlgorithm::EdDsa,
        }
    }

    /// Whether `signature` is a valid signature of `signed` by this key.
    pub fn verifies_signature(&self, signed: &[u8], signature: &[u8]) -> bool {
        let verified = match &self.public {
            KeyMaterial::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature)
            }
            KeyMaterial::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature)
            }
            KeyMaterial::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(signed, signature),
        };
        verified.is_ok()
    }
}

impl KeyMaterial {
    fn from_jwk(jwk: &Jwk) -> Result<Self, IssuerKeyError> {
        match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => parse_rsa(jwk),
            ("EC", Some("P-256")) => {
                let point = [vec![UNCOMPRESSED], parse_coordinate(&jwk.x)?, parse_coordinate(&jwk.y)?];
                Ok(Self::P256(point.concat()))
            }
            ("OKP", Some("Ed25519")) => parse_coordinate(&jwk.x).map(Self::Ed25519),
            _ => Err(IssuerKeyError::Kind),
        }
    }
}

fn parse_rsa(jwk: &Jwk) -> Result<KeyMaterial, IssuerKeyError> {
    let (n, e) = (parse_integer(&jwk.n)?, parse_integer(&jwk.e)?);
    let first = *n.first().ok_or(IssuerKeyError::Malformed)?;
    let bits = n.len() * 8 - first.leading_zeros() as usize;
    match RSA_BITS.contains(&bits) {
        true => Ok(KeyMaterial::Rsa { n, e }),
        false => Err(IssuerKeyError::Size),
    }
}

fn parse_coordinate(member: &Option<String>) -> Result<Vec<u8>, IssuerKeyError> {
    decode_member(member).and_then(|bytes| match bytes.len() {
        COORDINATE_BYTES => Ok(bytes),
        _ => Err(IssuerKeyError::Malformed),
    })
}

/// Decodes an unsigned integer, without the leading zeros that some issuers add.
fn parse_integer(member: &Option<String>) -> Result<Vec<u8>, IssuerKeyError> {
    let bytes = decode_member(member)?;
    Ok(bytes.into_iter().skip_while(|byte| *byte == 0).collect())
}

fn decode_member(member: &Option<String>) -> Result<Vec<u8>, IssuerKeyError> {
    let text = member.as_deref().ok_or(IssuerKeyError::Malformed)?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| IssuerKeyError::Malformed)
}
