//! Reads a deflate stream (RFC 1951) only for how far it refers back.

const LENGTHS: [(u32, usize); 29] = {
    let (mut table, mut base, mut i) = ([(0, 0); 29], 3, 0);
    while i < 28 {
        let extra = if i < 8 { 0 } else { i / 4 - 1 };
        table[i] = (extra as u32, base);
        base += 1 << extra;
        i += 1;
    }
    table[28] = (0, 258);
    table
};

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> usize {
        (0..count).fold(0, |value, i| {
            let bit = self.bytes[self.at / 8] >> (self.at % 8) & 1;
            self.at += 1;
            value | usize::from(bit) << i
        })
    }

    /// The next symbol of a canonical code, given the length of each symbol's code.
    fn symbol(&mut self, lengths: &[usize]) -> usize {
        let (mut code, mut first) = (0, 0);
        for length in 1..=15 {
            code = code << 1 | self.take(1);
            let mut symbols = (0..lengths.len()).filter(|&symbol| lengths[symbol] == length);
            let count = symbols.clone().count();
            if code < first + count {
                return symbols.nth(code - first).unwrap();
            }
            first = (first + count) << 1;
        }
        panic!("no such code")
    }

    fn dynamic(&mut self) -> (Vec<usize>, Vec<usize>) {
        let (literals, distances, codes) = (self.take(5) + 257, self.take(5) + 1, self.take(4) + 4);
        let mut code_lengths = [0; 19];
        for place in
            [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15].into_iter().take(codes)
        {
            code_lengths[place] = self.take(3);
        }
        let mut lengths = Vec::new();
        while lengths.len() < literals + distances {
            let (value, count) = match self.symbol(&code_lengths) {
                16 => (*lengths.last().unwrap(), self.take(2) + 3),
                17 => (0, self.take(3) + 3),
                18 => (0, self.take(7) + 11),
                length => (length, 1),
            };
            lengths.extend(std::iter::repeat_n(value, count));
        }
        let distances = lengths.split_off(literals);
        (lengths, distances)
    }
}

fn fixed() -> (Vec<usize>, Vec<usize>) {
    let literals = [(8, 144), (9, 112), (7, 24), (8, 8)];
    (
        literals.into_iter().flat_map(|(length, count)| std::iter::repeat_n(length, count)).collect(),
        vec![5; 30],
    )
}

/// The greatest distance in a stream of blocks none of which is final.
pub(super) fn farthest(bytes: &[u8]) -> usize {
    let mut bits = Bits { bytes, at: 0 };
    let mut farthest = 0;
    while bits.at + 8 < bytes.len() * 8 {
        assert_eq!(bits.take(1), 0, "not the final block");
        let (literals, distances) = match bits.take(2) {
            0 => {
                let begin = bits.at.div_ceil(8);
                let length = u16::from_le_bytes([bytes[begin], bytes[begin + 1]]);
                bits.at = (begin + 4 + usize::from(length)) * 8;
                continue;
            }
            1 => fixed(),
            _ => bits.dynamic(),
        };
        loop {
            match bits.symbol(&literals) {
                0..256 => {}
                256 => break,
                length => {
                    bits.take(LENGTHS[length - 257].0);
                    let symbol = bits.symbol(&distances);
                    let extra = (symbol / 2).saturating_sub(1);
                    let base = if symbol < 4 { symbol } else { (2 + symbol % 2) << extra };
                    farthest = farthest.max(1 + base + bits.take(extra as u32));
                }
            }
        }
    }
    farthest
}
