//! The chunked decoder.

use super::*;

/// Decodes pieces of this size; the body and what was consumed of the input.
pub(crate) fn decode(raw: &[u8], piece: usize) -> Result<(Vec<u8>, Option<usize>), Reject> {
    let mut decoder = ChunkedDecoder::request();
    let (mut body, mut consumed) = (Vec::new(), 0);
    for input in raw.chunks(piece.max(1)) {
        let mut at = 0;
        loop {
            let step = decoder.decode(&input[at..])?;
            assert!(step.consumed <= input.len() - at);
            match step.event {
                Event::Data(range) => {
                    assert!(!range.is_empty() && range.end == step.consumed);
                    body.extend_from_slice(&input[at..][range]);
                }
                Event::End => {
                    assert!(decoder.is_end());
                    return Ok((body, Some(consumed + at + step.consumed)));
                }
                Event::NeedMore => {
                    assert_eq!(at + step.consumed, input.len());
                    break;
                }
            }
            at += step.consumed;
        }
        consumed += input.len();
    }
    Ok((body, None))
}

#[test]
fn bodies_are_decoded_at_any_split() {
    let cases: [(&[u8], &[u8]); 11] = [
        (b"0\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world"),
        (b"0000000000000005\r\nhello\r\n00\r\n\r\n", b"hello"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
        (b"5;a=b\r\nhello\r\n0;c\r\n\r\n", b"hello"),
        (b"5;a=\"x y\";b\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"5\r\nhello\r\n0\r\nX: y\r\nETag:\r\n\r\n", b"hello"),
        (b"0\r\nX_1: \x80\t y \r\n\r\n", b""),
    ];
    for (raw, body) in cases {
        let with_rest = [raw, b"GET / HTTP/1.1\r\n"].concat();
        for piece in 1..=with_rest.len() {
            let expected = (body.to_vec(), Some(raw.len()));
            assert_eq!(decode(&with_rest, piece), Ok(expected), "{} by {piece}", raw.escape_ascii());
        }
        for end in 0..raw.len() {
            assert!(matches!(decode(&raw[..end], raw.len()), Ok((_, None))), "{}", raw[..end].escape_ascii());
        }
    }
}

#[test]
fn bad_chunks_are_refused_at_any_split() {
    let cases: [(&[u8], &str); 44] = [
        (b"\r\n", "chunk-size-invalid"),
        (b"\n", "chunk-size-invalid"),
        (b";a\r\n", "chunk-size-invalid"),
        (b"g\r\n", "chunk-size-invalid"),
        (b"0x5\r\nhello\r\n", "chunk-size-invalid"),
        (b"+5\r\nhello\r\n", "chunk-size-invalid"),
        (b"-5\r\nhello\r\n", "chunk-size-invalid"),
        (b" 5\r\nhello\r\n", "chunk-size-invalid"),
        (b"5 \r\nhello\r\n", "chunk-size-invalid"),
        (b"5\t\r\nhello\r\n", "chunk-size-invalid"),
        (b"5 ;a\r\nhello\r\n", "chunk-size-invalid"),
        (b"5\nhello\n0\n\n", "chunk-size-invalid"),
        (b"5,\r\nhello\r\n", "chunk-size-invalid"),
        (b"5_0\r\nhello\r\n", "chunk-size-invalid"),
        (b"5\x00\r\nhello\r\n", "chunk-size-invalid"),
        (b"8000000000000000\r\n", "chunk-size-invalid"),
        (b"ffffffffffffffff\r\n", "chunk-size-invalid"),
        (b"00000000000000005\r\nhello\r\n", "chunk-size-invalid"),
        (b"10000000000000000\r\n", "chunk-size-invalid"),
        (b"5\rhello\r\n", "chunk-framing-invalid"),
        (b"5\r\rhello\r\n", "chunk-framing-invalid"),
        (b"5\r\nhello0\r\n\r\n", "chunk-framing-invalid"),
        (b"5\r\nhello\n0\r\n\r\n", "chunk-framing-invalid"),
        (b"5\r\nhello\r0\r\n\r\n", "chunk-framing-invalid"),
        (b"5\r\nhelloX\r\n0\r\n\r\n", "chunk-framing-invalid"),
        (b"5\r\nhello\r\r\n0\r\n\r\n", "chunk-framing-invalid"),
        (b"0\r\n\rX", "chunk-framing-invalid"),
        (b"5;a\nhello\r\n", "chunk-extension-invalid"),
        (b"5;a\x00\r\nhello\r\n", "chunk-extension-invalid"),
        (b"5;a\x7f\r\nhello\r\n", "chunk-extension-invalid"),
        (b"5;a=\"\x80\"\r\nhello\r\n", "chunk-extension-invalid"),
        (b"5;a=\"\r\n\"\r\nhello\r\n", "chunk-framing-invalid"),
        (b"0\r\n\n", "trailer-invalid"),
        (b"0\r\nX\r\n\r\n", "trailer-invalid"),
        (b"0\r\nX : y\r\n\r\n", "trailer-invalid"),
        (b"0\r\n: y\r\n\r\n", "trailer-invalid"),
        (b"0\r\n X: y\r\n\r\n", "trailer-invalid"),
        (b"0\r\nX: y\r\n folded\r\n\r\n", "trailer-invalid"),
        (b"0\r\nX: y\n\r\n", "trailer-invalid"),
        (b"0\r\nX: \x00\r\n\r\n", "trailer-invalid"),
        (b"0\r\nX: y\rZ: a\r\n\r\n", "trailer-invalid"),
        (b"0\r\ncontent-length: 5\r\n\r\n", "trailer-forbidden"),
        (b"0\r\nTransfer-Encoding: chunked\r\n\r\n", "trailer-forbidden"),
        (b"0\r\nX: y\r\nHost: b\r\n\r\n", "trailer-forbidden"),
    ];
    for (raw, kind) in cases {
        for piece in 1..=raw.len() {
            let result = decode(raw, piece).map_err(|r| (r.status, r.kind));
            assert_eq!(result, Err((400, kind)), "{} by {piece}", raw.escape_ascii());
        }
    }
}

#[test]
fn overhead_is_bounded() {
    let chunk = format!("1;{}\r\na\r\n", "x".repeat(1000));
    assert!(decode(chunk.repeat(16).as_bytes(), 4096).is_ok());
    assert_eq!(decode(chunk.repeat(17).as_bytes(), 4096).map_err(|r| r.kind), Err("chunk-extension-invalid"));
    let large = format!("0\r\nX: {}\r\n\r\n", "y".repeat(8 * 1024));
    assert_eq!(
        decode(large.as_bytes(), 4096).map_err(|r| (r.status, r.kind)),
        Err((431, "trailer-too-large"))
    );
    let fields = |n| format!("0\r\n{}\r\n", "X: y\r\n".repeat(n));
    assert!(decode(fields(64).as_bytes(), 4096).is_ok());
    assert_eq!(decode(fields(65).as_bytes(), 4096).map_err(|r| r.kind), Err("trailer-too-large"));
}

#[test]
fn a_large_chunk_is_not_waited_for() {
    let mut decoder = ChunkedDecoder::response();
    let step = decoder.decode(b"7fffffffffffffff\r\nabc").expect("accepted");
    assert_eq!(step, Decoded { consumed: 21, event: Event::Data(18..21) });
    assert_eq!(decoder.decode(b"").expect("accepted").event, Event::NeedMore);
}

#[test]
fn a_backends_bad_chunk_is_its_own_fault() {
    assert_eq!(ChunkedDecoder::response().decode(b"x").map_err(|r| r.status), Err(502));
}

#[test]
fn chunks_are_encoded() {
    let mut out = Vec::new();
    write_chunk_header(&mut out, 0x1a2b);
    out.extend_from_slice(CHUNK_END);
    assert_eq!(out, b"1a2b\r\n\r\n");
}
