//! The content of bodies: each place of each body has its own eight bytes, so that one that was lost, doubled, moved or sent to
//! another is seen where it stands. Every byte is compared, which says more than a hash of them.

/// The word at a place.
fn word(key: u64, index: u64) -> [u8; 8] {
    let mixed = (index ^ key).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ (mixed >> 29)).to_le_bytes()
}

/// Fills a buffer with what stands at `offset` of the body `key`.
pub(crate) fn fill(key: u64, offset: u64, buffer: &mut [u8]) {
    let skip = (offset % 8) as usize;
    let mut index = offset / 8;
    let mut rest = buffer;
    if skip > 0 {
        let head = rest.len().min(8 - skip);
        rest[..head].copy_from_slice(&word(key, index)[skip..skip + head]);
        rest = &mut rest[head..];
        index += 1;
    }
    for place in rest.chunks_mut(8) {
        place.copy_from_slice(&word(key, index)[..place.len()]);
        index += 1;
    }
}

/// Compares what was received at `offset` of the body `key`; the error tells the first difference.
pub(crate) fn check(key: u64, offset: u64, received: &[u8], scratch: &mut Vec<u8>) -> Result<(), String> {
    scratch.resize(received.len(), 0);
    fill(key, offset, scratch);
    if scratch.as_slice() == received {
        return Ok(());
    }
    let at = received.iter().zip(scratch.iter()).position(|(a, b)| a != b).unwrap_or_default();
    let end = received.len().min(at + 16);
    Err(format!(
        "MISMATCH at byte {}: {:02x?} instead of {:02x?}",
        offset + at as u64,
        &received[at..end],
        &scratch[at..end]
    ))
}
