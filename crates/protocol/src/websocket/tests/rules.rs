//! RFC 6455 rule by rule.

use super::*;

#[test]
fn the_examples_of_rfc_6455() {
    let masked = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(feed(&mut server(), [&masked[..]]), (vec![text("Hello")], Ok(())));
    assert_eq!(feed(&mut client(), [&b"\x81\x05Hello"[..]]), (vec![text("Hello")], Ok(())));
    assert_eq!(feed(&mut client(), [&b"\x01\x03Hel\x80\x02lo"[..]]), (vec![text("Hello")], Ok(())));
    let ping = (vec![Incoming::Ping("Hello".into())], Ok(()));
    assert_eq!(feed(&mut client(), [&b"\x89\x05Hello"[..]]), ping);
    let pong = (vec![Incoming::Pong("Hello".into())], Ok(()));
    assert_eq!(feed(&mut server(), [&b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"[..]]), pong);
}

#[test]
fn a_server_takes_masked_frames_only_and_a_client_unmasked_ones() {
    let (_, end) = feed(&mut server(), [&b"\x81\x05Hello"[..]]);
    assert_eq!(end.unwrap_err().code, CloseCode::PROTOCOL_ERROR);
    let (_, end) = feed(&mut client(), [frame(0x81, b"Hello").as_slice()]);
    assert_eq!(end.unwrap_err().code, CloseCode::PROTOCOL_ERROR);
    let (_, end) = feed(&mut server(), [&b"\x89\x00"[..]]);
    assert_eq!(end.unwrap_err().code, CloseCode::PROTOCOL_ERROR);
}

#[test]
fn every_length_form_arrives() {
    for length in [0, 1, 125, 126, 127, 65535, 65536, 70000] {
        let payload = vec![b'x'; length];
        let expected = Incoming::Binary(payload.clone().into());
        assert_eq!(received(&[frame(0x82, &payload)]), Ok(vec![expected]), "{length}");
    }
}

#[test]
fn reserved_bits_and_opcodes_are_refused() {
    for first in [0x91, 0xa1, 0xb1, 0xc1, 0xc2, 0x99, 0xc9, 0xca, 0xc8, 0x41] {
        assert_eq!(refused(&[frame(first, b"")]), 1002, "{first:#x}");
    }
    for opcode in (0x3..=0x7).chain(0xb..=0xf) {
        assert_eq!(refused(&[frame(0x80 | opcode, b"")]), 1002, "{opcode:#x}");
        assert_eq!(refused(&[frame(opcode, b"")]), 1002, "{opcode:#x}");
    }
}

#[test]
fn rsv1_is_for_the_first_frame_of_a_message_alone() {
    let refused =
        |frames: &[Vec<u8>]| feed(&mut inflating(false), [frames.concat().as_slice()]).1.unwrap_err();
    assert_eq!(refused(&[frame(0x41, b"\xf2\x48"), frame(0xc0, b"\xcd")]).code.0, 1002);
    assert_eq!(refused(&[frame(0x01, b"a"), frame(0xc0, b"b")]).code.0, 1002);
    for control in [0xc8, 0xc9, 0xca] {
        assert_eq!(refused(&[frame(control, b"")]).code.0, 1002);
    }
    assert_eq!(refused(&[frame(0xa1, b"")]).code.0, 1002);
    // Compression agreed on need not be used.
    let (incoming, end) = feed(&mut inflating(true), [frame(0x81, b"plain").as_slice()]);
    assert_eq!((incoming, end), (vec![text("plain")], Ok(())));
}

#[test]
fn control_frames_are_short_and_whole() {
    for opcode in [0x8, 0x9, 0xa] {
        assert_eq!(refused(&[frame(opcode, b"")]), 1002);
        assert_eq!(refused(&[frame(0x80 | opcode, &[b'x'; 126])]), 1002);
    }
    let longest = [b'x'; 125];
    assert_eq!(received(&[frame(0x89, &longest)]), Ok(vec![Incoming::Ping(longest.to_vec().into())]));
    assert_eq!(received(&[frame(0x8a, &longest)]), Ok(vec![Incoming::Pong(longest.to_vec().into())]));
}

#[test]
fn fragments_make_one_message_with_control_frames_between() {
    let frames = [
        frame(0x01, b"frag"),
        frame(0x89, b"ping"),
        frame(0x00, b""),
        frame(0x8a, b""),
        frame(0x00, b"men"),
        frame(0x80, b"ted"),
        frame(0x82, b""),
    ];
    let expected = vec![
        Incoming::Ping("ping".into()),
        Incoming::Pong("".into()),
        text("fragmented"),
        Incoming::Binary("".into()),
    ];
    assert_eq!(received(&frames), Ok(expected));
    assert_eq!(received(&[frame(0x01, b""), frame(0x80, b"all")]), Ok(vec![text("all")]));
    assert_eq!(received(&[frame(0x01, b""), frame(0x00, b""), frame(0x80, b"")]), Ok(vec![text("")]));
}

#[test]
fn fragments_come_in_order_and_to_an_end() {
    assert_eq!(refused(&[frame(0x80, b"x")]), 1002);
    assert_eq!(refused(&[frame(0x00, b"x")]), 1002);
    assert_eq!(refused(&[frame(0x81, b"x"), frame(0x80, b"y")]), 1002);
    assert_eq!(refused(&[frame(0x01, b"x"), frame(0x81, b"y")]), 1002);
    assert_eq!(refused(&[frame(0x02, b"x"), frame(0x01, b"y")]), 1002);
    assert_eq!(refused(&[frame(0x01, b"x"), frame(0x89, b""), frame(0x82, b"y")]), 1002);
}

#[test]
fn close_codes_are_those_for_the_wire() {
    for code in 0..=u16::MAX {
        let closed = received(&[frame(0x88, &code.to_be_bytes())]);
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => {
                assert_eq!(closed, Ok(vec![Incoming::Close(Some((CloseCode(code), String::new())))]));
            }
            _ => assert_eq!(closed.unwrap_err().code.0, 1002, "{code}"),
        }
    }
}

#[test]
fn close_reasons_are_utf_8() {
    let close = |reason: &[u8]| received(&[frame(0x88, &[b"\x03\xe8", reason].concat())]);
    let reason = "ü".repeat(61) + "!";
    let expected = Incoming::Close(Some((CloseCode::NORMAL, reason.clone())));
    assert_eq!(close(reason.as_bytes()), Ok(vec![expected]));
    assert_eq!(close(b"\xce\xba\xe1\xbd\xb9\xed\xa0\x80").unwrap_err().code.0, 1007);
    assert_eq!(close(b"\xe2\x82").unwrap_err().code.0, 1007);
    assert_eq!(received(&[frame(0x88, b"")]), Ok(vec![Incoming::Close(None)]));
    assert_eq!(refused(&[frame(0x88, b"\x03")]), 1002);
}

#[test]
fn nothing_counts_after_a_close_frame() {
    let frames = [frame(0x01, b"begun"), frame(0x88, b""), frame(0x89, b"late"), frame(0xff, b"junk")];
    assert_eq!(received(&frames), Ok(vec![Incoming::Close(None)]));
}

#[test]
fn a_fault_is_final() {
    let mut decoder = server();
    let fault = feed(&mut decoder, [frame(0x80, b"").as_slice()]).1.unwrap_err();
    assert_eq!(feed(&mut decoder, [frame(0x81, b"fine").as_slice()]), (vec![], Err(fault)));
    assert_eq!(decoder.decode(&mut BytesMut::new()), Err(fault));
}

#[test]
fn what_came_before_a_fault_is_reported_first() {
    let frames = [frame(0x81, b"one"), frame(0x89, b"two"), frame(0x83, b"bad")].concat();
    let (incoming, end) = feed(&mut server(), [frames.as_slice()]);
    assert_eq!(incoming, [text("one"), Incoming::Ping("two".into())]);
    assert_eq!(end.unwrap_err().code, CloseCode::PROTOCOL_ERROR);
}

#[test]
fn limits_hold_for_frames_and_for_messages() {
    let limits = Limits { max_frame: 10, max_message: 15 };
    let code = |frames: &[Vec<u8>]| {
        let (_, end) = feed(&mut Decoder::new(Role::Server, limits, None), [frames.concat().as_slice()]);
        end.map_err(|fault| fault.code.0)
    };
    assert_eq!(code(&[frame(0x82, &[0; 10])]), Ok(()));
    assert_eq!(code(&[frame(0x82, &[0; 11])]), Err(1009));
    assert_eq!(code(&[frame(0x02, &[0; 10]), frame(0x80, &[0; 5])]), Ok(()));
    assert_eq!(code(&[frame(0x02, &[0; 10]), frame(0x80, &[0; 6])]), Err(1009));
    // Control frames are no part of the message.
    assert_eq!(code(&[frame(0x02, &[0; 10]), frame(0x89, &[0; 125]), frame(0x80, &[0; 5])]), Ok(()));
    // The announcement is enough.
    assert_eq!(code(&[frame(0x82, &[0; 11])[..2].to_vec()]), Ok(()), "the header is not complete");
    assert_eq!(code(&[frame(0x82, &[0; 11])[..6].to_vec()]), Err(1009));
    assert_eq!(code(&[b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0".to_vec()]), Err(1009));
    assert_eq!(code(&[b"\x82\xff\x80\0\0\0\0\0\0\0".to_vec()]), Err(1002));
}
