//! Inflating compressed messages (RFC 7692 §7.2.2).

use flate2::{Decompress, FlushDecompress, Status};

use super::Fault;

/// What the sender left out at the end of a message, an empty stored block's lengths, and then an empty final block:
/// inflating reaches the end of the stream there if and only if the message was whole.
const TAIL_AND_END: [u8; 9] = [0, 0, 0xff, 0xff, 0x01, 0, 0, 0xff, 0xff];

/// Final blocks in one message. Each costs copying a window, so that a message full of them would be a way to keep
/// the server busy; a sender has use for one or two.
const MAX_FINAL_BLOCKS: u32 = 256;

/// First capacity of an inflated message, in bytes, as a multiple of what has arrived, and at least.
const USUAL_RATIO: usize = 3;
const LEAST_CAPACITY: usize = 128;

const CORRUPT: Fault = Fault::payload("the compressed message cannot be inflated");
const TOO_MANY_FINAL_BLOCKS: Fault = Fault::payload("the compressed message has too many final blocks");
const TOO_BIG: Fault = Fault::too_big("the inflated message exceeds the limit");

/// Inflates the messages of one connection.
///
/// Between messages it holds the window that the peer may refer to, and nothing where context takeover was not agreed.
#[derive(Debug)]
pub struct Inflater {
    window_bits: u8,
    /// The last bytes of the messages so far, at most a window; `None` without context takeover.
    history: Option<Vec<u8>>,
    /// The message being inflated. Boxed, since most of the time there is none.
    stream: Option<Box<Stream>>,
}

/// One message's state.
#[derive(Debug)]
struct Stream {
    inflate: Decompress,
    final_blocks: u32,
    /// A final block has ended, and no byte has followed yet.
    ended: bool,
}

impl Inflater {
    /// For a peer that compresses with a window of `2^window_bits` bytes.
    ///
    /// # Panics
    /// If `window_bits` is not 8 to 15.
    pub fn new(window_bits: u8, context_takeover: bool) -> Inflater {
        assert!((8..=15).contains(&window_bits));
        Inflater { window_bits, history: context_takeover.then(Vec::new), stream: None }
    }

    /// Bytes held between messages.
    pub(super) fn held_bytes(&self) -> usize {
        self.history.as_ref().map_or(0, Vec::capacity)
    }

    /// Inflates the next bytes of a message onto `out`, the message so far, which may reach `max` bytes and no more.
    pub(super) fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>, max: usize) -> Result<(), Fault> {
        while !input.is_empty() {
            let history = self.history.as_deref().unwrap_or_default();
            let stream = match &mut self.stream {
                Some(stream) if stream.ended => {
                    stream.restart(history, out)?;
                    stream
                }
                Some(stream) => stream,
                none => none.insert(Box::new(Stream::new(self.window_bits, history)?)),
            };
            let used = stream.run(input, out, max)?;
            input = &input[used..];
        }
        Ok(())
    }

    /// The message has ended: makes sure that nothing is missing.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>, max: usize) -> Result<(), Fault> {
        let Some(mut stream) = self.stream.take() else { return Err(CORRUPT) };
        if !stream.ended {
            let length = out.len();
            let used = stream.run(&TAIL_AND_END, out, max)?;
            if !stream.ended || used != TAIL_AND_END.len() || out.len() != length {
                return Err(CORRUPT);
            }
        }
        if let Some(history) = &mut self.history {
            remember(history, out, 1 << self.window_bits);
        }
        Ok(())
    }
}

impl Stream {
    fn new(window_bits: u8, history: &[u8]) -> Result<Stream, Fault> {
        let inflate = Decompress::new_with_window_bits(false, window_bits.max(9));
        let mut stream = Stream { inflate, final_blocks: 0, ended: false };
        stream.recall(history)?;
        Ok(stream)
    }

    /// Goes on after a final block (RFC 7692 §7.2.3.4): what follows may refer to what was before.
    fn restart(&mut self, history: &[u8], out: &[u8]) -> Result<(), Fault> {
        self.final_blocks += 1;
        if self.final_blocks > MAX_FINAL_BLOCKS {
            return Err(TOO_MANY_FINAL_BLOCKS);
        }
        self.ended = false;
        self.inflate.reset(false);
        self.recall(history)?;
        self.recall(out)
    }

    /// Puts `text` into the window.
    fn recall(&mut self, text: &[u8]) -> Result<(), Fault> {
        if text.is_empty() {
            return Ok(());
        }
        let window = &text[text.len().saturating_sub(1 << 15)..];
        self.inflate.set_dictionary(window).map(drop).map_err(|_| CORRUPT)
    }

    /// Inflates until the input or the stream ends; gives the number of bytes taken.
    fn run(&mut self, input: &[u8], out: &mut Vec<u8>, max: usize) -> Result<usize, Fault> {
        let begin = self.inflate.total_in();
        loop {
            if out.len() == out.capacity() {
                grow(out, input.len(), max);
            }
            let used = (self.inflate.total_in() - begin) as usize;
            let status = self.inflate.decompress_vec(&input[used..], out, FlushDecompress::None);
            let used = (self.inflate.total_in() - begin) as usize;
            match status {
                Err(_) => return Err(CORRUPT),
                Ok(_) if out.len() > max => return Err(TOO_BIG),
                Ok(Status::StreamEnd) => {
                    self.ended = true;
                    return Ok(used);
                }
                Ok(Status::Ok | Status::BufError) if out.len() == out.capacity() => {}
                // There was room left, so it stopped for want of input.
                Ok(Status::Ok | Status::BufError) if used == input.len() => return Ok(used),
                Ok(Status::Ok | Status::BufError) => return Err(CORRUPT),
            }
        }
    }
}

/// Makes room in a full `out`: up to `max`, and then a byte at a time, since one beyond it is enough to see that the
/// limit is exceeded.
fn grow(out: &mut Vec<u8>, arrived: usize, max: usize) {
    let wanted = if out.is_empty() { LEAST_CAPACITY.max(arrived * USUAL_RATIO) } else { out.len() * 2 };
    let wanted = wanted.min(max).max(out.len() + 1);
    out.reserve_exact(wanted - out.len());
}

/// Keeps the last `window` bytes of `history` and then `text` in `history`.
fn remember(history: &mut Vec<u8>, text: &[u8], window: usize) {
    let text = &text[text.len().saturating_sub(window)..];
    let surplus = (history.len() + text.len()).saturating_sub(window);
    history.drain(..surplus);
    let needed = history.len() + text.len();
    if needed > history.capacity() {
        history.reserve_exact(needed.next_power_of_two().min(window) - history.len());
    }
    history.extend_from_slice(text);
}
