//! Hexadecimal digits, written in lower case and read in either case.

/// Encodes bytes as lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.extend(digits(*byte).map(char::from));
    }
    text
}

/// Encodes a hash as lower-case hexadecimal digits, without an allocation.
pub(super) fn hex_hash(hash: &[u8; 32]) -> [u8; 64] {
    let mut text = [0; 64];
    for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(hash) {
        *pair = digits(*byte);
    }
    text
}

/// Computed, not looked up in a table, so that the bytes of a hash are converted side by side.
const fn digits(byte: u8) -> [u8; 2] {
    const fn digit(half: u8) -> u8 {
        half + if half < 10 { b'0' } else { b'a' - 10 }
    }
    [digit(byte >> 4), digit(byte & 15)]
}

/// Decodes 64 hexadecimal digits into 32 bytes; `None` for any other text.
#[must_use]
pub fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    // Computed like `digits`, and checked once for all.
    let is_digit = |digit: u8| digit.wrapping_sub(b'0') < 10;
    let is_letter = |digit: u8| (digit | 0x20).wrapping_sub(b'a') < 6;
    let mut valid = true;
    for digit in digits {
        valid &= is_digit(*digit) | is_letter(*digit);
    }
    let values = digits.map(|digit| (digit & 15) + if digit > b'9' { 9 } else { 0 });
    let mut bytes = [0; 32];
    for (byte, [high, low]) in bytes.iter_mut().zip(values.as_chunks::<2>().0) {
        *byte = high << 4 | low;
    }
    valid.then_some(bytes)
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
