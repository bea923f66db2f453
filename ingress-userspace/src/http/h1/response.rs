//! From a backend's bytes to what the client gets.

use ingress_core::http::{
    BodyLength, HeadScan, Reject, ResponseContext, ResponseHead, Version, header_storage,
    parse_response_resumed, write_response_head,
};

use super::body::{Body, BodyEnd};
use super::connection::Connection;
use super::decide::Request;
use crate::telemetry::metrics::Listener;

/// How many interim responses (1xx) one request may have. 103 (Early Hints) comes once or twice.
const MAX_INTERIM: u32 = 16;

/// What follows the head that is now in the connection's output.
pub(crate) enum Rest {
    /// Nothing more, or the rest of a body.
    Body(Body),
    /// Another protocol, beginning with these bytes of the backend.
    Tunnel(Vec<u8>),
}

/// A response whose head is in the connection's output, with what came of its body.
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    /// What follows.
    pub(crate) rest: Rest,
    /// Whether the backend's connection can be used again after the body.
    pub(crate) reusable: bool,
    /// Whether the client's connection ends with it.
    pub(crate) close: bool,
}

/// Collects a backend's bytes until the final head is complete.
#[derive(Default)]
pub(crate) struct Reader {
    received: Vec<u8>,
    scan: HeadScan,
    interim: u32,
}

/// Why a response is not forwarded.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Its head or framing.
    Reject(Reject),
    /// A switch of protocols that nobody asked for, or more interim responses than anybody needs.
    Unexpected,
}

impl From<Reject> for Refused {
    fn from(reject: Reject) -> Self {
        Self::Reject(reject)
    }
}

impl Reader {
    /// Whether nothing has come yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.received.is_empty() && self.interim == 0
    }

    /// Takes what was received; `Some` when the final head is complete.
    pub(crate) fn take(
        &mut self,
        connection: &mut Connection,
        request: &Request,
        bytes: &[u8],
    ) -> Result<Option<Response>, Refused> {
        if self.received.is_empty() {
            // The usual case: the whole head comes at once and is not copied.
            let used = self.step(connection, request, bytes)?;
            if let Step::Incomplete(used) = used {
                self.received.extend_from_slice(&bytes[used..]);
            }
            return Ok(used.response());
        }
        let mut received = std::mem::take(&mut self.received);
        received.extend_from_slice(bytes);
        let used = self.step(connection, request, &received)?;
        if let Step::Incomplete(used) = used {
            received.drain(..used);
            self.received = received;
        }
        Ok(used.response())
    }

    fn step(
        &mut self,
        connection: &mut Connection,
        request: &Request,
        bytes: &[u8],
    ) -> Result<Step, Refused> {
        let mut used = 0;
        loop {
            let mut storage = header_storage();
            let limits = connection.class.response_limits;
            let method = connection.names.method.as_str();
            let parsed =
                parse_response_resumed(&mut self.scan, &bytes[used..], &mut storage, &limits, method)?;
            let Some(head) = parsed else {
                return Ok(Step::Incomplete(used));
            };
            self.scan = HeadScan::new();
            let rest = &bytes[used + head.len..];
            if head.status == 101 {
                return switching(connection, request, &head, rest).map(Step::Final);
            }
            if head.status >= 200 {
                return last(connection, request, &head, rest).map(Step::Final);
            }
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Err(Refused::Unexpected);
            }
            interim(connection, request, &head);
            used += head.len;
        }
    }
}

#[expect(clippy::large_enum_variant, reason = "it is taken apart at once, and never kept")]
enum Step {
    /// So many bytes were used for interim responses.
    Incomplete(usize),
    Final(Response),
}

impl Step {
    fn response(self) -> Option<Response> {
        match self {
            Self::Incomplete(_) => None,
            Self::Final(response) => Some(response),
        }
    }
}

/// 100 (Continue) is ours to say; the others are for clients that know them (RFC 9110 section 15.2).
fn interim(connection: &mut Connection, request: &Request, head: &ResponseHead<'_>) {
    if head.status == 100 || request.version == Version::Http10 {
        return;
    }
    let context = ResponseContext {
        client_version: Version::Http11,
        close: false,
        hsts: None,
        body: BodyLength::Empty,
        added: b"",
    };
    write_response_head(&mut connection.output, head, &context);
}

fn switching(
    connection: &mut Connection,
    request: &Request,
    head: &ResponseHead<'_>,
    rest: &[u8],
) -> Result<Response, Refused> {
    if !request.upgrade || !head.upgrade {
        return Err(Refused::Unexpected);
    }
    let context = ResponseContext {
        client_version: Version::Http11,
        close: false,
        hsts: None,
        body: BodyLength::Empty,
        added: request.added.as_bytes(),
    };
    write_response_head(&mut connection.output, head, &context);
    Ok(Response { status: 101, rest: Rest::Tunnel(rest.to_vec()), reusable: false, close: true })
}

fn last(
    connection: &mut Connection,
    request: &Request,
    head: &ResponseHead<'_>,
    rest: &[u8],
) -> Result<Response, Refused> {
    // What has no length of its own is framed by chunks for those who know them, by close for HTTP/1.0.
    let framed = matches!(head.body, BodyLength::Chunked | BodyLength::UntilClose);
    let chunked_out = framed && request.version == Version::Http11;
    // A request that is still being sent cannot be followed by another.
    let draining = connection.worker.draining.get();
    let close = !request.keep_alive || !request.body.delivered() || (framed && !chunked_out) || draining;
    connection.input_abandoned |= draining;
    let context = ResponseContext {
        client_version: request.version,
        close,
        hsts: if connection.peer.listening == Listener::Https && request.rule.tls {
            connection.class.hsts.as_deref()
        } else {
            None
        },
        body: match (framed, chunked_out) {
            (true, true) => BodyLength::Chunked,
            (true, false) => BodyLength::UntilClose,
            _ => head.body,
        },
        added: request.added.as_bytes(),
    };
    write_response_head(&mut connection.output, head, &context);
    let mut body = Body::response(head.body, chunked_out, connection.worker.rungs());
    let used = match body.feed(rest, &mut connection.output) {
        Ok(used) => used,
        Err(BodyEnd::Malformed(reject)) => return Err(Refused::Reject(reject)),
        Err(_) => return Err(Refused::Unexpected),
    };
    // Bytes after the end of the response belong to nothing that was asked: that connection is not used again. Neither is
    // one on which the backend may have left content unread, nor, because such bytes may come later, one on which it has
    // answered HEAD for content that it may send all the same.
    let hidden = connection.names.method == "HEAD" && head.content_length != Some(0);
    let reusable = head.keep_alive && used == rest.len() && !request.odd_content && !hidden;
    Ok(Response { status: head.status, rest: Rest::Body(body), reusable, close })
}
