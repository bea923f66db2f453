//! TLS that is not ours to decrypt: the server name of the ClientHello chooses a backend, and the connection goes there as it
//! is, from its first byte on.
//!
//! ```text
//! ClientHello ──► name ──► table ──┬► terminated: the handshake begins with what was read
//!                                  └► passed through: connect ─► [PROXY header] ClientHello ─► relay both ways
//! ```

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use ingress_core::proxy_protocol::{Addresses, write_v2};
use ingress_core::table::{Backend, Denied, Passthrough, Rule};
use ingress_core::tls::client_hello::{ClientHello, Reader};
use tokio::net::TcpStream;

use crate::relay::{PlainStream, Tunnel, TunnelEnd, poll_tcp_read, scratch};
use crate::telemetry::RequestRecord;
use crate::telemetry::metrics::TransferKind;
use crate::upstream::{AcquireError, Lease};
use crate::worker::timers::{Bound, Timer};
use crate::worker::{ClassState, Worker};

/// What a connection begins with.
pub(super) struct Opening {
    /// All bytes that were read.
    pub(super) received: Vec<u8>,
    /// What they say, if it is a ClientHello; what else they are is for the TLS library to find out and to answer.
    pub(super) hello: Option<ClientHello>,
}

/// Reads up to the end of the ClientHello, or as far as it is clear that there is none.
#[derive(Default)]
pub(super) struct Opener(Reader);

impl Opener {
    /// Goes on until it is decided or the socket has nothing.
    pub(super) fn poll(&mut self, tcp: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<Opening>> {
        loop {
            let room = self.0.room();
            let (ended, hello) = ready!(scratch::with(|buffer| {
                let room = room.min(buffer.len());
                let read = ready!(poll_tcp_read(tcp, cx, &mut buffer[..room]))?;
                Poll::Ready(io::Result::Ok((read == 0, self.0.take(&buffer[..read]))))
            }))?;
            let hello = match hello {
                Ok(None) if !ended => continue,
                Ok(hello) => hello,
                Err(_) => None,
            };
            return Poll::Ready(Ok(Opening { received: std::mem::take(&mut self.0).into_received(), hello }));
        }
    }
}

/// A connection that is passed through.
pub(super) struct Passing {
    worker: Rc<Worker>,
    client: SocketAddr,
    /// Where the client has connected to.
    destination: SocketAddr,
    server_name: Box<str>,
    rule: Arc<Rule>,
    backend: Arc<Backend>,
    class: Rc<ClassState>,
    how: Passthrough,
    began: Instant,
}

impl Passing {
    /// Looks the server name up; `None` if the handshake is ours.
    pub(super) fn choose(
        worker: &Rc<Worker>,
        hello: Option<ClientHello>,
        client: SocketAddr,
        destination: SocketAddr,
    ) -> Option<Self> {
        let server_name = hello?.server_name?;
        let table = worker.shared.published.table();
        let rule = table.passthrough(&server_name)?;
        Some(Self {
            client,
            destination,
            rule: Arc::clone(rule),
            backend: Arc::clone(table.backend(rule.backend)),
            class: worker.class(&table, rule.class),
            how: rule.passthrough?,
            began: worker.now(),
            worker: Rc::clone(worker),
            server_name,
        })
    }

    /// Serves the connection to its end, which is written down.
    pub(super) async fn serve(self, timer: &Timer, tcp: TcpStream, hello: Vec<u8>) {
        let mut client = PlainStream::new(tcp);
        let mut tally = Tally::default();
        let error = match self.connect(timer, &mut tally).await {
            Ok(lease) => self.relay(timer, &mut client, lease, hello, &mut tally).await.err(),
            Err(why) => Some(why),
        };
        // The client learns of it before it is written down, because nothing else depends on its connection any more.
        drop(client);
        self.record(&tally, error);
    }

    async fn connect(&self, timer: &Timer, tally: &mut Tally) -> Result<Lease, &'static str> {
        if self.class.settings.connections.denied_sources.contain(self.client.ip()) {
            self.worker.metrics.connection_refused();
            return Err("denied-source");
        }
        if let Some(denied) = self.rule.denied {
            tracing::debug!(rule = &*self.rule.label, denied = Denied::as_str(denied), "connection refused");
            return Err("denied");
        }
        // Connecting has a bound of its own.
        timer.clear();
        let mut tried = Vec::new();
        loop {
            let error = match self.attempt(timer, &tried).await? {
                Ok(lease) => {
                    tally.endpoint = Some(lease.endpoint());
                    tally.connect = lease.connect_time();
                    return Ok(lease);
                }
                Err(error) => error,
            };
            self.worker.metrics.upstream_error(error.kind());
            tally.endpoint = error.endpoint().or(tally.endpoint);
            // Nothing was sent, so that another endpoint may be asked.
            let Some(endpoint) = error.endpoint().filter(|_| tried.is_empty()) else {
                return Err(error.kind());
            };
            if !self.worker.upstreams.spend_retry() {
                return Err(error.kind());
            }
            tally.retries += 1;
            tried.push(endpoint);
        }
    }

    async fn attempt(
        &self,
        timer: &Timer,
        tried: &[SocketAddr],
    ) -> Result<Result<Lease, AcquireError>, &'static str> {
        let mut opening = Box::pin(self.worker.upstreams.open(&self.backend, tried, self.class.upstream));
        timer.bound(|cx| opening.as_mut().poll(cx)).await.map_err(Bound::as_str)
    }

    /// Moves bytes both ways until both sides have ended.
    async fn relay(
        &self,
        timer: &Timer,
        client: &mut PlainStream,
        lease: Lease,
        hello: Vec<u8>,
        tally: &mut Tally,
    ) -> Result<(), &'static str> {
        let worker = &self.worker;
        let header = if self.how.proxy_protocol {
            write_v2(&Addresses { source: self.client, destination: self.destination })
        } else {
            Vec::new()
        };
        let (upstream, engagement) = lease.into_parts();
        let mut backend = PlainStream::new(upstream);
        let begin = [&*header, &hello].concat();
        let mut tunnel = Tunnel::new(worker.rungs(), (&mut *client, &begin), (&mut backend, &[]));
        drop(begin);
        drop(hello);
        let idle = self.class.settings.timeouts.idle;
        let end = tunnel.run(timer, || worker.now(), idle, client, &mut backend).await;
        let (up, down) = tunnel.moved();
        (tally.bytes_in, tally.bytes_out) = (up.saturating_sub(header.len() as u64), down);
        tunnel.count(&worker.metrics, TransferKind::Passthrough);
        match end {
            Ok(TunnelEnd::Complete) => {
                engagement.succeed(tally.connect.unwrap_or_default());
                Ok(())
            }
            // A reset goes through, because an end in order would say that nothing is missing.
            Ok(TunnelEnd::Client(_)) => {
                backend.abort();
                engagement.client_gone();
                Err("client-reset")
            }
            Ok(TunnelEnd::Backend(_)) => {
                client.abort();
                // Silence from the beginning is no answer.
                if down == 0 {
                    engagement.fail();
                } else {
                    engagement.client_gone();
                }
                Err("upstream-reset")
            }
            Err(bound) => {
                // Neither who lacks bytes nor who has sent them may see an end in order.
                if tunnel.owes(client, &mut backend) {
                    client.abort();
                    backend.abort();
                }
                if let Some(limit) = bound.limit() {
                    worker.metrics.limit_hit(limit);
                }
                engagement.client_gone();
                Err(bound.as_str())
            }
        }
    }

    fn record(&self, tally: &Tally, error: Option<&'static str>) {
        self.worker.metrics.finish_passthrough(&RequestRecord {
            client: self.client,
            scheme: "tls",
            host: &self.server_name,
            method: "",
            path: "",
            rule: Some(&self.rule),
            backend: Some(&self.backend),
            endpoint: tally.endpoint,
            status: 0,
            bytes_in: tally.bytes_in,
            bytes_out: tally.bytes_out,
            total: self.worker.now().duration_since(self.began),
            connect: tally.connect,
            first_byte: None,
            tls_version: None,
            tls_suite: None,
            request_id: "",
            error_class: error,
            protocol: "TLS",
            retries: tally.retries,
            subject: None,
            logged: self.class.settings.access_log.enabled,
        });
    }
}

/// What is known at the end.
#[derive(Default)]
struct Tally {
    endpoint: Option<SocketAddr>,
    connect: Option<Duration>,
    bytes_in: u64,
    bytes_out: u64,
    retries: u32,
}
