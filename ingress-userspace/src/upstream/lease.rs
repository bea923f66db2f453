//! A connection lent to one request.

use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::{Bounds, EndpointState, Worker};

/// A place in an endpoint's queue: counted from the choice of the endpoint until it is dropped.
pub(super) struct Reservation {
    pub(super) worker: Rc<Worker>,
    pub(super) endpoint: Rc<EndpointState>,
    pub(super) bounds: Bounds,
}

impl Reservation {
    pub(super) fn new(worker: Rc<Worker>, endpoint: Rc<EndpointState>, bounds: Bounds) -> Self {
        endpoint.health.begin();
        worker.stats.active.add(1);
        Self { worker, endpoint, bounds }
    }

    pub(super) fn failure(&self) {
        let Worker { clock, stats, .. } = &*self.worker;
        if self.endpoint.health.failure(self.bounds.policy, clock.now()) {
            stats.ejections.add(1);
            tracing::warn!(endpoint = %self.endpoint.key.address, "endpoint ejected after repeated failures");
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.endpoint.health.end();
        self.worker.stats.active.sub(1);
    }
}

/// A connection lent to one request. Say how the request went with one of the methods that take `self`; dropping the
/// lease closes the connection and says nothing about the endpoint.
#[must_use = "dropping a lease closes its connection"]
pub struct Lease {
    stream: TcpStream,
    reserved: Reservation,
    connect_time: Option<Duration>,
}

/// What is left of a lease whose connection will serve no other request: its place in the endpoint's queue. Say how it went, as with a
/// lease.
#[must_use = "dropping it says nothing about the endpoint"]
pub struct Engagement {
    reserved: Reservation,
}

impl Engagement {
    /// As [`Lease::succeed`] of a connection that is not reusable.
    pub fn succeed(self, first_byte: Duration) {
        let now = self.reserved.worker.clock.now();
        self.reserved.endpoint.health.success(first_byte, now);
    }

    /// As [`Lease::fail`].
    pub fn fail(self) {
        self.reserved.failure();
    }

    /// As [`Lease::client_gone`].
    pub fn client_gone(self) {}
}

impl Lease {
    pub(super) fn new(stream: TcpStream, reserved: Reservation, connect_time: Option<Duration>) -> Self {
        Self { stream, reserved, connect_time }
    }

    /// The connection.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Takes the connection out of it, for a use that ends it.
    pub fn into_parts(self) -> (TcpStream, Engagement) {
        (self.stream, Engagement { reserved: self.reserved })
    }

    /// Whether an earlier request used the connection.
    pub fn reused(&self) -> bool {
        self.connect_time.is_none()
    }

    /// Where it leads.
    pub fn endpoint(&self) -> SocketAddr {
        self.reserved.endpoint.key.address
    }

    /// How long the connect took; `None` if the connection was reused.
    pub fn connect_time(&self) -> Option<Duration> {
        self.connect_time
    }

    /// The response is complete. `first_byte` is the time from the end of the request to the first byte of the
    /// response. `reusable` says that the connection stands at a message boundary and stays open (RFC 9112 section
    /// 9.3): then it serves another request.
    pub fn succeed(self, first_byte: Duration, reusable: bool) {
        let Self { stream, reserved, .. } = self;
        let Worker { clock, stats, .. } = &*reserved.worker;
        let now = clock.now();
        reserved.endpoint.health.success(first_byte, now);
        if reusable {
            reserved.endpoint.pool.put(stream, reserved.bounds, now, stats);
        }
    }

    /// The endpoint failed: no response in time, a reset, or bytes that are no HTTP. It counts towards ejection.
    pub fn fail(self) {
        self.reserved.failure();
    }

    /// A reused connection that was closed before the first byte of a response. That is how keep-alive ends (RFC 9112
    /// section 9.3.1), and no failure of the endpoint.
    pub fn stale(self) {
        self.reserved.worker.stats.stale.add(1);
    }

    /// The client went away before the response was complete: nothing is known of the endpoint.
    pub fn client_gone(self) {}
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("endpoint", &self.endpoint())
            .field("connect_time", &self.connect_time)
            .finish_non_exhaustive()
    }
}
