//! Deflating messages (RFC 7692 §7.2.1).

use std::cell::RefCell;

use flate2::{Compress, Compression, FlushCompress};

/// The tail of a sync flush: the sender leaves it out, the receiver puts it back.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// An empty message: the head of an empty stored block (RFC 7692 §7.2.3.6).
const EMPTY: u8 = 0x00;

/// zlib's own default: beyond it, messages of a few kilobytes hardly shrink any more.
const LEVEL: u32 = 6;

/// Room for a message that does not shrink: stored blocks, their headers, and the tail.
const fn bound(length: usize) -> usize {
    length + length / 1024 + 64
}

/// Deflates messages, one after the other.
///
/// It holds about 300 KiB, so without context takeover it is best shared.
#[derive(Debug)]
pub struct Deflater {
    compress: Compress,
    context_takeover: bool,
}

impl Deflater {
    /// For a peer that inflates with a window of `2^window_bits` bytes. With context takeover, messages refer to those
    /// before, so that each must go, in order, to one and the same peer.
    ///
    /// A window of 2^8 bytes is served by zlib's of 2^9: its deflate never refers back further than the window less
    /// 262 bytes, which is 250 here.
    ///
    /// # Panics
    /// If `window_bits` is not 8 to 15.
    pub fn new(window_bits: u8, context_takeover: bool) -> Deflater {
        assert!((8..=15).contains(&window_bits));
        let compress = Compress::new_with_window_bits(Compression::new(LEVEL), false, window_bits.max(9));
        Deflater { compress, context_takeover }
    }

    /// Appends the payload of a compressed message to `out`.
    pub fn deflate(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        // zlib does not flush anew when nothing came since the last flush.
        if payload.is_empty() {
            return out.push(EMPTY);
        }
        let begin = self.compress.total_in();
        out.reserve(bound(payload.len()));
        loop {
            let used = (self.compress.total_in() - begin) as usize;
            self.compress
                .compress_vec(&payload[used..], out, FlushCompress::Sync)
                .expect("a deflate stream takes any input until it is finished");
            if out.len() < out.capacity() {
                break;
            }
            out.reserve(out.len());
        }
        debug_assert!(out.ends_with(&TAIL));
        out.truncate(out.len() - TAIL.len());
        if !self.context_takeover {
            self.compress.reset();
        }
    }
}

/// The largest window, in bits (RFC 7692 §7.1.2).
const MAX_WINDOW_BITS: u8 = 15;

thread_local! {
    /// For messages that stand alone: setting up costs more than deflating a short one. Nothing of a message is left in it for
    /// the next, so that what comes out depends on the arguments alone. One for each thread that deflates is its bound.
    static ALONE: RefCell<Option<Deflater>> = const { RefCell::new(None) };
}

/// Appends one message deflated on its own, so that it fits every subscriber that inflates with at least that window.
///
/// # Panics
/// If `window_bits` is not 8 to 15.
pub fn compress_once(payload: &[u8], window_bits: u8, out: &mut Vec<u8>) {
    assert!((8..=MAX_WINDOW_BITS).contains(&window_bits));
    if payload.len() > 1 << window_bits && window_bits < MAX_WINDOW_BITS {
        return Deflater::new(window_bits, false).deflate(payload, out);
    }
    // Nothing refers back beyond the beginning of the message: what is no longer than the window fits it.
    ALONE.with_borrow_mut(|alone| {
        alone.get_or_insert_with(|| Deflater::new(MAX_WINDOW_BITS, false)).deflate(payload, out);
    });
}
