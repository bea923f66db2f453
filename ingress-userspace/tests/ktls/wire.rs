//! Records of TLS 1.3 with AES-128-GCM, made and opened by hand, so that they can be what no library sends.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;

use crate::rig::Client;

pub(crate) const ALERT: u8 = 21;
pub(crate) const HANDSHAKE: u8 = 22;
pub(crate) const DATA: u8 = 23;

struct Half {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl Half {
    fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Self {
        let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else { panic!("another suite") };
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key.as_ref()).unwrap());
        Self { key, iv: iv.as_ref().try_into().unwrap(), sequence }
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= number;
        }
        self.sequence += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

/// A client without a TLS library.
pub(crate) struct Wire {
    pub(crate) tcp: TcpStream,
    transmit: Half,
    receive: Half,
}

impl Wire {
    /// Takes a connection over that has nothing on its way.
    pub(crate) fn new(client: Client) -> Self {
        let secrets = client.tls.dangerous_extract_secrets().unwrap();
        Self { tcp: client.tcp, transmit: Half::new(secrets.tx), receive: Half::new(secrets.rx) }
    }

    /// A record (RFC 8446 section 5.2).
    pub(crate) fn record(&mut self, record_type: u8, content: &[u8], padding: usize) -> Vec<u8> {
        let mut inner = content.to_vec();
        inner.push(record_type);
        inner.resize(inner.len() + padding, 0);
        self.seal(inner)
    }

    /// A record of this inner plaintext.
    pub(crate) fn seal(&mut self, mut inner: Vec<u8>) -> Vec<u8> {
        let length = u16::try_from(inner.len() + 16).unwrap();
        let mut record = vec![DATA, 3, 3];
        record.extend_from_slice(&length.to_be_bytes());
        let nonce = self.transmit.nonce();
        self.transmit.key.seal_in_place_append_tag(nonce, Aad::from(&record), &mut inner).unwrap();
        record.extend_from_slice(&inner);
        record
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.tcp.write_all(bytes).unwrap();
    }

    /// The next record: its type and content. None at the end of TCP.
    pub(crate) fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut header = [0; 5];
        // A reset is an end too.
        self.tcp.read_exact(&mut header).ok()?;
        assert_eq!(header[..3], [DATA, 3, 3], "not a record");
        let mut body = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
        self.tcp.read_exact(&mut body).unwrap();
        let nonce = self.receive.nonce();
        let inner = self.receive.key.open_in_place(nonce, Aad::from(&header), &mut body).unwrap();
        let end = inner.iter().rposition(|byte| *byte != 0).unwrap();
        Some((inner[end], inner[..end].to_vec()))
    }

    /// Reads application data of this length; tickets are skipped.
    pub(crate) fn read(&mut self, length: usize) -> Vec<u8> {
        let mut data = Vec::new();
        while data.len() < length {
            match self.receive().expect("the end of TCP") {
                (DATA, content) => data.extend_from_slice(&content),
                (HANDSHAKE, _) => {}
                other => panic!("{other:?}"),
            }
        }
        data
    }

    /// The alert that comes next, if one comes before the end.
    pub(crate) fn alert(&mut self) -> Option<[u8; 2]> {
        match self.receive()? {
            (ALERT, content) => Some(content.try_into().unwrap()),
            other => panic!("{other:?}"),
        }
    }
}
