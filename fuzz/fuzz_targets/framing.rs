//! Chunked bodies: the same data and the same end at any split, and a round trip through our own encoder.
#![no_main]

use ingress_core::http::{CHUNK_END, ChunkedDecoder, Event, LAST_CHUNK, Reject, write_chunk_header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (step, data) = input;
    let whole = decode(data, data.len().max(1));
    assert_eq!(whole, decode(data, usize::from(step).max(1)));
    let Ok((body, Some(_))) = whole else { return };
    let mut encoded = Vec::new();
    for chunk in body.chunks(usize::from(step).max(1)) {
        write_chunk_header(&mut encoded, chunk.len());
        encoded.extend_from_slice(chunk);
        encoded.extend_from_slice(CHUNK_END);
    }
    encoded.extend_from_slice(LAST_CHUNK);
    assert_eq!(decode(&encoded, 7), Ok((body, Some(encoded.len()))));
});

/// The body, and where it ends if it does.
fn decode(raw: &[u8], step: usize) -> Result<(Vec<u8>, Option<usize>), Reject> {
    let mut decoder = ChunkedDecoder::request();
    let (mut body, mut before) = (Vec::new(), 0);
    for input in raw.chunks(step) {
        let mut at = 0;
        loop {
            let decoded = decoder.decode(&input[at..])?;
            match decoded.event {
                Event::Data(range) => body.extend_from_slice(&input[at..][range]),
                Event::End => return Ok((body, Some(before + at + decoded.consumed))),
                Event::NeedMore => {
                    assert_eq!(at + decoded.consumed, input.len());
                    break;
                }
            }
            at += decoded.consumed;
        }
        before += input.len();
    }
    Ok((body, None))
}
