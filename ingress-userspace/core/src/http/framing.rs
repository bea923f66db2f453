//! Message length (RFC 9112 section 6), without a second opinion: what has two lengths is refused.

use super::reject::Reject;

/// How long a message body is, and how its end is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    Empty,
    /// `Content-Length`.
    Known(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Until the connection ends. Responses only.
    UntilClose,
}

/// The framing fields of one message, collected field by field.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FramingFields {
    pub(crate) content_length: Option<u64>,
    pub(crate) chunked: bool,
}

impl FramingFields {
    /// Takes in a `Content-Length` field. A second one is refused even if equal: RFC 9112 section 6.3 allows to, and
    /// a sender that repeats it has joined two messages or passed one on unread.
    pub(crate) fn add_content_length(&mut self, value: &[u8]) -> Result<(), Reject> {
        if self.content_length.is_some() {
            return Err(Reject::bad(
                "content-length-repeated",
                "there is more than one Content-Length field",
            ));
        }
        self.content_length = Some(parse_content_length(value)?);
        Ok(())
    }

    /// Takes in a `Transfer-Encoding` field. Chunked alone is implemented, and TE is never sent, so that nobody may
    /// use another coding (RFC 9112 section 7.4).
    pub(crate) fn add_transfer_encoding(&mut self, value: &[u8]) -> Result<(), Reject> {
        if self.chunked {
            return Err(Reject::bad("transfer-encoding-repeated", "there is more than one transfer coding"));
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Reject::bad("transfer-encoding-invalid", "the transfer coding is not just chunked"));
        }
        self.chunked = true;
        Ok(())
    }

    /// Refuses a message that has both (RFC 9112 section 6.3, item 3).
    pub(crate) fn check(self, http10: bool) -> Result<(), Reject> {
        if self.chunked && self.content_length.is_some() {
            return Err(Reject::bad(
                "framing-ambiguous",
                "there are both a Content-Length and a Transfer-Encoding field",
            ));
        }
        // RFC 9112 section 6.1: a sign that somebody before us forwarded what it did not understand.
        if self.chunked && http10 {
            return Err(Reject::bad("transfer-encoding-http10", "HTTP/1.0 has no Transfer-Encoding"));
        }
        Ok(())
    }

    /// The length of a request's body (RFC 9112 section 6.3, items 4 to 7).
    pub(crate) fn of_request(self) -> BodyLength {
        match (self.chunked, self.content_length) {
            (true, _) => BodyLength::Chunked,
            (false, Some(length)) => BodyLength::Known(length),
            (false, None) => BodyLength::Empty,
        }
    }

    /// The length of a response's body (RFC 9112 section 6.3, items 1 to 8).
    pub(crate) fn of_response(self, request_method: &str, status: u16) -> BodyLength {
        let bodiless = request_method == "HEAD"
            || matches!(status, 100..=199 | 204 | 304)
            || (request_method == "CONNECT" && matches!(status, 200..=299));
        match (bodiless, self.of_request()) {
            (true, _) => BodyLength::Empty,
            (false, BodyLength::Empty) => BodyLength::UntilClose,
            (false, length) => length,
        }
    }
}

/// Digits alone, up to 2^63 - 1: what no reader can take for a negative number. Leading zeros are the grammar's.
fn parse_content_length(value: &[u8]) -> Result<u64, Reject> {
    const BAD: Reject = Reject::bad("content-length-invalid", "Content-Length is not a plain decimal number");
    // 2^63 - 1 has 19 digits.
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return Err(BAD);
    }
    let length = value.iter().fold(0_u64, |n, d| n * 10 + u64::from(d - b'0'));
    if length > i64::MAX as u64 { Err(BAD) } else { Ok(length) }
}
