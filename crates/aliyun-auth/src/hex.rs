//! Hexadecimal digits, written in lower case and read in either case.

/// Encodes bytes as lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| DIGITS[usize::from(half)];
    let mut text = vec![0; 2 * bytes.len()];
    for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
    String::from_utf8(text).expect("digits are ASCII")
}

/// Value of each byte as a hexadecimal digit; 255 if it is none.
const HEX_VALUES: [u8; 256] = {
    let (mut values, mut digit) = ([u8::MAX; 256], 0);
    while digit < 16 {
        values[b"0123456789abcdef"[digit] as usize] = digit as u8;
        values[b"0123456789ABCDEF"[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};

/// Decodes 64 hexadecimal digits into 32 bytes; `None` for any other text.
#[must_use]
pub fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut bytes = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    // Checked once at the end instead of at each digit: all valid digits together stay below 16.
    let mut all = 0;
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        let [high, low] = pair.map(|digit| HEX_VALUES[usize::from(digit)]);
        all |= high | low;
        *byte = high << 4 | low;
    }
    (all < 16).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_64_hexadecimal_digits() {
        let zeros = "0".repeat(62);
        let with = |last: &str| unhex(&format!("{zeros}{last}")).map(|bytes| bytes[31]);
        for (digits, value) in [("00", 0), ("0f", 15), ("A5", 165), ("a5", 165), ("ff", 255)] {
            assert_eq!(with(digits), Some(value), "{digits}");
        }
        for bad in ["0g", "g0", "gg", "0", "000", "\u{e9}", " 0", "-1", "0x"] {
            assert_eq!(with(bad), None, "{bad}");
        }
    }
}
