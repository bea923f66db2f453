//! What tests of this module share.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ingress_core::objects::NamespacedName;
use ingress_core::table::{BackendId, ClassId, PathType, Rule};

use super::RequestRecord;
use crate::sys::clock::Clock;

/// A request that nothing is special about.
pub(crate) fn record() -> RequestRecord<'static> {
    RequestRecord {
        client: SocketAddr::from((Ipv4Addr::new(192, 0, 2, 7), 50_000)),
        scheme: "https",
        host: "shop.example",
        method: "GET",
        path: "/",
        rule: None,
        backend: None,
        endpoint: None,
        status: 200,
        bytes_in: 0,
        bytes_out: 0,
        total: Duration::from_millis(1),
        connect: None,
        first_byte: None,
        tls_version: None,
        tls_suite: None,
        request_id: "00",
        error_class: None,
        protocol: "HTTP/1.1",
        retries: 0,
        subject: None,
        logged: true,
    }
}

/// A rule of an Ingress.
pub(crate) fn rule(namespace: &str, name: &str) -> Arc<Rule> {
    Arc::new(Rule {
        ingress: NamespacedName::new(namespace, name),
        host: "shop.example".into(),
        path: "/".into(),
        path_type: PathType::Prefix,
        label: format!("{namespace}/{name}/").into(),
        backend: BackendId(0),
        class: ClassId::CONFIGURATION,
        access: None,
        denied: None,
        tls: true,
        acme_http01: false,
        passthrough: None,
    })
}

/// A clock that stands.
pub(crate) struct StoppedClock(pub(crate) AtomicU64);

impl StoppedClock {
    /// A clock at that many microseconds after the epoch.
    pub(crate) fn at(micros: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(micros)))
    }
}

impl Clock for StoppedClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn since_epoch(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// Output that tests can read.
#[derive(Clone, Default)]
pub(crate) struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Output {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Output whose every write tells that it has begun, and then waits for leave: how much may be written, or an error.
pub(crate) struct Gate {
    output: Output,
    begun: SyncSender<()>,
    leave: Receiver<io::Result<usize>>,
}

/// The other side of a [`Gate`].
pub(crate) struct GateKeeper {
    pub(crate) begun: Receiver<()>,
    pub(crate) leave: SyncSender<io::Result<usize>>,
}

impl Gate {
    pub(crate) fn new(output: Output) -> (Self, GateKeeper) {
        let (begun, has_begun) = sync_channel(1000);
        let (give_leave, leave) = sync_channel(1000);
        (Self { output, begun, leave }, GateKeeper { begun: has_begun, leave: give_leave })
    }
}

impl Write for Gate {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let _ = self.begun.send(());
        // Without a keeper the gate is open.
        let most = self.leave.recv().unwrap_or(Ok(usize::MAX))?;
        self.output.write(&text[..text.len().min(most)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
