use super::*;

fn of(status: u16, headers: &[(&'static str, &str)], body: &str) -> ServiceError {
    let headers = headers
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect();
    ServiceError::from_reply(StatusCode::from_u16(status).unwrap(), &headers, body)
}

#[test]
fn a_reply_says_when_to_come_back() {
    let check = |headers: &[(&'static str, &str)], expected: Option<f64>| {
        assert_eq!(
            of(429, headers, "").retry_after(),
            expected.map(Duration::from_secs_f64),
            "{headers:?}"
        );
    };
    let now = ("date", "Tue, 15 Nov 1994 08:12:31 GMT");
    check(&[("retry-after", "2")], Some(2.0));
    check(&[("retry-after", "0.5")], Some(0.5));
    check(&[("retry-after", "Tue, 15 Nov 1994 08:12:41 GMT"), now], Some(10.0));
    check(&[("retry-after", "Tue, 15 Nov 1994 08:12:01 GMT"), now], Some(0.0));
    check(&[("retry-after", "Tue, 15 Nov 1994 08:12:41 GMT")], None);
    check(&[("retry-after", "-1")], None);
    check(&[("retry-after", "soon")], None);
    check(&[], None);
}

#[test]
fn a_status_says_what_can_be_done() {
    assert!(of(429, &[], "").is_transient() && of(500, &[], "").is_transient() && of(504, &[], "").is_transient());
    let quota = r#"{"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}"#;
    for fault in [
        of(400, &[], ""),
        of(401, &[], ""),
        of(404, &[], ""),
        of(302, &[], ""),
        of(429, &[], quota),
    ] {
        assert!(!fault.is_transient(), "{fault:?}");
    }
}

#[test]
fn what_may_be_the_contents_is_told_from_what_is_not() {
    let long = r#"{"error": {"message": "This model's maximum context length is 8192 tokens"}}"#;
    let check = |fault: ServiceError, contents: bool, size: bool, length: bool| {
        let found = (fault.may_be_contents(), fault.may_be_size(), fault.is_about_length());
        assert_eq!(found, (contents, size, length), "{fault:?}");
    };
    check(of(400, &[], long), true, true, true);
    check(of(413, &[], ""), true, true, true);
    check(of(422, &[], "inputs: 10 allowed"), true, true, false);
    check(of(429, &[], "Request too large: tokens per min"), true, true, true);
    check(of(500, &[], "input is too large to process"), true, true, false);
    check(of(500, &[], "cannot encode"), true, false, false);
    check(of(403, &[], "blocked"), true, true, false);
    for fault in [
        of(401, &[], long),
        of(429, &[], "Too many requests"),
        of(503, &[], long),
        of(
            429,
            &[],
            r#"{"error": {"code": "insufficient_quota", "message": "quota exceeded"}}"#,
        ),
    ] {
        check(fault, false, false, false);
    }
}

#[test]
fn a_parameter_is_named_wherever_it_stands() {
    let check = |status: u16, body: &str, expected: bool| {
        assert_eq!(
            of(status, &[], body).names_parameter("stream_options"),
            expected,
            "{status} {body}"
        );
    };
    check(
        400,
        r#"{"error": {"message": "Extra inputs", "param": "stream_options"}}"#,
        true,
    );
    check(
        422,
        r#"{"detail": [{"loc": ["body", "stream_options"], "msg": "forbidden"}]}"#,
        true,
    );
    check(500, "unknown field Stream_Options", true);
    check(401, "stream_options", false);
    check(503, "stream_options", false);
    check(400, "no such model", false);
    assert!(of(400, &[], "Unrecognized request argument").is_about_parameters());
    assert!(!of(400, &[], "context is full").is_about_parameters());
}

#[test]
fn a_message_is_found_wherever_it_stands() {
    let check = |body: &str, expected: &str| assert_eq!(parse_error_body(body).0, expected, "{body}");
    check(r#"{"error": {"message": "no model"}}"#, "no model");
    check(r#"{"error": "no model"}"#, "no model");
    check(r#"{"detail": "no model"}"#, "no model");
    check("<html>\nbad gateway", "<html>bad gateway");
    check("", "nothing said");
}
