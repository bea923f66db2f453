//! What request and response heads have in common: where a head ends, its limits, its fields.

use std::mem::MaybeUninit;

use httparse::Header;
use memchr::memchr;

use super::field::is_value_byte;
use super::reject::Reject;

/// The version of a message. Every other is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP/1.0 (RFC 1945)
    Http10,
    /// HTTP/1.1 (RFC 9112)
    Http11,
}

impl Version {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }
}

/// Bounds on a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// All of it, in bytes.
    pub head: usize,
    /// Fields. At most [`MAX_HEADERS`] have an effect.
    pub headers: usize,
    /// The request target, in bytes.
    pub uri: usize,
}

/// The most fields that a head can have, whatever the limits say.
pub const MAX_HEADERS: usize = 256;

/// Room for the fields of one head. It is large: keep it in a plain function, not across an await.
pub type HeaderStorage<'b> = [MaybeUninit<Header<'b>>; MAX_HEADERS];

/// Room for the fields of one head, at no cost.
pub const fn header_storage<'b>() -> HeaderStorage<'b> {
    [const { MaybeUninit::uninit() }; MAX_HEADERS]
}

/// What is wrong with the lines of a head. Requests and responses give it different statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadError {
    /// A line ends in LF alone.
    BareLf,
    /// There are empty lines ahead of the start line, more than allowed.
    EmptyLine,
    /// A field line is malformed.
    Field(httparse::Error),
    /// There are more fields than allowed.
    TooManyFields,
    /// The head is longer than allowed.
    TooLarge,
}

impl From<HeadError> for Reject {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::BareLf => Self::bad("bare-line-feed", "a line ends in LF without CR"),
            HeadError::EmptyLine => Self::bad("empty-line", "there are empty lines ahead of the message"),
            HeadError::Field(httparse::Error::HeaderName) => {
                Self::bad("field-name-invalid", "a field name is not a token followed by a colon")
            }
            HeadError::Field(_) => {
                Self::bad("field-value-invalid", "a field value has a control character or a bare CR")
            }
            HeadError::TooManyFields => {
                Self::new(431, "too-many-request-headers", "the request has too many header fields")
            }
            HeadError::TooLarge => Self::new(431, "request-head-too-large", "the request head is too large"),
        }
    }
}

/// Looks for the end of one head. It remembers what it has seen, so each byte is looked at once or twice, however
/// small the pieces are in which the head arrives.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScan {
    /// Where the start line begins.
    start: usize,
    /// Everything before has been searched for line ends.
    scanned: usize,
    /// Where the line begins that is not complete.
    line: usize,
    /// Where the field line begins that is not yet checked; 0 before the start line is.
    checked: usize,
    /// Complete lines, the start line included.
    lines: usize,
}

impl HeadScan {
    /// A scan of a new head, which starts at the beginning of the buffer.
    pub const fn new() -> Self {
        Self { start: 0, scanned: 0, line: 0, checked: 0, lines: 0 }
    }

    /// Where the start line begins.
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    /// The start line, without its end, once it is complete.
    pub(crate) fn start_line<'b>(&self, buf: &'b [u8]) -> Option<&'b [u8]> {
        if self.lines == 0 {
            return None;
        }
        let end = self.start + memchr(b'\n', &buf[self.start..])?;
        buf[self.start..end].strip_suffix(b"\r")
    }

    /// Searches what is new for the empty line at the end of the head, and returns where the next message part starts.
    /// One empty line ahead of the head is skipped if `leading_line` (RFC 9112 section 2.2).
    pub(crate) fn advance(
        &mut self,
        buf: &[u8],
        leading_line: bool,
        max_fields: usize,
    ) -> Result<Option<usize>, HeadError> {
        while let Some(offset) = buf.get(self.scanned..).and_then(|new| memchr(b'\n', new)) {
            let lf = self.scanned + offset;
            if lf == self.line || buf[lf - 1] != b'\r' {
                return Err(HeadError::BareLf);
            }
            let empty = lf - 1 == self.line;
            self.line = lf + 1;
            self.scanned = lf + 1;
            if !empty {
                self.lines += 1;
                if self.lines > max_fields.min(MAX_HEADERS) + 1 {
                    return Err(HeadError::TooManyFields);
                }
            } else if self.lines > 0 {
                return Ok(Some(lf + 1));
            } else if leading_line && self.start == 0 {
                self.start = lf + 1;
            } else {
                return Err(HeadError::EmptyLine);
            }
        }
        self.scanned = buf.len();
        Ok(None)
    }

    /// Whether the start line is complete and [`Self::check_lines`] has not run since.
    pub(crate) fn start_line_is_new(&self) -> bool {
        self.lines > 0 && self.checked == 0
    }

    /// Checks the field lines of an incomplete head that have become complete since the last call.
    pub(crate) fn check_lines(&mut self, buf: &[u8]) -> Result<(), HeadError> {
        if self.checked == 0 {
            let Some(start_line) = self.start_line(buf) else { return Ok(()) };
            self.checked = self.start + start_line.len() + 2;
        }
        while self.checked < self.line {
            let rest = &buf[self.checked..self.line];
            let end = memchr(b'\n', rest).map_or(rest.len(), |lf| lf + 1);
            let mut field = [httparse::EMPTY_HEADER];
            // One line without the empty line after it is never complete: it is partial, or wrong.
            httparse::parse_headers(&rest[..end], &mut field).map_err(HeadError::Field)?;
            self.checked += end;
        }
        Ok(())
    }
}

/// Whether all bytes may stand in a field value.
pub(crate) fn is_value(value: &[u8]) -> bool {
    value.iter().all(|&b| is_value_byte(b))
}
