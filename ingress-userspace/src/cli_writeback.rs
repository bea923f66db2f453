//! The flags of `penstock serve` about what is written to the API server.

use clap::Args;
use ingress_core::objects::{Kind, NamespacedName};

use crate::control::writeback::{Address, AddressSource, Settings, Terms};
use crate::sys::rng::{Rng as _, SplitMix64};

/// What is written to the API server, and as whom. Without the API server these flags have no effect.
#[derive(Args, Clone, Debug)]
pub struct WritebackFlags {
    /// Publish the addresses of this Service in the status of Ingresses.
    #[arg(long, value_name = "NAMESPACE/NAME", env = "PENSTOCK_PUBLISH_SERVICE", value_parser = service_name)]
    pub publish_service: Option<NamespacedName>,
    /// Publish this IP address or host name in the status of Ingresses. Repeatable.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "PENSTOCK_PUBLISH_ADDRESS",
        value_delimiter = ',',
        conflicts_with = "publish_service"
    )]
    pub publish_address: Vec<Address>,
    /// Publish the addresses of the nodes on which ready pods of --pod-selector run.
    #[arg(
        long,
        env = "PENSTOCK_PUBLISH_NODE_ADDRESSES",
        conflicts_with_all = ["publish_service", "publish_address"],
        requires = "pod_selector"
    )]
    pub publish_node_addresses: bool,
    /// Label selector of Penstock's own pods in its namespace, for --publish-node-addresses.
    #[arg(long, value_name = "SELECTOR", env = "PENSTOCK_POD_SELECTOR")]
    pub pod_selector: Option<String>,
    /// The Lease, in Penstock's own namespace, by which the replicas agree on who writes.
    #[arg(long, value_name = "NAME", env = "PENSTOCK_LEASE_NAME", default_value = "penstock")]
    pub lease_name: String,
    /// The name of this pod, by which it holds the Lease; else one is made of the host name.
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pub pod_name: Option<String>,
    /// Penstock's own namespace; else that of the ServiceAccount, or of the current context.
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE")]
    pub pod_namespace: Option<String>,
}

fn service_name(text: &str) -> Result<NamespacedName, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(NamespacedName::new(namespace, name))
        }
        _ => Err("it is not of the form namespace/name".to_owned()),
    }
}

impl WritebackFlags {
    /// The settings that follow. `own_namespace` is what the client's configuration says, `namespaces` are those that
    /// are watched.
    pub fn settings(&self, own_namespace: &str, controller: &str, namespaces: Vec<String>) -> Settings {
        let namespace = self.pod_namespace.clone().unwrap_or_else(|| own_namespace.to_owned());
        let addresses = match (&self.publish_service, &*self.publish_address, &self.pod_selector) {
            (Some(service), ..) => AddressSource::Service(service.clone()),
            (None, [_, ..], _) => AddressSource::Fixed(self.publish_address.clone()),
            (None, [], Some(selector)) if self.publish_node_addresses => {
                AddressSource::Nodes { namespace: namespace.clone(), selector: selector.clone() }
            }
            _ => AddressSource::Nothing,
        };
        Settings {
            namespace,
            lease: self.lease_name.clone(),
            terms: Terms::default(),
            identity: self.pod_name.clone().filter(|name| !name.is_empty()).unwrap_or_else(made_identity),
            controller: controller.to_owned(),
            addresses,
            namespaces,
            conditions: vec![Kind::ProxyClass, Kind::IdentityProvider, Kind::AccessPolicy],
        }
    }
}

/// The name of the host and something that no other process on it has.
fn made_identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = Some(host.trim()).filter(|host| !host.is_empty()).unwrap_or("penstock");
    format!("{host}_{:016x}", SplitMix64::new().next_u64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: WritebackFlags,
    }

    fn parse(args: &[&str]) -> Result<Settings, clap::Error> {
        let line = Line::try_parse_from([&["penstock"], args].concat())?;
        Ok(line.flags.settings("own", "c.example/c", Vec::new()))
    }

    #[test]
    fn each_source_of_addresses_has_its_flag() {
        assert_eq!(parse(&[]).unwrap().addresses, AddressSource::Nothing);
        let fixed = parse(&["--publish-address", "192.0.2.1,lb.example"]).unwrap().addresses;
        let AddressSource::Fixed(fixed) = fixed else { panic!("{fixed:?}") };
        assert_eq!(fixed.len(), 2);
        let service = parse(&["--publish-service", "edge/proxy"]).unwrap().addresses;
        assert_eq!(service, AddressSource::Service(NamespacedName::new("edge", "proxy")));
        let args = ["--publish-node-addresses", "--pod-selector", "app=penstock", "--pod-namespace", "edge"];
        let nodes = parse(&args).unwrap();
        let (namespace, selector) = ("edge".to_owned(), "app=penstock".to_owned());
        assert_eq!(nodes.addresses, AddressSource::Nodes { namespace, selector });
        assert_eq!(nodes.namespace, "edge");
    }

    #[test]
    fn only_one_source_is_taken() {
        for args in [
            &["--publish-address", "192.0.2.1", "--publish-service", "a/b"][..],
            &["--publish-node-addresses"],
            &["--publish-service", "b"],
            &["--publish-address", "Not A Name"],
        ] {
            assert!(parse(args).is_err(), "{args:?}");
        }
    }

    #[test]
    fn the_identity_is_the_pod_or_unlike_any_other() {
        assert_eq!(parse(&["--pod-name", "penstock-x"]).unwrap().identity, "penstock-x");
        let (first, second) = (parse(&[]).unwrap(), parse(&[]).unwrap());
        assert_eq!((first.namespace.as_str(), first.lease.as_str()), ("own", "penstock"));
        assert_ne!(first.identity, second.identity);
    }
}
