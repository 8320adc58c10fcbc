//! Where a message is: `(epoch, offset)`.

use std::fmt;
use std::str::FromStr;

use crate::ChannelName;

/// The alphabet of epochs: Crockford's base 32 in lower case, which has no letter that looks like a digit.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Characters of an epoch's text. 50 bits: 20 tell the channel, 30 tell its incarnations apart.
const EPOCH_CHARS: usize = 10;
const CHANNEL_TAG_BITS: u32 = 20;
const EPOCH_BITS: u32 = 50;

/// The name of one unbroken stretch of a channel's log.
///
/// Offsets mean something only within an epoch. A channel's epoch changes when continuity was lost: the store was
/// wiped, or fell back behind positions that may already have been handed out. Part of an epoch is derived from
/// the channel's name, so that a cursor used on the wrong channel is told apart from an old one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(u64);

impl Epoch {
    /// The epoch of `channel` in a store that drew `seed` at random, after `generation` losses of continuity.
    ///
    /// Being a function of its arguments, it need not be stored for a channel that nobody has written to yet, and is
    /// still the same each time it is asked for.
    pub fn derive(seed: u64, generation: u64, channel: &ChannelName) -> Epoch {
        let tag = channel_tag(channel);
        let mixed = mix(seed ^ mix(generation ^ mix(hash(channel.as_str()))));
        let incarnation = mixed & ((1 << (EPOCH_BITS - CHANNEL_TAG_BITS)) - 1);
        Epoch(tag << (EPOCH_BITS - CHANNEL_TAG_BITS) | incarnation)
    }

    /// Whether this epoch can be one of `channel`'s.
    pub fn belongs_to(self, channel: &ChannelName) -> bool {
        self.0 >> (EPOCH_BITS - CHANNEL_TAG_BITS) == channel_tag(channel)
    }

    /// The epoch as a number, for storage.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The epoch with this number; `None` if no epoch has it.
    pub fn from_bits(bits: u64) -> Option<Epoch> {
        (bits >> EPOCH_BITS == 0).then_some(Epoch(bits))
    }

    fn text(self) -> [u8; EPOCH_CHARS] {
        std::array::from_fn(|i| ALPHABET[(self.0 >> (5 * (EPOCH_CHARS - 1 - i)) & 31) as usize])
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).expect("the alphabet is ASCII"))
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Epoch {
    type Err = ();

    fn from_str(text: &str) -> Result<Epoch, ()> {
        if text.len() != EPOCH_CHARS {
            return Err(());
        }
        let mut bits = 0;
        for char in text.bytes() {
            bits = bits << 5 | ALPHABET.iter().position(|&a| a == char).ok_or(())? as u64;
        }
        Ok(Epoch(bits))
    }
}

/// The place of a message in its epoch: 1, 2, 3 … without gaps (invariant I1). 0 is the place before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offset(u64);

impl Offset {
    /// Before the first message.
    pub const ZERO: Offset = Offset(0);

    /// The offset with this number.
    pub const fn new(number: u64) -> Offset {
        Offset(number)
    }

    /// The offset as a number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The offset that follows.
    #[must_use]
    pub const fn next(self) -> Offset {
        Offset(self.0 + 1)
    }

    /// The offset `count` places on.
    #[must_use]
    pub const fn plus(self, count: u64) -> Offset {
        Offset(self.0 + count)
    }

    /// The offset `count` places back, at least [`Offset::ZERO`].
    #[must_use]
    pub const fn minus(self, count: u64) -> Offset {
        Offset(self.0.saturating_sub(count))
    }

    /// How many messages lie after `earlier`, up to and with this offset; 0 if none.
    pub const fn since(self, earlier: Offset) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A place in a channel's log. Its text, `EPOCH.OFFSET`, is the cursor that clients carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The stretch of log in which `offset` counts.
    pub epoch: Epoch,
    /// The place in it.
    pub offset: Offset,
}

impl Position {
    /// The place `offset` of `epoch`.
    pub const fn new(epoch: Epoch, offset: Offset) -> Position {
        Position { epoch, offset }
    }

    /// Appends its text: what `Display` shows, without going through a formatter.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.epoch.text());
        out.push(b'.');
        out.extend_from_slice(itoa::Buffer::new().format(self.offset.0).as_bytes());
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.offset)
    }
}

impl FromStr for Position {
    type Err = ();

    /// Takes exactly what `Display` writes: no sign, no leading zero, so that equal positions have equal texts.
    fn from_str(text: &str) -> Result<Position, ()> {
        let (epoch, offset) = text.split_once('.').ok_or(())?;
        let canonical = !offset.is_empty()
            && offset.bytes().all(|b| b.is_ascii_digit())
            && (offset == "0" || !offset.starts_with('0'));
        if !canonical {
            return Err(());
        }
        Ok(Position { epoch: epoch.parse()?, offset: Offset(offset.parse().map_err(|_| ())?) })
    }
}

fn channel_tag(channel: &ChannelName) -> u64 {
    mix(hash(channel.as_str())) >> (64 - CHANNEL_TAG_BITS)
}

/// FNV-1a, 64 bits: stored cursors depend on it, so it may never change.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// The finaliser of SplitMix64: spreads every input bit over all output bits.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ChannelName {
        ChannelName::parse(text).unwrap()
    }

    #[test]
    fn a_position_survives_its_text() {
        for offset in [0, 1, 42, u64::MAX] {
            let position = Position::new(Epoch::derive(7, 1, &name("chat/a")), Offset::new(offset));
            assert_eq!(position.to_string().parse(), Ok(position));
            let mut written = b"id: ".to_vec();
            position.write(&mut written);
            assert_eq!(written, format!("id: {position}").into_bytes());
        }
    }

    #[test]
    fn only_canonical_texts_are_positions() {
        let epoch = Epoch::derive(7, 1, &name("a"));
        for bad in ["", ".", "x", "x.1", "0123456789.", "0123456789.01", "0123456789.+1", "0123456789.-1"] {
            assert_eq!(bad.parse::<Position>(), Err(()), "{bad}");
        }
        assert!(format!("{epoch}.18446744073709551616").parse::<Position>().is_err());
        assert!(format!("{epoch}.1 ").parse::<Position>().is_err());
        assert!(
            format!("{}.1", epoch.to_string().to_uppercase().replace('0', "O")).parse::<Position>().is_err()
        );
    }

    #[test]
    fn an_epoch_knows_its_channel_and_its_store() {
        let (a, b) = (name("chat/a"), name("chat/b"));
        let epoch = Epoch::derive(7, 1, &a);
        assert!(epoch.belongs_to(&a) && !epoch.belongs_to(&b));
        assert_eq!(epoch, Epoch::derive(7, 1, &a));
        assert_ne!(epoch, Epoch::derive(8, 1, &a));
        assert_ne!(epoch, Epoch::derive(7, 2, &a));
        assert_eq!(Epoch::from_bits(epoch.to_bits()), Some(epoch));
        assert_eq!(Epoch::from_bits(1 << EPOCH_BITS), None);
    }

    #[test]
    fn epochs_are_pinned() {
        // Cursors outlive a server's version: this value may never change.
        assert_eq!(Epoch::derive(7, 1, &name("chat/a")).to_string(), "bejkt1sddy");
    }
}
