//! Reads the server name out of a ClientHello (RFC 8446 section 4.1.2, RFC 6066 section 3) without answering it: a
//! connection that is passed through is chosen by it.
//!
//! ```text
//! record   │ 22 │ 03 xx │ length (2) │ fragment …       the message may be cut anywhere, over any number of records
//! message  │ 01 │ length (3) │ version, random, session, suites, compression, extensions
//! ```
//!
//! What the reader takes is kept as it came: it goes on to the backend, or to the TLS library, to the byte.

#[cfg(test)]
mod tests;

use super::cursor::Cursor;

/// The most bytes that are read of a connection before it is decided. A ClientHello with post-quantum key shares has 2 KiB,
/// one with the tickets and padding of odd clients has less than 16 KiB.
pub const MAX_RECEIVED: usize = 32 * 1024;

/// The longest ClientHello.
const MAX_MESSAGE: usize = 16 * 1024;

/// The longest fragment of a record (RFC 8446 section 5.1).
const MAX_FRAGMENT: usize = 16 * 1024;

/// The header of a handshake message: its type and length.
const HEADER: usize = 4;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// Why a connection does not begin with a ClientHello that could be passed through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotHello {
    /// It is not TLS: another protocol, or SSL 2.0.
    NotTls,
    /// It is TLS that breaks the rules.
    Malformed,
    /// It is longer than any honest one.
    TooLong,
}

/// A ClientHello, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// The name that the client asks for, in lower case. With Encrypted Client Hello it is the public one of the outer
    /// message.
    pub server_name: Option<Box<str>>,
}

/// Takes a ClientHello piece by piece. Each byte is looked at once, however the pieces are cut.
#[derive(Debug, Default)]
pub struct Reader {
    received: Vec<u8>,
    /// How much of `received` has been looked at.
    seen: usize,
    /// How much of the present record's fragment has not come yet.
    fragment: usize,
    message: Vec<u8>,
}

impl Reader {
    /// Takes bytes as they come; `Some` when the ClientHello is complete. After that, or an error, the reader is done.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Option<ClientHello>, NotHello> {
        self.received.extend_from_slice(bytes);
        loop {
            if self.fragment == 0 && !self.record()? {
                return self.bounded();
            }
            let rest = &self.received[self.seen..];
            let taken = rest.len().min(self.fragment);
            self.message.extend_from_slice(&rest[..taken]);
            self.seen += taken;
            self.fragment -= taken;
            let length = self.length()?;
            if self.fragment > 0 {
                return self.bounded();
            }
            let body = self.message.get(HEADER..).unwrap_or_default();
            if length.is_some_and(|length| body.len() >= length) {
                // Nothing may follow it before it is answered (RFC 8446 section 5.1), least of all in its last record.
                let hello = parse(body).filter(|_| length == Some(body.len()));
                return hello.map(Some).ok_or(NotHello::Malformed);
            }
        }
    }

    /// How many more bytes may be taken.
    pub fn room(&self) -> usize {
        MAX_RECEIVED.saturating_sub(self.received.len())
    }

    /// Everything that was taken.
    pub fn into_received(self) -> Vec<u8> {
        self.received
    }

    fn bounded(&self) -> Result<Option<ClientHello>, NotHello> {
        if self.room() == 0 { Err(NotHello::TooLong) } else { Ok(None) }
    }

    /// Reads the header of the next record, if it is there.
    fn record(&mut self) -> Result<bool, NotHello> {
        let rest = &self.received[self.seen..];
        // What is wrong already does not become right by what follows.
        if rest.first().is_some_and(|kind| *kind != HANDSHAKE) || rest.get(1).is_some_and(|major| *major != 3)
        {
            return Err(if self.seen == 0 { NotHello::NotTls } else { NotHello::Malformed });
        }
        let Some([_, _, _, high, low]) = rest.first_chunk::<5>() else { return Ok(false) };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        // "Implementations MUST NOT send zero-length fragments of Handshake types" (RFC 8446 section 5.1).
        if length == 0 || length > MAX_FRAGMENT {
            return Err(NotHello::Malformed);
        }
        self.seen += 5;
        self.fragment = length;
        Ok(true)
    }

    /// The length of the message without its header, once that has come.
    fn length(&self) -> Result<Option<usize>, NotHello> {
        if self.message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(NotHello::Malformed);
        }
        let Some([_, high, middle, low]) = self.message.first_chunk::<HEADER>() else { return Ok(None) };
        let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
        if length > MAX_MESSAGE { Err(NotHello::TooLong) } else { Ok(Some(length)) }
    }
}

/// Reads a whole ClientHello; `None` if its lengths do not fit or its name is none.
fn parse(message: &[u8]) -> Option<ClientHello> {
    let mut hello = Cursor::new(message);
    hello.take(2 + 32)?;
    let session = hello.vector8()?;
    let suites = hello.vector16()?;
    let compressions = hello.vector8()?;
    if session.len() > 32 || suites.len() < 2 || suites.len() % 2 != 0 || compressions.is_empty() {
        return None;
    }
    // A client of TLS 1.2 may have no extensions at all.
    let extensions = if hello.is_empty() { &[] } else { hello.vector16()? };
    if !hello.is_empty() {
        return None;
    }
    let mut extensions = Cursor::new(extensions);
    let (mut named, mut server_name) = (false, None);
    while !extensions.is_empty() {
        let kind = extensions.number16()?;
        let content = extensions.vector16()?;
        if kind == SERVER_NAME {
            // "There MUST NOT be more than one extension of the same type" (RFC 8446 section 4.2).
            if std::mem::replace(&mut named, true) {
                return None;
            }
            server_name = name(content)?;
        }
    }
    Some(ClientHello { server_name })
}

/// The host name of the extension. The outer `None` refuses the message.
#[expect(clippy::option_option, reason = "a name that is none differs from no name")]
fn name(extension: &[u8]) -> Option<Option<Box<str>>> {
    let mut extension = Cursor::new(extension);
    let mut list = Cursor::new(extension.vector16()?);
    if !extension.is_empty() || list.is_empty() {
        return None;
    }
    let mut found = None;
    while !list.is_empty() {
        let kind = list.number8()?;
        let written = list.vector16()?;
        // "MUST NOT contain more than one name of the same name_type" (RFC 6066 section 3). No other type was ever defined.
        if kind != HOST_NAME || found.is_some() {
            return None;
        }
        found = Some(written);
    }
    let written = str::from_utf8(found?).ok()?;
    // "Literal IPv4 and IPv6 addresses are not permitted": clients that send one are served as if they had sent none.
    if written.parse::<std::net::IpAddr>().is_ok() {
        return Some(None);
    }
    is_name(written).then(|| Some(written.to_ascii_lowercase().into_boxed_str()))
}

/// Whether it is a name of the DNS without a trailing dot. Underscores are no letters of host names, and are in use.
fn is_name(written: &str) -> bool {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(inner)
    };
    written.len() <= 253 && written.split('.').all(label)
}
