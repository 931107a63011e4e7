//! Symbols of variables: letters, Greek letters, and hashed names for subscripts and accents.

/// Symbol of a Greek letter by its index.
pub(crate) fn greek(index: u8) -> u32 {
    256 + u32::from(index)
}

/// Symbol of the capital gamma.
pub(crate) const CAPITAL_GAMMA: u32 = 256 + 22;
/// Symbol of the letter mu.
pub(crate) const MU: u32 = 256 + 11;

/// Symbol of a name made of parts, such as a letter with a subscript. The top bit marks it.
pub(crate) fn named(base: u32, part: &[u8]) -> u32 {
    // FNV-1a, 32 bits.
    let mut hash = 0x811c_9dc5u32 ^ base.wrapping_mul(0x9e37_79b1);
    for byte in part {
        if matches!(byte, b'{' | b'}' | b' ' | b'\\' | b'$') {
            continue;
        }
        hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    }
    hash | 0x8000_0000
}

/// Whether the symbol is a plain Latin letter, and which.
pub(crate) fn latin(symbol: u32) -> Option<u8> {
    u8::try_from(symbol).ok()
}
