use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use super::*;
use crate::websocket::DeflateConfig;

/// RFC 6455 §1.2's request.
const REQUEST: [(&str, &str); 6] = [
    ("host", "server.example.com"),
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-protocol", "chat, plainwire"),
    ("sec-websocket-version", "13"),
];

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let parse = |&(name, value): &(&str, &str)| {
        (name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    let mut map = HeaderMap::new();
    for (name, value) in lines.iter().map(parse) {
        map.append(name, value);
    }
    map
}

/// The request with one header replaced by these lines.
fn with(name: &str, values: &[&str]) -> HeaderMap {
    let mut lines: Vec<_> = REQUEST.into_iter().filter(|line| line.0 != name).collect();
    lines.extend(values.iter().map(|&value| (name, value)));
    headers(&lines)
}

fn accept(headers: &HeaderMap) -> Result<Accepted, Refusal> {
    accept_upgrade(&Method::GET, Version::HTTP_11, headers, &[SUBPROTOCOL], &DeflateConfig::default())
}

#[test]
fn the_example_of_rfc_6455() {
    assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let accepted = accept(&headers(&REQUEST)).unwrap();
    assert_eq!(accepted.status, 101);
    assert_eq!(accepted.subprotocol, Some("plainwire"));
    assert_eq!(
        accepted.headers,
        headers(&[
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("sec-websocket-protocol", "plainwire"),
        ])
    );
}

#[test]
fn tokens_are_found_in_lists_whatever_their_case() {
    for values in [&["WebSocket"][..], &["h2c, WEBSOCKET"], &["h2c", "websocket"], &[" ,websocket , x"]] {
        assert!(accept(&with("upgrade", values)).is_ok(), "{values:?}");
    }
    for values in [&["upgrade"][..], &["keep-alive, Upgrade"], &["keep-alive", "UPGRADE"]] {
        assert!(accept(&with("connection", values)).is_ok(), "{values:?}");
    }
}

#[test]
fn each_wrong_header_is_named() {
    let cases: &[(&str, &[&str], Refusal)] = &[
        ("host", &[], Refusal::Host),
        ("host", &["a", "b"], Refusal::Host),
        ("upgrade", &[], Refusal::Upgrade),
        ("upgrade", &["websockets"], Refusal::Upgrade),
        ("upgrade", &["web socket"], Refusal::Upgrade),
        ("connection", &[], Refusal::Connection),
        ("connection", &["keep-alive"], Refusal::Connection),
        ("sec-websocket-version", &[], Refusal::WebSocketVersion),
        ("sec-websocket-version", &["8"], Refusal::WebSocketVersion),
        ("sec-websocket-version", &["13, 8"], Refusal::WebSocketVersion),
        ("sec-websocket-version", &["13", "13"], Refusal::WebSocketVersion),
        ("sec-websocket-version", &["013"], Refusal::WebSocketVersion),
        ("sec-websocket-key", &[], Refusal::Key),
        ("sec-websocket-key", &[""], Refusal::Key),
        ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZQ"], Refusal::Key),
        ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25j"], Refusal::Key),
        ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZTE="], Refusal::Key),
        ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZ!=="], Refusal::Key),
        ("sec-websocket-key", &["\u{e9}"], Refusal::Key),
        ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=="], Refusal::Key),
        ("sec-websocket-protocol", &["a b"], Refusal::Subprotocol),
        ("sec-websocket-protocol", &["é"], Refusal::Subprotocol),
        ("sec-websocket-extensions", &["permessage-deflate;"], Refusal::Extensions),
        ("sec-websocket-extensions", &["é"], Refusal::Extensions),
    ];
    for (name, values, refusal) in cases {
        assert_eq!(accept(&with(name, values)).unwrap_err(), *refusal, "{name}: {values:?}");
    }
}

#[test]
fn only_get_and_only_from_http_1_1_on() {
    let try_with = |method, version| {
        accept_upgrade(&method, version, &headers(&REQUEST), &[], &DeflateConfig::OFF).map(drop)
    };
    assert_eq!(try_with(Method::POST, Version::HTTP_11), Err(Refusal::Method));
    assert_eq!(try_with(Method::HEAD, Version::HTTP_11), Err(Refusal::Method));
    assert_eq!(try_with(Method::GET, Version::HTTP_10), Err(Refusal::HttpVersion));
    assert_eq!(try_with(Method::GET, Version::HTTP_11), Ok(()));
}

#[test]
fn the_key_of_rfc_6455_4_1_has_bits_to_spare() {
    assert!(accept(&with("sec-websocket-key", &["AQIDBAUGBwgJCgsMDQ4PEC=="])).is_ok());
}

#[test]
fn another_version_is_told_which_one_would_do() {
    let refusal = Refusal::WebSocketVersion;
    assert_eq!(refusal.status(), StatusCode::UPGRADE_REQUIRED);
    assert_eq!(refusal.problem().reason, "websocket_version");
    assert_eq!(refusal.headers(Version::HTTP_11)["sec-websocket-version"], "13");
    assert_eq!(refusal.headers(Version::HTTP_11)["upgrade"], "websocket");
    assert_eq!(refusal.headers(Version::HTTP_2), headers(&[("sec-websocket-version", "13")]));
    assert_eq!(Refusal::Key.status(), StatusCode::BAD_REQUEST);
    assert_eq!(Refusal::Key.problem().reason, "handshake");
    assert!(Refusal::Key.headers(Version::HTTP_11).is_empty());
}

#[test]
fn a_subprotocol_is_picked_only_if_offered_exactly_so() {
    let picked = |values| accept(&with("sec-websocket-protocol", values)).unwrap().subprotocol;
    assert_eq!(picked(&[]), None);
    assert_eq!(picked(&["chat"]), None);
    assert_eq!(picked(&["Plainwire"]), None);
    assert_eq!(picked(&["chat", "superchat,plainwire"]), Some("plainwire"));
}

#[test]
fn extended_connect_needs_the_version_alone() {
    let policy = DeflateConfig::default();
    let request =
        headers(&[("sec-websocket-version", "13"), ("sec-websocket-extensions", "permessage-deflate")]);
    let accepted = accept_connect(&request, &[SUBPROTOCOL], &policy).unwrap();
    assert_eq!(accepted.status, 200);
    let names: Vec<_> = accepted.headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["sec-websocket-extensions"]);
    assert!(accepted.deflate.is_some());
    assert_eq!(accept_connect(&HeaderMap::new(), &[], &policy).unwrap_err(), Refusal::WebSocketVersion);
}

#[test]
fn both_ends_agree_with_each_other() {
    for deflate in [DeflateConfig::default(), DeflateConfig::OFF] {
        let client = ClientHandshake::new([7; 16], &["plainwire", "other"], deflate);
        let mut request = client.upgrade_headers();
        request.insert("host", HeaderValue::from_static("x"));
        let accepted = accept(&request).unwrap();
        let established = client.check_upgrade(accepted.status, &accepted.headers).unwrap();
        assert_eq!(established, Established { subprotocol: Some("plainwire"), deflate: accepted.deflate });
        assert_eq!(established.deflate.is_some(), deflate.enabled);
        let accepted =
            accept_connect(&client.connect_headers(), &["other"], &DeflateConfig::default()).unwrap();
        let established = client.check_connect(accepted.status, &accepted.headers).unwrap();
        assert_eq!(established, Established { subprotocol: Some("other"), deflate: accepted.deflate });
    }
}

#[test]
fn a_client_refuses_wrong_answers() {
    let client = ClientHandshake::new(*b"the sample nonce", &["plainwire"], DeflateConfig::default());
    let answer: [(&str, &str); 3] = [
        ("upgrade", "websocket"),
        ("connection", "upgrade"),
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ];
    let check = |name: &str, values: &[&str]| {
        let mut lines: Vec<_> = answer.into_iter().filter(|line| line.0 != name).collect();
        lines.extend(values.iter().map(|&value| (name, value)));
        client.check_upgrade(StatusCode::SWITCHING_PROTOCOLS, &headers(&lines)).map(drop)
    };
    assert_eq!(check("x", &[]), Ok(()));
    assert_eq!(check("upgrade", &[]), Err(ResponseError::Upgrade));
    assert_eq!(check("connection", &["close"]), Err(ResponseError::Upgrade));
    assert_eq!(check("sec-websocket-accept", &[]), Err(ResponseError::Accept));
    assert_eq!(check("sec-websocket-accept", &["S3pPLMBiTxaQ9kYGzzhZRbK+xOo="]), Err(ResponseError::Accept));
    assert_eq!(check("sec-websocket-protocol", &["plainwire"]), Ok(()));
    assert_eq!(check("sec-websocket-protocol", &["chat"]), Err(ResponseError::Subprotocol));
    assert_eq!(check("sec-websocket-protocol", &["plainwire", "plainwire"]), Err(ResponseError::Subprotocol));
    assert!(matches!(check("sec-websocket-extensions", &["foo"]), Err(ResponseError::Extensions(_))));
    assert!(matches!(check("sec-websocket-extensions", &["é"]), Err(ResponseError::Extensions(_))));
    let status = StatusCode::OK;
    assert_eq!(client.check_upgrade(status, &headers(&answer)).unwrap_err(), ResponseError::Status(status));
    let status = StatusCode::NOT_FOUND;
    assert_eq!(client.check_connect(status, &HeaderMap::new()).unwrap_err(), ResponseError::Status(status));
}
