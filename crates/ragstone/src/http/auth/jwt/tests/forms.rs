//! Malformed tokens: parts, encodings, signatures and JSON that other software might interpret differently.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::support::*;
use crate::http::auth::jwt::TokenError::*;
use crate::http::auth::jwt::token::MAX_TOKEN_BYTES;

#[tokio::test]
async fn a_token_is_three_parts_and_nothing_else() {
    let world = World::new().await;
    let good = world.says(json!({}));
    world.check("twin", &good, Ok(())).await;
    let parts: Vec<&str> = good.split('.').collect();
    let [header, claims, signature] = parts[..] else {
        panic!()
    };
    for wrong in [
        String::new(),
        ".".into(),
        "..".into(),
        "a.b.c".into(),
        format!("{header}.{claims}"),
        format!("{header}.{claims}.{signature}.{signature}"),
        format!("{header}.{header}.{claims}.{claims}.{signature}"),
        format!("{header}..{signature}"),
        format!(".{claims}.{signature}"),
        format!("{good}="),
        format!("{good}\n"),
        format!("{good} "),
        format!(" {good}"),
        format!("{good}\u{0}"),
        format!("{header}.{claims}=.{signature}"),
        format!("{header}=.{claims}.{signature}"),
        format!("{good}é"),
        good.replace('.', "%2e"),
    ] {
        world.check(&wrong, &wrong, Err(Malformed)).await;
    }
    world
        .check("unsigned", &format!("{header}.{claims}."), Err(Signature))
        .await;
    let other = world.says(json!({"sub": "eve"}));
    let others: Vec<&str> = other.split('.').collect();
    world
        .check(
            "swapped",
            &format!("{header}.{}.{signature}", others[1]),
            Err(Signature),
        )
        .await;
}

#[tokio::test]
async fn a_token_has_at_most_so_many_bytes() {
    let world = World::new().await;
    let long = |bytes: usize| world.says(json!({"padding": "x".repeat(bytes)}));
    let room = MAX_TOKEN_BYTES - long(0).len();
    let fits = long(room * 3 / 4 - 3);
    assert!(fits.len() <= MAX_TOKEN_BYTES && fits.len() > MAX_TOKEN_BYTES - 16);
    world.check("twin", &fits, Ok(())).await;
    world.check("long", &long(room * 3 / 4 + 3), Err(TooLong)).await;
    world.check("longer", &"a.b.c".repeat(1 << 20), Err(TooLong)).await;
}

#[tokio::test]
async fn no_bit_of_a_token_can_be_changed() {
    let world = World::new().await;
    for token in [
        world.rsa.token("rsa", &claims_of(MAIN)),
        world.es.token("es", &claims_of(MAIN)),
        world.ed.token("ed", &claims_of(MAIN)),
    ] {
        world.check("twin", &token, Ok(())).await;
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        for at in (0..bytes.len() * 8).step_by(29) {
            let mut changed = bytes.clone();
            changed[at / 8] ^= 1 << (at % 8);
            world
                .check("a bit", &format!("{signed}.{}", encode(changed)), Err(Signature))
                .await;
        }
        for (name, changed) in [
            ("shorter", bytes[1..].to_vec()),
            ("cut", bytes[..bytes.len() - 1].to_vec()),
            ("longer", [&bytes[..], &[0]].concat()),
            ("zero before", [&[0], &bytes[..]].concat()),
            ("all zero", vec![0; bytes.len()]),
            ("all ones", vec![255; bytes.len()]),
            ("twice", [&bytes[..], &bytes[..]].concat()),
        ] {
            world
                .check(name, &format!("{signed}.{}", encode(changed)), Err(Signature))
                .await;
        }
    }
}

#[tokio::test]
async fn a_signature_has_one_form() {
    let world = World::new().await;
    // Base64 whose spare bits are set decodes to the same bytes elsewhere.
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let token = world.ed.token("ed", &claims_of(MAIN));
    let last = LETTERS
        .iter()
        .position(|letter| *letter == *token.as_bytes().last().unwrap())
        .unwrap();
    assert_eq!(last & 15, 0, "64 bytes leave four spare bits");
    let spare = format!("{}{}", &token[..token.len() - 1], char::from(LETTERS[last | 1]));
    world.check("spare bits", &spare, Err(Malformed)).await;
    // The other scalar of Ed25519, s + L (RFC 8032, 5.1.7).
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0u16;
    for (byte, order) in bytes[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    world
        .check("s + L", &format!("{signed}.{}", encode(&bytes)), Err(Signature))
        .await;
    // DER, as TLS writes the signatures of the same curve.
    let token = world.es.token("es", &claims_of(MAIN));
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let integer = |number: &[u8]| [&[2, 33, 0], number].concat();
    let der = [vec![0x30, 70], integer(&bytes[..32]), integer(&bytes[32..])].concat();
    world
        .check("DER", &format!("{signed}.{}", encode(der)), Err(Signature))
        .await;
}

#[tokio::test]
async fn json_has_one_meaning() {
    let world = World::new().await;
    let good = claims_of(MAIN).to_string();
    let header = r#"{"alg":"EdDSA","kid":"ed"}"#;
    let members = &good[1..good.len() - 1];
    world.check("twin", &world.ed.seal(header, &good), Ok(())).await;
    let deep = format!("{{{members},\"deep\":{}{}}}", "[".repeat(200), "]".repeat(200));
    let claims: Vec<Vec<u8>> = vec![
        format!(r#"{{{members},"aud":"ragstone"}}"#).into(),
        format!(r#"{{"aud":"other",{members}}}"#).into(),
        format!(r#"{{{members},"\u0061ud":"other"}}"#).into(),
        format!(r#"{{{members},"org":{{"id":"a","id":"b"}}}}"#).into(),
        format!(r#"{{{members},"list":[{{"a":1,"a":2}}]}}"#).into(),
        format!("[{good}]").into(),
        format!("{good}{good}").into(),
        format!("{good} x").into(),
        format!("\u{feff}{good}").into(),
        format!("{{{members},}}").into(),
        format!("{{{members},'a':1}}").into(),
        format!("{{{members},\"a\":NaN}}").into(),
        format!("{{{members},\"a\":\"\\ud800\"}}").into(),
        format!("{{{members},\"a\":\"\n\"}}").into(),
        [b"{\"a\":\"\xff\",", members.as_bytes(), b"}"].concat(),
        deep.into(),
        "null".into(),
        "\"iss\"".into(),
        Vec::new(),
    ];
    for claims in claims {
        let name = String::from_utf8_lossy(&claims).into_owned();
        world
            .check(&name, &world.ed.seal(header, &claims), Err(Malformed))
            .await;
    }
    for header in [
        r#"{"alg":"none","alg":"EdDSA","kid":"ed"}"#,
        r#"{"alg":"EdDSA","kid":"ed","kid":"ed"}"#,
        r#"{"alg":"EdDSA","kid":"ed","\u0061lg":"none"}"#,
        r#"{"alg":"EdDSA","kid":"ed"}{}"#,
        r#"["EdDSA"]"#,
        "",
        "EdDSA",
    ] {
        world.check(header, &world.ed.seal(header, &good), Err(Malformed)).await;
    }
}
