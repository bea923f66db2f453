//! What a test puts into a real API server, and Penstock in front of it.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use super::authority::{Authority, KeyKind, Pair};
use super::backend::RawBackend;
use super::client::Client;
use super::cluster::Kube;
use super::manifests::{Ingress, Manifests};
use super::process::Penstock;

/// An address of this machine that an EndpointSlice may hold: not a loopback one. Packets to it do not leave the machine.
pub(crate) fn own_address() -> IpAddr {
    // No packet is sent: the kernel chooses the address that it would send from (RFC 5737 names a network of nobody).
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").expect("a machine with a network");
    socket.local_addr().unwrap().ip()
}

/// A backend that an EndpointSlice may name.
pub(crate) fn backend(name: &'static str) -> RawBackend {
    RawBackend::named_at(&own_address().to_string(), name)
}

/// A namespace of a test, with what it needs to make sites in it.
pub(crate) struct Space {
    pub(crate) kube: Kube,
    pub(crate) namespace: String,
    pub(crate) ca: Authority,
}

impl Space {
    /// A new namespace, in a cluster that has the class `penstock` and knows our kinds.
    pub(crate) fn new(kube: &Kube, name: &str) -> Self {
        kube.define_kinds();
        let space = Self { kube: kube.clone(), namespace: kube.namespace(name), ca: Authority::new() };
        space.put(|manifests| manifests.class("penstock", "penstock.dev/ingress-controller", false));
        space
    }

    /// Applies the objects that are written into a directory.
    #[track_caller]
    pub(crate) fn put(&self, write: impl FnOnce(&Manifests) -> &Manifests) {
        let manifests = Manifests::empty();
        write(&manifests);
        for file in fs::read_dir(manifests.path()).unwrap() {
            self.kube.apply(&self.namespace, &fs::read_to_string(file.unwrap().path()).unwrap());
        }
    }

    /// A certificate for a host.
    pub(crate) fn pair(&self, host: &str) -> Pair {
        self.ca.issue(&[host], KeyKind::Ecdsa)
    }

    /// All that serves a host, each object named as the first label of the host. The Ingress comes last.
    #[track_caller]
    pub(crate) fn site(&self, host: &str, endpoints: &[SocketAddr]) -> Pair {
        let pair = self.pair(host);
        let (namespace, name) = (&*self.namespace, name_of(host));
        self.put(|m| m.service(namespace, name, endpoints));
        self.put(|m| m.secret(namespace, name, &pair));
        self.put(|m| m.ingress(&self.ingress(host)));
        pair
    }

    /// The Ingress of a site.
    pub(crate) fn ingress(&self, host: &str) -> Ingress {
        let name = name_of(host);
        Ingress::new(&self.namespace, name).path(host, "/", "Prefix", name).tls(&[host], name)
    }

    /// A new connection to Penstock, which checks the certificate.
    #[track_caller]
    pub(crate) fn client(&self, penstock: &Penstock, host: &str) -> Client {
        Client::https(penstock.https(), host, &self.ca.client())
    }

    /// The status of a request on a new connection; 0 if the certificate is not the host's.
    pub(crate) fn status(&self, penstock: &Penstock, host: &str) -> u16 {
        let client = Client::try_https(penstock.https(), host, &self.ca.client());
        client.map_or(0, |mut client| client.get(host, "/").status())
    }

    /// Waits until requests for the host are answered so.
    #[track_caller]
    pub(crate) fn wait_status(&self, penstock: &Penstock, host: &str, status: u16) {
        let what = format!("{host} is answered {status}");
        penstock.eventually(&what, |penstock| self.status(penstock, host) == status);
    }
}

/// The name of the objects of a host.
pub(crate) fn name_of(host: &str) -> &str {
    host.split('.').next().unwrap()
}
