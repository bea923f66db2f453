//! Records that are no application data: what they say to a server after the handshake, and what is wrong with them.

use std::io;

/// `change_cipher_spec`, `alert`, `handshake` and `application_data` (RFC 8446 section 5.1).
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;

const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// Descriptions of alerts (RFC 8446 section 6, RFC 5246 section 7.2).
mod description {
    pub(super) const CLOSE_NOTIFY: u8 = 0;
    pub(super) const UNEXPECTED_MESSAGE: u8 = 10;
    pub(super) const ILLEGAL_PARAMETER: u8 = 47;
    pub(super) const DECODE_ERROR: u8 = 50;
    pub(super) const INTERNAL_ERROR: u8 = 80;
    pub(super) const USER_CANCELED: u8 = 90;
    pub(super) const NO_RENEGOTIATION: u8 = 100;
}

/// Types of handshake messages.
const CLIENT_HELLO: u8 = 1;
const KEY_UPDATE: u8 = 24;

/// The alert that says goodbye.
pub(super) const CLOSE_NOTIFY: [u8; 2] = [WARNING, description::CLOSE_NOTIFY];
/// The answer to an attempt to renegotiate.
pub(super) const NO_RENEGOTIATION: [u8; 2] = [WARNING, description::NO_RENEGOTIATION];
/// A key update that asks for none in return (`update_not_requested`).
pub(super) const KEY_UPDATE_MESSAGE: [u8; 5] = [KEY_UPDATE, 0, 0, 1, 0];

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1_2,
    V1_3,
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The client will send no more.
    Goodbye,
    /// Nothing that matters.
    Nothing,
    /// The next record from the client is made with its next key.
    KeyUpdate {
        /// Whether it wants the same of us.
        answer: bool,
    },
    /// The client wants to negotiate anew (TLS 1.2).
    Renegotiation,
}

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// The client has ended the connection by an alert.
    #[error("the client sent the TLS alert {0}")]
    Alert(u8),
    /// The client violates the protocol.
    #[error("the client violates TLS: {what}")]
    Protocol {
        /// How.
        what: &'static str,
        /// How it is told.
        alert: u8,
    },
    /// The kernel does not do what it should.
    #[error("the kernel refuses: {0}")]
    Kernel(&'static str),
}

impl Fault {
    fn unexpected(what: &'static str) -> Self {
        Self::Protocol { what, alert: description::UNEXPECTED_MESSAGE }
    }

    /// The alert to send; none answers an alert.
    pub(super) fn alert(self) -> Option<[u8; 2]> {
        match self {
            Self::Alert(_) => None,
            Self::Protocol { alert, .. } => Some([FATAL, alert]),
            Self::Kernel(_) => Some([FATAL, description::INTERNAL_ERROR]),
        }
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        Self::new(io::ErrorKind::InvalidData, fault)
    }
}

/// How much of a record is looked at: alerts have 2 bytes, key updates 5.
const HEAD: usize = 8;

/// A record, put together from what was received of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Control {
    record_type: u8,
    head: [u8; HEAD],
    length: usize,
}

impl Control {
    /// Adds a part. Parts of two records never meet, because the kernel gives one out to its end first.
    pub(super) fn add(&mut self, record_type: u8, part: &[u8]) {
        self.record_type = record_type;
        let start = self.length.min(HEAD);
        let count = part.len().min(HEAD - start);
        self.head[start..start + count].copy_from_slice(&part[..count]);
        self.length += part.len();
    }

    /// Takes the whole record and says what it means.
    pub(super) fn take(&mut self, version: Version) -> Result<Said, Fault> {
        let Self { record_type, head, length } = std::mem::take(self);
        let content = &head[..length.min(HEAD)];
        match (record_type, version) {
            (ALERT, _) if length == 2 => alert(version, head[0], head[1]),
            (ALERT, _) => {
                Err(Fault::Protocol { what: "an alert of another length", alert: description::DECODE_ERROR })
            }
            (HANDSHAKE, Version::V1_3) => key_update(content, length),
            (HANDSHAKE, Version::V1_2) if content.first() == Some(&CLIENT_HELLO) => Ok(Said::Renegotiation),
            (HANDSHAKE, Version::V1_2) => Err(Fault::unexpected("a handshake message after the handshake")),
            _ => Err(Fault::unexpected("a record of another type")),
        }
    }
}

fn alert(version: Version, level: u8, which: u8) -> Result<Said, Fault> {
    match (which, level, version) {
        (description::CLOSE_NOTIFY, _, _) => Ok(Said::Goodbye),
        // Some clients say this before close_notify; it ends nothing by itself.
        (description::USER_CANCELED, WARNING, _) | (_, WARNING, Version::V1_2) => Ok(Said::Nothing),
        _ => Err(Fault::Alert(which)),
    }
}

/// A handshake message must not span a change of keys (RFC 8446 section 5.1), so a key update is alone in its record.
fn key_update(content: &[u8], length: usize) -> Result<Said, Fault> {
    match *content {
        [KEY_UPDATE, 0, 0, 1, request @ (0 | 1)] if length == 5 => {
            Ok(Said::KeyUpdate { answer: request == 1 })
        }
        [KEY_UPDATE, 0, 0, 1, _] if length == 5 => Err(Fault::Protocol {
            what: "a key update of another kind",
            alert: description::ILLEGAL_PARAMETER,
        }),
        [KEY_UPDATE, ..] => Err(Fault::unexpected("a key update that is not alone in its record")),
        _ => Err(Fault::unexpected("a handshake message after the handshake")),
    }
}

/// How often a client may do what is allowed and useless; the numbers are those of BoringSSL and rustls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    warnings: u8,
    renegotiations: u8,
    /// Since the last application data.
    key_updates: u8,
    /// In a row.
    empty_records: u8,
}

impl Default for Patience {
    fn default() -> Self {
        Self { warnings: 4, renegotiations: 1, key_updates: 32, empty_records: 32 }
    }
}

impl Patience {
    /// Application data has come.
    pub(super) fn data(&mut self) {
        let fresh = Self::default();
        (self.key_updates, self.empty_records) = (fresh.key_updates, fresh.empty_records);
    }

    /// A record without content has come.
    pub(super) fn empty(&mut self) -> Result<(), Fault> {
        spend(&mut self.empty_records, "too many empty records")
    }

    /// A record has come that says this.
    pub(super) fn said(&mut self, said: Said) -> Result<(), Fault> {
        match said {
            Said::Goodbye => Ok(()),
            Said::Nothing => spend(&mut self.warnings, "too many warnings"),
            Said::KeyUpdate { .. } => spend(&mut self.key_updates, "too many key updates"),
            Said::Renegotiation => spend(&mut self.renegotiations, "too many attempts to renegotiate"),
        }
    }
}

fn spend(left: &mut u8, what: &'static str) -> Result<(), Fault> {
    *left = left.checked_sub(1).ok_or(Fault::unexpected(what))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(version: Version, record_type: u8, content: &[u8]) -> Result<Said, Fault> {
        let whole = {
            let mut control = Control::default();
            control.add(record_type, content);
            control.take(version)
        };
        // However it is cut, it says the same.
        let mut control = Control::default();
        for byte in content {
            control.add(record_type, std::slice::from_ref(byte));
        }
        if !content.is_empty() {
            assert_eq!(control.take(version), whole);
        }
        whole
    }

    fn alert_of(result: Result<Said, Fault>) -> Option<u8> {
        result.unwrap_err().alert().map(|[level, which]| {
            assert_eq!(level, FATAL);
            which
        })
    }

    #[test]
    fn alerts_end_the_connection_in_order_or_not() {
        for version in [Version::V1_2, Version::V1_3] {
            assert_eq!(read(version, ALERT, &CLOSE_NOTIFY), Ok(Said::Goodbye));
            assert_eq!(read(version, ALERT, &[WARNING, 90]), Ok(Said::Nothing));
            assert_eq!(read(version, ALERT, &[FATAL, 80]), Err(Fault::Alert(80)));
            assert_eq!(alert_of(read(version, ALERT, &[FATAL, 80])), None);
            assert_eq!(alert_of(read(version, ALERT, &[])), Some(50));
            assert_eq!(alert_of(read(version, ALERT, &[1])), Some(50));
            assert_eq!(alert_of(read(version, ALERT, &[1, 0, 1, 0])), Some(50));
        }
        assert_eq!(read(Version::V1_2, ALERT, &[WARNING, 100]), Ok(Said::Nothing));
        assert_eq!(read(Version::V1_3, ALERT, &[WARNING, 100]), Err(Fault::Alert(100)));
    }

    #[test]
    fn of_handshake_messages_only_key_updates_are_taken() {
        let read_1_3 = |content: &[u8]| read(Version::V1_3, HANDSHAKE, content);
        assert_eq!(read_1_3(&KEY_UPDATE_MESSAGE), Ok(Said::KeyUpdate { answer: false }));
        assert_eq!(read_1_3(&[24, 0, 0, 1, 1]), Ok(Said::KeyUpdate { answer: true }));
        assert_eq!(alert_of(read_1_3(&[24, 0, 0, 1, 2])), Some(47));
        assert_eq!(alert_of(read_1_3(&[24, 0, 0, 1])), Some(10));
        assert_eq!(alert_of(read_1_3(&[24, 0, 0, 1, 0, 24, 0, 0, 1, 0])), Some(10));
        // NewSessionTicket is a server's message.
        assert_eq!(alert_of(read_1_3(&[4, 0, 0, 1, 0])), Some(10));
        assert_eq!(alert_of(read_1_3(&[])), Some(10));
        assert_eq!(alert_of(read(Version::V1_2, HANDSHAKE, &KEY_UPDATE_MESSAGE)), Some(10));
        assert_eq!(read(Version::V1_2, HANDSHAKE, &[1; 300]), Ok(Said::Renegotiation));
    }

    #[test]
    fn other_types_are_refused() {
        for record_type in [0, 20, 24, 255] {
            assert_eq!(alert_of(read(Version::V1_3, record_type, &[1])), Some(10));
        }
    }

    #[test]
    fn patience_ends() {
        let times = |said| {
            let mut patience = Patience::default();
            (0..100).take_while(|_| patience.said(said).is_ok()).count()
        };
        assert_eq!(times(Said::Nothing), 4);
        assert_eq!(times(Said::Renegotiation), 1);
        assert_eq!(times(Said::KeyUpdate { answer: true }), 32);
        let mut patience = Patience::default();
        for _ in 0..100 {
            patience.said(Said::KeyUpdate { answer: false }).unwrap();
            patience.empty().unwrap();
            patience.data();
        }
        assert_eq!((0..100).take_while(|_| patience.empty().is_ok()).count(), 32);
    }
}
