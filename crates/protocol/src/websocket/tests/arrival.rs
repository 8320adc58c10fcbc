//! However the bytes are cut, the same comes out, as early as it can.

use super::*;

/// Every kind of frame, some compressed, with a close frame at the end.
fn mixed_stream() -> (Vec<u8>, Vec<Incoming>) {
    let long = "mixed κόσμε 😀 ".repeat(10);
    let deflated = compress_once(long.as_bytes(), 15);
    let (head, tail) = deflated.split_at(deflated.len() / 2);
    let stream = [
        frame(0x81, "héllo".as_bytes()),
        frame(0x01, &"κόσμε".as_bytes()[..3]),
        frame(0x89, b"between"),
        frame(0x80, &"κόσμε".as_bytes()[3..]),
        frame(0x41, head),
        frame(0x8a, b""),
        frame(0x80, tail),
        frame(0x82, &[0xff; 200]),
        frame(0xc2, &deflated),
        frame(0x81, b""),
        frame(0x88, b"\x03\xe9bye"),
    ];
    let expected = vec![
        text("héllo"),
        Incoming::Ping("between".into()),
        text("κόσμε"),
        Incoming::Pong("".into()),
        Incoming::Text(long.clone().into()),
        Incoming::Binary(vec![0xff; 200].into()),
        Incoming::Binary(long.into()),
        text(""),
        Incoming::Close(Some((CloseCode::GOING_AWAY, "bye".to_owned()))),
    ];
    (stream.concat(), expected)
}

#[test]
fn every_split_in_two_gives_the_same() {
    let (stream, expected) = mixed_stream();
    for takeover in [false, true] {
        for cut in 0..=stream.len() {
            let (head, tail) = stream.split_at(cut);
            let got = feed(&mut inflating(takeover), [head, tail]);
            assert_eq!(got, (expected.clone(), Ok(())), "cut at {cut}");
        }
    }
}

#[test]
fn byte_by_byte_gives_the_same() {
    let (stream, expected) = mixed_stream();
    let got = feed(&mut inflating(false), stream.chunks(1));
    assert_eq!(got, (expected, Ok(())));
}

#[test]
fn random_fragments_in_random_pieces_give_the_same() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..300 {
        let takeover = random.bool();
        let mut deflater = Deflater::new(15, takeover);
        let (mut stream, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..random.usize(1..8) {
            let message: String = (0..random.usize(0..400)).map(|_| random.char('a'..'\u{10ffff}')).collect();
            let kind = random.choice([0x1, 0x2]).unwrap();
            let mut payload = message.clone().into_bytes();
            let mut rsv1 = 0;
            if random.bool() {
                payload.clear();
                deflater.deflate(message.as_bytes(), &mut payload);
                rsv1 = 0x40;
            }
            fragment(&mut random, kind | rsv1, &payload, &mut stream, &mut expected);
            expected.push(match kind {
                0x1 => Incoming::Text(message.into()),
                _ => Incoming::Binary(message.into()),
            });
        }
        let mut pieces = Vec::new();
        let mut rest = stream.as_slice();
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(random.usize(1..=rest.len().min(100)));
            pieces.push(piece);
            rest = more;
        }
        assert_eq!(feed(&mut inflating(takeover), pieces), (expected, Ok(())), "seed {seed}");
    }
}

/// Cuts a message into frames, with pings in between.
fn fragment(
    random: &mut fastrand::Rng,
    mut first: u8,
    mut payload: &[u8],
    stream: &mut Vec<u8>,
    expected: &mut Vec<Incoming>,
) {
    while random.bool() {
        let (piece, more) = payload.split_at(random.usize(0..=payload.len()));
        stream.extend(frame(first, piece));
        first = 0;
        payload = more;
        if random.bool() {
            let ping = vec![random.u8(..); random.usize(0..126)];
            stream.extend(frame(0x89, &ping));
            expected.push(Incoming::Ping(ping.into()));
        }
    }
    stream.extend(frame(0x80 | first, payload));
}

#[test]
fn random_bytes_never_panic_and_fail_alike_in_any_pieces() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (valid, _) = mixed_stream();
    for _ in 0..3000 {
        let mut stream = valid.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..stream.len());
            stream[at] = random.u8(..);
        }
        let whole = feed(&mut inflating(false), [stream.as_slice()]);
        let bytes = feed(&mut inflating(false), stream.chunks(1));
        assert_eq!(whole.1.map_err(|fault| fault.code), bytes.1.map_err(|fault| fault.code), "seed {seed}");
        assert_eq!(whole.0, bytes.0, "seed {seed}");
    }
}

/// How many bytes it takes, one by one, until the stream is refused, and with which code.
fn refused_at(stream: &[u8], decoder: &mut Decoder) -> Option<(usize, u16)> {
    (1..=stream.len()).find_map(|length| {
        let (_, end) = feed(decoder, [&stream[length - 1..length]]);
        end.err().map(|fault| (length, fault.code.0))
    })
}

#[test]
fn invalid_text_is_refused_at_the_byte_that_makes_it_invalid() {
    const HEADER: usize = 6;
    let valid = "κόσμε".as_bytes();
    for (bad, at) in
        [(&b"\xf4\x90\x80\x80edited"[..], 2), (b"\xed\xa0\x80edited", 2), (b"\xc0\xaf", 1), (b"\xe2\x82A", 3)]
    {
        let payload = [valid, bad].concat();
        let at = valid.len() + at;
        let refused = refused_at(&frame(0x81, &payload), &mut server());
        assert_eq!(refused, Some((HEADER + at, 1007)), "{bad:x?} in one frame");
        // The same, with every byte a fragment of its own.
        let mut stream = frame(0x01, b"");
        for byte in &payload {
            stream.extend(frame(0x00, &[*byte]));
        }
        let refused = refused_at(&stream, &mut server());
        assert_eq!(refused, Some((HEADER + at * (HEADER + 1), 1007)), "{bad:x?} in fragments");
    }
    assert_eq!(refused_at(&frame(0x82, b"\xff\xfe"), &mut server()), None, "binary is not text");
}

#[test]
fn text_that_ends_in_mid_character_is_refused_at_its_end() {
    assert_eq!(refused(&[frame(0x81, b"\xce")]), 1007);
    assert_eq!(refused(&[frame(0x01, b"\xce"), frame(0x80, b"")]), 1007);
    assert_eq!(received(&[frame(0x01, b"\xce"), frame(0x80, b"\xba")]), Ok(vec![text("κ")]));
    let stream = [frame(0x01, b"\xf0\x9f"), frame(0x00, b""), frame(0x00, b"\x98")].concat();
    assert_eq!(refused_at(&stream, &mut server()), None, "still the beginning of a character");
}

#[test]
fn invalid_compressed_text_is_refused_before_its_end() {
    // Stored, so that the bytes come out as they go in.
    let payload = b"\x00\x06\x00\xf9\xffok\xed\xa0\x80!\x00";
    let refused = refused_at(&frame(0xc1, payload), &mut inflating(false));
    assert_eq!(refused, Some((6 + 5 + 4, 1007)));
    let cut_off = b"\x00\x03\x00\xfc\xffok\xce\x00";
    let refused = refused_at(&frame(0xc1, cut_off), &mut inflating(false));
    assert_eq!(refused, Some((6 + cut_off.len(), 1007)));
}

#[test]
fn a_whole_message_stays_where_it_arrived() {
    let mut input = BytesMut::from(frame(0x81, b"not copied").as_slice());
    let place = input[6..].as_ptr();
    let Ok(Some(Incoming::Text(text))) = server().decode(&mut input) else { panic!("a text") };
    assert_eq!(text.as_bytes().as_ptr(), place);
    assert_eq!(text.as_str(), "not copied");
}

#[test]
fn a_decoder_knows_whether_it_is_in_the_middle() {
    let mut decoder = inflating(false);
    let stream = [frame(0x01, b"a"), frame(0x89, b"b"), frame(0x80, b"c")].concat();
    assert!(!decoder.is_mid_message());
    for (i, byte) in stream.chunks(1).enumerate() {
        feed(&mut decoder, [byte]).1.unwrap();
        assert_eq!(decoder.is_mid_message(), i + 1 < stream.len(), "after {} bytes", i + 1);
    }
}

#[test]
fn an_idle_decoder_holds_nothing() {
    let (stream, _) = mixed_stream();
    let mut decoder = inflating(false);
    assert!(size_of_val(&decoder) <= 192, "{} bytes", size_of_val(&decoder));
    for byte in stream.chunks(1) {
        feed(&mut decoder, [byte]).1.unwrap();
        assert!(decoder.is_mid_message() || decoder.held_bytes() == 0);
    }
    assert_eq!(decoder.held_bytes(), 0);
}

#[test]
fn context_takeover_holds_a_window_at_most() {
    let limits = Limits { max_frame: 1 << 20, max_message: 1 << 20 };
    let mut decoder = Decoder::new(Role::Server, limits, Some(Inflater::new(10, true)));
    let mut deflater = Deflater::new(10, true);
    for length in [1, 10, 2000, 3, 100_000, 500, 600] {
        let mut deflated = Vec::new();
        deflater.deflate(&vec![b'x'; length], &mut deflated);
        feed(&mut decoder, frame(0xc2, &deflated).chunks(7)).1.unwrap();
        assert!(decoder.held_bytes() <= 1 << 10, "{} bytes", decoder.held_bytes());
    }
}

#[test]
fn a_frame_reserves_what_arrives_and_not_what_it_announces() {
    let mut decoder = server();
    let announced = frame(0x82, &vec![0; 1 << 20]);
    for (at, piece) in announced[..300_000].chunks(500).enumerate() {
        feed(&mut decoder, [piece]).1.unwrap();
        assert!(decoder.held_bytes() <= 2 * (at + 1) * 500 + 1024, "{} bytes", decoder.held_bytes());
    }
}
