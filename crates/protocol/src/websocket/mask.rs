//! Masking (RFC 6455 §5.3).

/// The bytes that a client XORs its payload with, chosen anew for every frame.
pub type Mask = [u8; 4];

/// Masks or unmasks `data`, which begins `offset` bytes into the frame's payload.
///
/// Words rather than bytes: the compiler turns the loop into vector instructions.
pub fn apply_mask(mask: Mask, offset: usize, data: &mut [u8]) {
    let [a, b, c, d] = rotated(mask, offset);
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = data.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(word.to_ne_bytes()) {
        *byte ^= key;
    }
}

/// The mask as it applies from `offset` on.
fn rotated(mut mask: Mask, offset: usize) -> Mask {
    mask.rotate_left(offset % size_of::<Mask>());
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_and_offset_agrees_with_the_definition() {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        for length in 0..70 {
            for offset in 0..9 {
                let plain: Vec<u8> = (0..length).collect();
                let mut masked = plain.clone();
                apply_mask(mask, offset, &mut masked);
                let defined: Vec<u8> =
                    plain.iter().enumerate().map(|(i, b)| b ^ mask[(i + offset) % 4]).collect();
                assert_eq!(masked, defined, "length {length}, offset {offset}");
                apply_mask(mask, offset, &mut masked);
                assert_eq!(masked, plain);
            }
        }
    }
}
