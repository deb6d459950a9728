//! `[[access.issuers]]`: issuers whose tokens identify callers, and what the claims of those tokens mean here.
//!
//! Invariant: keys are fetched over TLS, or from this machine; every claim path names a claim.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::str::FromStr;

use ragstone_core::access::Role;
use ragstone_core::id::TenantId;
use reqwest::Url;
use serde::Deserialize;

/// Most issuers in the settings.
pub const MAX_ISSUERS: usize = 32;
/// Largest allowed clock skew, in seconds.
pub const MAX_CLOCK_SKEW: u64 = 600;

/// One issuer of tokens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerSettings {
    /// Required value of `iss`, compared exactly.
    pub issuer: String,
    /// Accepted values of `aud`; a token needs one of them.
    #[serde(deserialize_with = "one_or_more")]
    pub audience: Vec<String>,
    /// URL of the key set (JWKS); empty means it is discovered (OpenID Connect).
    #[serde(default)]
    pub jwks_url: String,
    /// Signature algorithms that are accepted; all of them by default.
    #[serde(default = "all_algorithms")]
    pub algorithms: Vec<SignatureAlgorithm>,
    /// Seconds by which clocks may differ, 0 to 600.
    #[serde(default = "clock_skew")]
    pub clock_skew_seconds: u64,
    /// Tenant of all callers of this issuer; set either this or `tenant_claim`.
    #[serde(default)]
    pub tenant: Option<TenantId>,
    /// Claim that names a caller's tenant; the issuer is then trusted with every tenant.
    #[serde(default)]
    pub tenant_claim: Option<ClaimPath>,
    /// Claim that names the caller: reader `user:<subject>`.
    #[serde(default = "subject_claim")]
    pub subject_claim: ClaimPath,
    /// Claim with a caller's departments: readers `dept:<id>`; `None` means no departments.
    #[serde(default)]
    pub departments_claim: Option<ClaimPath>,
    /// Claim with a caller's groups: readers `group:<id>`, at most 1000; `None` means no groups.
    #[serde(default)]
    pub groups_claim: Option<ClaimPath>,
    /// Claim with a caller's roles; the highest one known in `roles` counts, else reader.
    #[serde(default)]
    pub role_claim: Option<ClaimPath>,
    /// Role for each value of `role_claim`; other values are ignored.
    #[serde(default)]
    pub roles: BTreeMap<String, Role>,
}

/// A signature algorithm of tokens, RFC 7518 and RFC 8037. All are asymmetric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum SignatureAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256, `RS256`.
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// EdDSA over Curve25519 (Ed25519).
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl SignatureAlgorithm {
    /// All accepted algorithms, in order of declaration.
    pub const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    /// The name in a token's header (`alg`).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm with exactly this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }
}

/// Path of a claim: names joined by dots (`realm_access.roles`); one name that is a URL, whatever dots it has
/// (`https://example.com/groups`); or a JSON pointer (`/a.b/c`, RFC 6901).
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ClaimPath {
    text: String,
    names: Vec<String>,
}

/// A path that names no claim; holds the text as given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no claim: use sub, realm_access.roles, https://example.com/groups or a JSON pointer")]
pub struct ClaimPathError(String);

impl ClaimPath {
    /// Names of the enclosing objects, then of the claim itself; at least one.
    pub fn claim_names(&self) -> &[String] {
        &self.names
    }
}

impl FromStr for ClaimPath {
    type Err = ClaimPathError;
    fn from_str(text: &str) -> Result<Self, ClaimPathError> {
        let names: Vec<String> = match text.strip_prefix('/') {
            Some(pointer) => pointer.split('/').map(unescape_pointer).collect::<Option<_>>(),
            None if text.contains("://") => Some(vec![text.to_owned()]),
            None => Some(text.split('.').map(str::to_owned).collect()),
        }
        .unwrap_or_default();
        match !names.is_empty() && names.iter().all(|name| !name.trim().is_empty()) {
            true => Ok(Self {
                text: text.to_owned(),
                names,
            }),
            false => Err(ClaimPathError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for ClaimPath {
    type Error = ClaimPathError;
    fn try_from(text: String) -> Result<Self, ClaimPathError> {
        text.parse()
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// Decodes `~1` to a slash and `~0` to a tilde; `None` if anything else follows a tilde.
fn unescape_pointer(name: &str) -> Option<String> {
    let mut parts = name.split('~');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_at_checked(1)? {
            ("0", rest) => plain.extend(["~", rest]),
            ("1", rest) => plain.extend(["/", rest]),
            _ => return None,
        }
    }
    Some(plain)
}

/// Parses an address from which keys may be fetched: `https`, or `http` on this machine; no password, no fragment.
pub fn parse_key_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|_| "must be an https:// address".to_owned())?;
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("must not hold a password or a fragment".into());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        _ => Err("must be an https:// address; http:// only on this machine".into()),
    }
}

/// Whether an address is this machine's own.
pub fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let address: Option<std::net::IpAddr> = bare.unwrap_or(host).parse().ok();
    address.is_some_and(|ip| ip.to_canonical().is_loopback()) || host == "localhost"
}

/// Describes each thing that is wrong with `issuers`, with the issuer it is about.
pub fn check_issuers(issuers: &[IssuerSettings]) -> Vec<String> {
    let mut found: Vec<String> = issuers.iter().flat_map(IssuerSettings::find_problems).collect();
    if issuers.len() > MAX_ISSUERS {
        found.push(format!("must be {MAX_ISSUERS} or fewer, got {}", issuers.len()));
    }
    let mut seen = HashSet::new();
    let twice = issuers.iter().filter(|issuer| !seen.insert(&issuer.issuer));
    found.extend(twice.map(|twice| format!("{:?} is named twice", twice.issuer)));
    found
}

impl IssuerSettings {
    fn find_problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut say = |detail: String| found.push(format!("{:?}: {detail}", self.issuer));
        let (key, url) = match self.jwks_url.is_empty() {
            true => ("issuer (which discovery asks for its keys)", &self.issuer),
            false => ("jwks_url", &self.jwks_url),
        };
        if let Err(detail) = parse_key_url(url) {
            say(format!("{key} {detail}"));
        }
        if self.issuer.trim().is_empty() {
            say("issuer must be what `iss` is".into());
        }
        if self.audience.is_empty() || self.audience.iter().any(|name| name.trim().is_empty()) {
            say("audience must name one or more".into());
        }
        if self.algorithms.is_empty() {
            say("algorithms must name one or more of RS256, ES256, EdDSA".into());
        }
        if self.clock_skew_seconds > MAX_CLOCK_SKEW {
            say(format!(
                "clock_skew_seconds must be 0 to {MAX_CLOCK_SKEW}, got {}",
                self.clock_skew_seconds
            ));
        }
        if self.tenant.is_some() && self.tenant_claim.is_some() {
            say("tenant and tenant_claim exclude each other".into());
        }
        if self.role_claim.is_none() && !self.roles.is_empty() {
            say("roles needs role_claim".into());
        }
        found
    }
}

fn one_or_more<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }
    Ok(match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(name) => vec![name],
        OneOrMore::More(names) => names,
    })
}

fn all_algorithms() -> Vec<SignatureAlgorithm> {
    SignatureAlgorithm::ALL.to_vec()
}

fn clock_skew() -> u64 {
    60
}

fn subject_claim() -> ClaimPath {
    "sub".parse().expect("sub is a name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_names_with_dots_an_address_or_a_pointer() {
        let check = |text: &str, expected: Option<&[&str]>| {
            let path = text.parse::<ClaimPath>().ok();
            assert_eq!(
                path.as_ref().map(ClaimPath::claim_names),
                expected
                    .map(|names| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
                    .as_deref(),
                "{text}"
            );
        };
        check("sub", Some(&["sub"]));
        check("realm_access.roles", Some(&["realm_access", "roles"]));
        check("https://example.com/groups", Some(&["https://example.com/groups"]));
        check("/a.b/c", Some(&["a.b", "c"]));
        check("/a~1b/~0c~01", Some(&["a/b", "~c~1"]));
        for wrong in ["", " ", ".", "a.", ".a", "a..b", "/", "/a/", "/a~", "/a~2", "/a~é"] {
            check(wrong, None);
        }
    }

    #[test]
    fn keys_come_over_tls_or_from_this_machine() {
        for url in [
            "https://login.example.com/keys?v=1",
            "http://127.0.0.1:8/k",
            "http://localhost/k",
            "http://[::1]:9/k",
        ] {
            assert!(parse_key_url(url).is_ok(), "{url}");
        }
        for url in [
            "http://login.example.com/keys",
            "http://10.0.0.1/k",
            "http://localhost.example.com/k",
            "http://127.0.0.1.example.com/",
            "ftp://localhost/k",
            "file:///etc/keys",
            "login.example.com",
            "",
            "https://user:pw@login.example.com/k",
            "https://login.example.com/k#f",
        ] {
            assert!(parse_key_url(url).is_err(), "{url}");
        }
    }
}
