//! Which offers and responses of permessage-deflate are taken: RFC 7692 §5 and §7.1.

use http::header::{SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_VERSION};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::*;

const TAKEOVER: DeflateConfig = DeflateConfig {
    enabled: true,
    server_context_takeover: true,
    client_context_takeover: true,
    server_max_window_bits: 15,
    server_min_window_bits: 8,
    client_max_window_bits: 15,
};

/// The extension that a server answers to the offers in these lines.
fn answer(config: &DeflateConfig, offers: &[&str]) -> Option<String> {
    let mut request = HeaderMap::new();
    request.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    for offer in offers {
        request.append(SEC_WEBSOCKET_EXTENSIONS, offer.parse().unwrap());
    }
    let accepted = accept_connect(&request, &[], config).unwrap();
    let header = accepted.headers.get(SEC_WEBSOCKET_EXTENSIONS);
    assert_eq!(header.is_some(), accepted.deflate.is_some());
    header.map(|header| header.to_str().unwrap().to_owned())
}

#[test]
fn a_server_answers_each_offer() {
    let cases = [
        ("permessage-deflate", "permessage-deflate"),
        ("permessage-deflate; client_max_window_bits", "permessage-deflate"),
        ("permessage-deflate; client_max_window_bits=15", "permessage-deflate"),
        ("permessage-deflate; client_max_window_bits=9", "permessage-deflate; client_max_window_bits=9"),
        ("permessage-deflate; server_max_window_bits=15", "permessage-deflate; server_max_window_bits=15"),
        (
            "permessage-deflate; server_max_window_bits=\"10\"",
            "permessage-deflate; server_max_window_bits=10",
        ),
        ("permessage-deflate;server_max_window_bits=8", "permessage-deflate; server_max_window_bits=8"),
        (
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ),
    ];
    for (offer, expected) in cases {
        assert_eq!(answer(&TAKEOVER, &[offer]).as_deref(), Some(expected), "{offer}");
    }
}

#[test]
fn a_server_puts_its_own_policy_into_the_answer() {
    let default = DeflateConfig::default();
    let both = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    assert_eq!(answer(&default, &["permessage-deflate"]).as_deref(), Some(both));
    assert_eq!(answer(&DeflateConfig::OFF, &["permessage-deflate"]), None);

    let small = DeflateConfig { server_max_window_bits: 12, client_max_window_bits: 11, ..TAKEOVER };
    let answered = |offer| answer(&small, &[offer]).unwrap();
    assert_eq!(answered("permessage-deflate"), "permessage-deflate; server_max_window_bits=12");
    assert_eq!(
        answered("permessage-deflate; server_max_window_bits=14; client_max_window_bits=14"),
        "permessage-deflate; server_max_window_bits=12; client_max_window_bits=11"
    );
    assert_eq!(
        answered("permessage-deflate; server_max_window_bits=9; client_max_window_bits=9"),
        "permessage-deflate; server_max_window_bits=9; client_max_window_bits=9"
    );

    let shared = DeflateConfig { server_min_window_bits: 15, ..TAKEOVER };
    assert_eq!(answer(&shared, &["permessage-deflate; server_max_window_bits=14"]), None);
    assert!(answer(&shared, &["permessage-deflate; server_max_window_bits=15"]).is_some());
}

#[test]
fn an_offer_with_wrong_parameters_is_declined() {
    for parameters in [
        "unknown",
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "server_max_window_bits",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=08",
        "server_max_window_bits=+9",
        "server_max_window_bits=x",
        "server_max_window_bits=10; server_max_window_bits=10",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=0",
        "client_max_window_bits=010",
        "client_max_window_bits; client_max_window_bits=10",
        "client_max_window_bits; client_max_window_bits",
    ] {
        let offer = format!("permessage-deflate; {parameters}");
        assert_eq!(answer(&TAKEOVER, &[&offer]), None, "{offer}");
        // The next one is taken instead.
        let answered = answer(&TAKEOVER, &[&format!("{offer}, permessage-deflate")]);
        assert_eq!(answered.as_deref(), Some("permessage-deflate"), "{offer}");
    }
}

#[test]
fn the_first_acceptable_offer_wins_and_unknown_extensions_are_skipped() {
    let first = "permessage-deflate; server_max_window_bits=10";
    assert_eq!(
        answer(&TAKEOVER, &["x-webkit-deflate-frame; a=\"b\", foo", &format!("{first}, permessage-deflate")])
            .as_deref(),
        Some(first)
    );
    assert_eq!(answer(&TAKEOVER, &["foo", "permessage-bzip2; x=1"]), None);
    assert_eq!(answer(&TAKEOVER, &[]), None);
}

#[test]
fn the_agreement_is_what_the_answer_says() {
    let mut request = HeaderMap::new();
    request.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    let offer =
        "permessage-deflate; server_no_context_takeover; server_max_window_bits=10; client_max_window_bits=9";
    request.insert(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(offer));
    let expected = Agreed {
        server_context_takeover: false,
        client_context_takeover: true,
        server_window_bits: 10,
        client_window_bits: 9,
    };
    assert_eq!(accept_connect(&request, &[], &TAKEOVER).unwrap().deflate, Some(expected));
}

/// What a client makes of a server's `Sec-WebSocket-Extensions`.
fn check(config: DeflateConfig, response: &str) -> Result<Option<Agreed>, ResponseError> {
    let mut headers = HeaderMap::new();
    headers.insert(SEC_WEBSOCKET_EXTENSIONS, response.parse().unwrap());
    let client = ClientHandshake::new([0; 16], &[], config);
    client.check_connect(StatusCode::OK, &headers).map(|established| established.deflate)
}

#[test]
fn a_client_offers_what_it_wants() {
    assert_eq!(TAKEOVER.offer().as_deref(), Some("permessage-deflate; client_max_window_bits"));
    assert_eq!(
        DeflateConfig { server_max_window_bits: 10, client_max_window_bits: 9, ..DeflateConfig::default() }
            .offer()
            .as_deref(),
        Some(
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
             server_max_window_bits=10; client_max_window_bits=9"
        )
    );
    assert_eq!(DeflateConfig::OFF.offer(), None);
}

#[test]
fn a_client_takes_only_answers_to_its_offer() {
    let agreed = Agreed {
        server_context_takeover: true,
        client_context_takeover: true,
        server_window_bits: 15,
        client_window_bits: 15,
    };
    assert_eq!(check(TAKEOVER, ""), Ok(None));
    assert_eq!(check(TAKEOVER, "permessage-deflate"), Ok(Some(agreed)));
    assert_eq!(
        check(TAKEOVER, "permessage-deflate; server_max_window_bits=8; client_max_window_bits=10"),
        Ok(Some(Agreed { server_window_bits: 8, client_window_bits: 10, ..agreed }))
    );
    // A client may always use less than it is allowed.
    let frugal = DeflateConfig { client_context_takeover: false, client_max_window_bits: 10, ..TAKEOVER };
    assert_eq!(
        check(frugal, "permessage-deflate"),
        Ok(Some(Agreed { client_context_takeover: false, client_window_bits: 10, ..agreed }))
    );
    let small = DeflateConfig { server_max_window_bits: 10, server_context_takeover: false, ..TAKEOVER };
    for (config, response) in [
        (TAKEOVER, "foo"),
        (TAKEOVER, "permessage-deflate, permessage-deflate"),
        (TAKEOVER, "permessage-deflate; foo"),
        (TAKEOVER, "permessage-deflate; client_max_window_bits"),
        (TAKEOVER, "permessage-deflate; server_max_window_bits=16"),
        (TAKEOVER, "permessage-deflate;"),
        (DeflateConfig::OFF, "permessage-deflate"),
        (frugal, "permessage-deflate; client_max_window_bits=11"),
        (small, "permessage-deflate; server_max_window_bits=10"),
        (small, "permessage-deflate; server_no_context_takeover"),
        (small, "permessage-deflate; server_no_context_takeover; server_max_window_bits=11"),
    ] {
        assert!(matches!(check(config, response), Err(ResponseError::Extensions(_))), "{response}");
    }
    assert!(
        check(small, "permessage-deflate; server_no_context_takeover; server_max_window_bits=10").is_ok()
    );
}
