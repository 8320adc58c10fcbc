//! permessage-deflate: RFC 7692 §7.2.

use flate2::{Compress, Compression, FlushCompress};

use super::*;

/// The messages that come of compressed payloads.
fn inflate(decoder: &mut Decoder, payloads: &[&[u8]]) -> Result<Vec<String>, Fault> {
    let stream: Vec<u8> = payloads.iter().flat_map(|payload| frame(0xc1, payload)).collect();
    let (incoming, end) = feed(decoder, [stream.as_slice()]);
    end.map(|()| {
        incoming
            .into_iter()
            .map(|one| match one {
                Incoming::Text(text) => text.as_str().to_owned(),
                other => panic!("not a text: {other:?}"),
            })
            .collect()
    })
}

fn inflate_one(payload: &[u8]) -> Result<String, u16> {
    let alone = inflate(&mut inflating(false), &[payload]).map_err(|fault| fault.code.0)?;
    Ok(alone.concat())
}

#[test]
fn the_examples_of_rfc_7692() {
    let mut sender = Deflater::new(15, true);
    let mut sent = [Vec::new(), Vec::new(), Vec::new()];
    sent.iter_mut().take(2).for_each(|out| sender.deflate(b"Hello", out));
    sender.deflate(b"", &mut sent[2]);
    assert_eq!(sent[0], b"\xf2\x48\xcd\xc9\xc9\x07\x00");
    assert_eq!(sent[1], b"\xf2\x00\x11\x00\x00");
    assert_eq!(sent[2], b"\x00");

    assert_eq!(inflate_one(b"\xf2\x48\xcd\xc9\xc9\x07\x00").unwrap(), "Hello");
    assert_eq!(inflate_one(b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00").unwrap(), "Hello", "stored");
    assert_eq!(inflate_one(b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00").unwrap(), "Hello", "final block");
    assert_eq!(
        inflate_one(b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00").unwrap(),
        "Hello",
        "two blocks"
    );
    assert_eq!(inflate_one(b"\x00").unwrap(), "", "empty");
    assert_eq!(inflate_one(b"\x02\x00").unwrap(), "", "empty, as a fixed block");
    let fragments = b"\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00";
    let mut client = Decoder::new(Role::Client, Limits::default(), Some(Inflater::new(15, false)));
    assert_eq!(feed(&mut client, [&fragments[..]]), (vec![text("Hello")], Ok(())));
}

#[test]
fn a_message_may_refer_to_those_before_only_if_that_was_agreed() {
    let hello: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    let again: &[u8] = b"\xf2\x00\x11\x00\x00";
    assert_eq!(inflate(&mut inflating(true), &[hello, again, again]).unwrap(), ["Hello"; 3]);
    assert_eq!(inflate(&mut inflating(false), &[hello, again]).unwrap_err().code.0, 1007);
}

#[test]
fn the_window_survives_final_blocks() {
    let hello_final: &[u8] = b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00";
    let again: &[u8] = b"\xf2\x00\x11\x00\x00";
    // In the next message, and within the same one.
    assert_eq!(inflate(&mut inflating(true), &[hello_final, again]).unwrap(), ["Hello"; 2]);
    assert_eq!(inflate_one(b"\xf3\x48\xcd\xc9\xc9\x07\x00\xf2\x00\x11\x00\x00").unwrap(), "HelloHello");
    // Some senders leave out the byte behind the final block.
    assert_eq!(inflate(&mut inflating(true), &[&hello_final[..7], again]).unwrap(), ["Hello"; 2]);
}

#[test]
fn final_blocks_may_refer_to_whatever_was_before_them() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let text = likely_text(&mut random, 200_000);
    let (mut stream, mut expected, mut begin) = (Vec::new(), Vec::new(), 0);
    while begin < text.len() {
        let (mut payload, first) = (Vec::new(), begin);
        for _ in 0..random.usize(1..4) {
            let end = (begin + random.usize(1..20_000)).min(text.len());
            let mut compress = Compress::new(Compression::default(), false);
            if begin > 0 {
                compress.set_dictionary(&text[begin.saturating_sub(1 << 15)..begin]).unwrap();
            }
            payload.reserve(40_000);
            compress.compress_vec(&text[begin..end], &mut payload, FlushCompress::Finish).unwrap();
            begin = end;
        }
        payload.push(0);
        stream.extend(frame(0xc2, &payload));
        expected.push(Incoming::Binary(text[first..begin].to_vec().into()));
    }
    let got = feed(&mut inflating(true), stream.chunks(random.usize(1..5000)));
    assert!(got == (expected, Ok(())), "seed {seed}");
}

#[test]
fn a_message_full_of_final_blocks_is_refused() {
    assert_eq!(inflate_one(&b"\x03\x00".repeat(200)).unwrap(), "");
    assert_eq!(inflate_one(&b"\x03\x00".repeat(2000)), Err(1007));
}

#[test]
fn a_message_that_is_not_whole_is_refused() {
    let refused = |payload: &[u8]| {
        feed(&mut inflating(false), [frame(0xc2, payload).as_slice()]).1.map_err(|fault| fault.code.0)
    };
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let dynamic = compress_once(&likely_text(&mut fastrand::Rng::with_seed(seed), 3000), 15);
    for whole in [&b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..], b"\x00\x05\x00\xfa\xffHello\x00", &dynamic] {
        assert_eq!(refused(whole), Ok(()));
        // A zero byte alone is an empty message.
        for cut in (0..whole.len()).filter(|&cut| whole[..cut] != *b"\x00") {
            assert_eq!(refused(&whole[..cut]), Err(1007), "cut at {cut}, seed {seed}");
        }
    }
    // Stored blocks of lengths that would take the tail, or the end behind it, for text.
    assert_eq!(refused(b"\x00\x04\x00\xfb\xff"), Err(1007));
    assert_eq!(refused(b"\x00\x09\x00\xf6\xff"), Err(1007));
    // A final block that would end within the tail.
    assert_eq!(refused(b"\x03\x00"), Ok(()));
    assert_eq!(refused(b"\x03"), Err(1007));
    // Junk, in place of a message and behind one.
    assert_eq!(refused(b"\xff\xff\xff\xff"), Err(1007));
    assert_eq!(refused(b"\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff\x06"), Err(1007));
}

#[test]
fn every_window_and_context_goes_round() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for bits in 8..=15 {
        for takeover in [false, true] {
            let mut deflater = Deflater::new(bits, takeover);
            let inflater = Inflater::new(bits, takeover);
            let mut decoder = Decoder::new(
                Role::Client,
                Limits { max_frame: 1 << 20, max_message: 1 << 20 },
                Some(inflater),
            );
            for length in [0, 1, 5, 300, 0, 700, 40_000, 3, 100_000, 0] {
                let message = likely_text(&mut random, length);
                let (mut deflated, mut stream) = (Vec::new(), Vec::new());
                deflater.deflate(&message, &mut deflated);
                encode_deflated(OpCode::Binary, &deflated, None, &mut stream);
                let expected = vec![Incoming::Binary(message.into())];
                let got = feed(&mut decoder, stream.chunks(random.usize(1..2000)));
                assert!(
                    got == (expected, Ok(())),
                    "{bits} bits, takeover {takeover}, {length} bytes, seed {seed}"
                );
            }
        }
    }
}

/// Text that repeats itself at all distances, with some noise.
fn likely_text(random: &mut fastrand::Rng, length: usize) -> Vec<u8> {
    let mut text: Vec<u8> = Vec::new();
    while text.len() < length {
        if text.is_empty() || random.u8(..8) == 0 {
            text.extend((0..random.usize(1..40)).map(|_| random.u8(..)));
        } else {
            let begin = random.usize(..text.len());
            let end = (begin + random.usize(3..300)).min(text.len());
            text.extend_from_within(begin..end);
        }
    }
    text.truncate(length);
    text
}

#[test]
fn a_window_is_never_exceeded() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for bits in 8..=14 {
        let mut deflater = Deflater::new(bits, true);
        let mut stream = Vec::new();
        for message in likely_text(&mut random, 100_000).chunks(5000) {
            deflater.deflate(message, &mut stream);
            stream.extend_from_slice(&[0, 0, 0xff, 0xff]);
        }
        let farthest = distance::farthest(&stream);
        assert!(farthest <= 1 << bits, "{bits} bits reach back {farthest} bytes, seed {seed}");
        assert!(
            farthest > 1 << (bits - 1) || bits == 9,
            "{bits} bits reach back only {farthest}, seed {seed}"
        );
    }
}

#[test]
fn messages_compressed_once_stand_alone() {
    for bits in 8..=15 {
        for message in ["", "a", "hello hello hello", &"long ".repeat(20_000)] {
            let deflated = compress_once(message.as_bytes(), bits);
            assert_eq!(inflate_one(&deflated).as_deref(), Ok(message));
        }
    }
    let mut shared = Deflater::new(15, false);
    let mut twice = [Vec::new(), Vec::new()];
    twice.iter_mut().for_each(|out| shared.deflate(b"{\"same\":\"message\"}", out));
    assert_eq!(twice[0], twice[1]);
    assert_eq!(twice[0], compress_once(b"{\"same\":\"message\"}", 15));
}

#[test]
fn a_message_compressed_once_fits_its_window() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for bits in 8..=14 {
        for length in [1 << bits, (1 << bits) + 1, 5 << bits] {
            let mut deflated = compress_once(&likely_text(&mut random, length), bits);
            deflated.extend_from_slice(&[0, 0, 0xff, 0xff]);
            let farthest = distance::farthest(&deflated);
            assert!(farthest <= 1 << bits, "{bits} bits reach back {farthest} bytes, seed {seed}");
        }
    }
}

#[test]
fn what_does_not_shrink_goes_round() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let noise: Vec<u8> = (0..300_000).map(|_| random.u8(..)).collect();
    let deflated = compress_once(&noise, 15);
    let (incoming, end) = feed(&mut inflating(false), [frame(0xc2, &deflated).as_slice()]);
    assert!(incoming == [Incoming::Binary(noise.into())] && end.is_ok(), "seed {seed}");
}

#[test]
fn a_bomb_goes_off_at_the_limit() {
    let limit = 10_000;
    let decoder = || {
        let limits = Limits { max_frame: 1 << 20, max_message: limit };
        Decoder::new(Role::Server, limits, Some(Inflater::new(15, false)))
    };
    let fits = frame(0xc2, &compress_once(&vec![0; limit], 15));
    let (incoming, end) = feed(&mut decoder(), [fits.as_slice()]);
    assert!(incoming == [Incoming::Binary(vec![0; limit].into())] && end.is_ok());
    for size in [limit + 1, 100_000_000] {
        let bomb = frame(0xc2, &compress_once(&vec![0; size], 15));
        for piece in [1, bomb.len()] {
            let (incoming, end) = feed(&mut decoder(), bomb.chunks(piece));
            assert_eq!((incoming.len(), end.unwrap_err().code), (0, CloseCode::TOO_BIG));
        }
    }
}
