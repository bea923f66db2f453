//! The chunked transfer coding (RFC 9112 section 7.1).
//!
//! ```text
//! size ─► [extension] ─► CR LF ─► data ─► CR LF ─► size …
//!   └ 0 ─► [extension] ─► CR LF ─► { name ":" value CR LF } ─► CR LF
//! ```
//!
//! Only the data leaves: extensions and trailer fields are checked, bounded and dropped (RFC 9110 section 6.5.1,
//! RFC 9112 section 7.1.1), and chunks are framed anew, so the other side never sees this side's framing.

use std::io::Write as _;
use std::ops::Range;

use super::field::{Field, classify, is_token_byte, is_value_byte};
use super::reject::Reject;

/// Ends a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";

/// Ends a chunked body without trailer fields.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Writes the line ahead of a chunk's data. `length` must not be 0: that would end the body.
pub fn write_chunk_header(out: &mut Vec<u8>, length: usize) {
    debug_assert_ne!(length, 0, "an empty chunk ends the body");
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{length:x}\r\n");
}

/// 2^64 - 1 has as many.
const MAX_SIZE_DIGITS: u8 = 16;
/// Extensions of one message, all chunks together. Nobody uses them; one byte of data behind 16 KiB of extension is
/// an attack (CVE-2023-39326).
const MAX_EXTENSION_BYTES: u32 = 16 * 1024;
/// The trailer section, all of it.
const MAX_TRAILER_BYTES: u32 = 8 * 1024;
/// Fields in it.
const MAX_TRAILER_FIELDS: u8 = 64;
/// Longer than any name that is looked for.
const NAME_BYTES: usize = 24;

/// What the decoder has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing yet: all input is consumed, call again with what comes next.
    NeedMore,
    /// A piece of the body: this part of the input.
    Data(Range<usize>),
    /// The body has ended. What follows in the input is the next message.
    End,
}

/// One step of decoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// How much of the input is dealt with, an event's data included.
    pub consumed: usize,
    /// What it was.
    pub event: Event,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    LineStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    End,
}

/// Decodes one chunked body, however it is split on arrival. It keeps no data.
#[derive(Clone, Debug)]
pub struct ChunkedDecoder {
    state: State,
    upstream: bool,
    /// The size while it is read, then what is left of the chunk's data.
    remaining: u64,
    digits: u8,
    extension_bytes: u32,
    trailer_bytes: u32,
    trailer_fields: u8,
    name: [u8; NAME_BYTES],
    name_length: usize,
}

const BAD_SIZE: Reject = Reject::bad("chunk-size-invalid", "a chunk size is not a plain hexadecimal number");
const BAD_LINE: Reject =
    Reject::bad("chunk-framing-invalid", "a chunk does not end in CR LF where it should");
const BAD_EXTENSION: Reject =
    Reject::bad("chunk-extension-invalid", "a chunk extension is malformed or too long");
const BAD_TRAILER: Reject = Reject::bad("trailer-invalid", "a trailer field is malformed");
const LARGE_TRAILER: Reject = Reject::new(431, "trailer-too-large", "the trailer section is too large");
const FORBIDDEN: Reject = Reject::bad(
    "trailer-forbidden",
    "a trailer field belongs to framing or routing (RFC 9110 section 6.5.1)",
);

impl ChunkedDecoder {
    /// For the body of a request: what is wrong is the client's fault.
    pub fn request() -> Self {
        Self::new(false)
    }

    /// For the body of a response: what is wrong is the backend's fault (502).
    pub fn response() -> Self {
        Self::new(true)
    }

    fn new(upstream: bool) -> Self {
        Self {
            state: State::Size,
            upstream,
            remaining: 0,
            digits: 0,
            extension_bytes: 0,
            trailer_bytes: 0,
            trailer_fields: 0,
            name: [0; NAME_BYTES],
            name_length: 0,
        }
    }

    /// Whether the body has ended.
    pub fn is_end(&self) -> bool {
        self.state == State::End
    }

    /// Decodes up to the next piece of data, the end, or the end of the input. After an error the connection is lost:
    /// nobody knows where the next message starts.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, Reject> {
        self.step_through(input).map_err(|reject| if self.upstream { reject.upstream() } else { reject })
    }

    fn step_through(&mut self, input: &[u8]) -> Result<Decoded, Reject> {
        let mut at = 0;
        loop {
            if self.state == State::End {
                return Ok(Decoded { consumed: at, event: Event::End });
            }
            if at == input.len() {
                return Ok(Decoded { consumed: at, event: Event::NeedMore });
            }
            if self.state == State::Data {
                let wanted = usize::try_from(self.remaining).unwrap_or(usize::MAX);
                let end = at + wanted.min(input.len() - at);
                self.remaining -= (end - at) as u64;
                if self.remaining == 0 {
                    self.state = State::DataCr;
                }
                return Ok(Decoded { consumed: end, event: Event::Data(at..end) });
            }
            self.state = self.next_state(input[at])?;
            at += 1;
        }
    }

    fn next_state(&mut self, byte: u8) -> Result<State, Reject> {
        match (self.state, byte) {
            (State::Size, _) => self.size_byte(byte),
            (State::Extension, b'\r') => Ok(State::SizeLf),
            (State::Extension, b'\t' | b' '..=b'~') => {
                self.extension_bytes += 1;
                if self.extension_bytes > MAX_EXTENSION_BYTES {
                    Err(BAD_EXTENSION)
                } else {
                    Ok(State::Extension)
                }
            }
            (State::Extension, _) => Err(BAD_EXTENSION),
            (State::SizeLf, b'\n') if self.remaining == 0 => Ok(State::LineStart),
            (State::SizeLf, b'\n') => Ok(State::Data),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => {
                self.digits = 0;
                Ok(State::Size)
            }
            (State::LineStart, b'\r') => Ok(State::EndLf),
            (State::EndLf, b'\n') => Ok(State::End),
            (State::LineStart | State::TrailerName | State::TrailerValue | State::TrailerLf, _) => {
                self.trailer_byte(byte)
            }
            (State::SizeLf | State::DataCr | State::DataLf | State::EndLf, _) => Err(BAD_LINE),
            // Handled by the caller, who passes no byte here in these states.
            (State::Data | State::End, _) => Ok(self.state),
        }
    }

    fn size_byte(&mut self, byte: u8) -> Result<State, Reject> {
        match (char::from(byte).to_digit(16), byte) {
            (Some(digit), _) => {
                self.digits += 1;
                if self.digits > MAX_SIZE_DIGITS {
                    return Err(BAD_SIZE);
                }
                self.remaining = self.remaining << 4 | u64::from(digit);
                // As for Content-Length: never what a reader could take for a negative number.
                if self.remaining > i64::MAX as u64 { Err(BAD_SIZE) } else { Ok(State::Size) }
            }
            (None, b'\r') if self.digits > 0 => Ok(State::SizeLf),
            (None, b';') if self.digits > 0 => Ok(State::Extension),
            _ => Err(BAD_SIZE),
        }
    }

    fn trailer_byte(&mut self, byte: u8) -> Result<State, Reject> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > MAX_TRAILER_BYTES {
            return Err(LARGE_TRAILER);
        }
        match (self.state, byte) {
            (State::LineStart, b) if is_token_byte(b) => {
                self.trailer_fields += 1;
                if self.trailer_fields > MAX_TRAILER_FIELDS {
                    return Err(LARGE_TRAILER);
                }
                self.name[0] = b;
                self.name_length = 1;
                Ok(State::TrailerName)
            }
            (State::TrailerName, b':') => self.check_trailer_name(),
            (State::TrailerName, b) if is_token_byte(b) => {
                if let Some(place) = self.name.get_mut(self.name_length) {
                    *place = b;
                }
                self.name_length += 1;
                Ok(State::TrailerName)
            }
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, b) if is_value_byte(b) => Ok(State::TrailerValue),
            (State::TrailerLf, b'\n') => Ok(State::LineStart),
            _ => Err(BAD_TRAILER),
        }
    }

    fn check_trailer_name(&self) -> Result<State, Reject> {
        let name = self.name.get(..self.name_length).unwrap_or_default();
        match classify(name) {
            Field::Host | Field::ContentLength | Field::TransferEncoding => Err(FORBIDDEN),
            _ => Ok(State::TrailerValue),
        }
    }
}
