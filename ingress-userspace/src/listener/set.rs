//! All listening sockets of a process: some inherited from the process before, the others bound.

use std::net::{SocketAddr, TcpListener};

use super::bind::bind_reuseport;
use super::handover::{Estate, Inherited, Role};
use crate::admin;
use crate::telemetry::metrics::Listener;

/// Where to listen.
pub(crate) struct Addresses<'a> {
    pub(crate) http: &'a [SocketAddr],
    pub(crate) https: &'a [SocketAddr],
    pub(crate) admin: &'a [SocketAddr],
}

impl Addresses<'_> {
    /// Where clients come.
    pub(crate) fn of_clients(&self) -> Vec<SocketAddr> {
        [self.http, self.https].concat()
    }
}

/// The listening sockets.
pub(crate) struct ListenerSet {
    /// Those of each worker.
    pub(crate) by_worker: Vec<Vec<(Listener, TcpListener)>>,
    /// Those of the admin server.
    pub(crate) admin: Vec<TcpListener>,
    /// Whether the process before serves the admin sockets until it drains.
    pub(crate) admin_is_inherited: bool,
    /// The port of the first HTTPS listener.
    pub(crate) https_port: Option<u16>,
    /// What a successor gets.
    pub(crate) estate: Estate,
}

impl ListenerSet {
    /// Takes what was inherited for these addresses, and binds the rest.
    pub(crate) fn new(
        addresses: &Addresses<'_>,
        workers: usize,
        mut inherited: Inherited,
    ) -> Result<Self, String> {
        let mut set = Self {
            by_worker: (0..workers).map(|_| Vec::new()).collect(),
            admin: Vec::new(),
            admin_is_inherited: false,
            https_port: None,
            estate: Estate::default(),
        };
        for (kind, all) in [(Listener::Http, addresses.http), (Listener::Https, addresses.https)] {
            for &address in all {
                set.open(kind, address, inherited.take(kind.into(), address))?;
            }
        }
        for &address in addresses.admin {
            set.open_admin(address, inherited.take(Role::Admin, address))?;
        }
        Ok(set)
    }

    fn open(
        &mut self,
        kind: Listener,
        address: SocketAddr,
        inherited: Vec<TcpListener>,
    ) -> Result<(), String> {
        let scheme = kind.as_str();
        let failed = |error| {
            format!("cannot listen on {address} for {scheme}: {error}; choose another with --{scheme}")
        };
        let workers = self.by_worker.len();
        let bound = bind_reuseport(address, workers, inherited).map_err(failed)?;
        let local = bound[0].local_addr().map_err(failed)?;
        tracing::info!(kind = scheme, address = %local, "listening");
        if kind == Listener::Https {
            self.https_port.get_or_insert(local.port());
        }
        for (at, listener) in bound.into_iter().enumerate() {
            self.estate.add(kind.into(), &listener).map_err(failed)?;
            // The process before may have had more workers: each of its sockets has a queue, which somebody must empty.
            self.by_worker[at % workers].push((kind, listener));
        }
        Ok(())
    }

    fn open_admin(&mut self, address: SocketAddr, inherited: Vec<TcpListener>) -> Result<(), String> {
        self.admin_is_inherited |= !inherited.is_empty();
        let listeners = if inherited.is_empty() {
            vec![admin::bind(address).map_err(|error| error.to_string())?]
        } else {
            inherited
        };
        for listener in listeners {
            self.estate.add(Role::Admin, &listener).map_err(|error| error.to_string())?;
            self.admin.push(listener);
        }
        Ok(())
    }
}
