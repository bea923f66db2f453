//! An address at which clients reach the proxies.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::networking::v1::IngressLoadBalancerIngress;

/// An entry of `status.loadBalancer.ingress`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// `ip`
    Ip(IpAddr),
    /// `hostname`
    Hostname(String),
}

impl Address {
    fn new(ip: Option<&str>, hostname: Option<&str>) -> Option<Self> {
        let ip = ip.and_then(|ip| ip.parse().ok()).map(Self::Ip);
        ip.or_else(|| hostname.and_then(|name| Self::from_str(name).ok()))
    }

    /// Reads an entry; `None` if it has neither address nor name, or more than that.
    pub(super) fn of_entry(entry: &IngressLoadBalancerIngress) -> Option<Self> {
        let plain = entry.ports.as_ref().is_none_or(Vec::is_empty);
        let one = entry.ip.is_some() != entry.hostname.is_some();
        Self::new(entry.ip.as_deref(), entry.hostname.as_deref()).filter(|_| plain && one)
    }

    /// The entry.
    pub(super) fn entry(&self) -> IngressLoadBalancerIngress {
        let (ip, hostname) = match self {
            Self::Ip(ip) => (Some(ip.to_string()), None),
            Self::Hostname(name) => (None, Some(name.clone())),
        };
        IngressLoadBalancerIngress { ip, hostname, ports: None }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Hostname(name) => name.fmt(f),
        }
    }
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither an IP address nor a DNS name in lower case, as lb.example.com")]
pub struct AddressError;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        let label = |label: &str| {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
            let bytes = label.as_bytes();
            bytes.len() <= 63
                && bytes.first().is_some_and(|b| plain(*b))
                && bytes.last().is_some_and(|b| plain(*b))
                && bytes.iter().all(|b| plain(*b) || *b == b'-')
        };
        // What has only digits and dots was meant as an IP address.
        let number = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let name = !number && text.len() <= 253 && text.split('.').all(label);
        if name { Ok(Self::Hostname(text.to_owned())) } else { Err(AddressError) }
    }
}

/// The addresses of a Service, by its type, as other controllers take them.
pub(super) fn of_service(service: &Service) -> Vec<Address> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let external = spec.external_ips.iter().flatten().map(String::as_str);
    let cluster = spec.cluster_ips.iter().flatten().map(String::as_str);
    let ip = |ip: &str| Address::new(Some(ip), None);
    match spec.type_.as_deref() {
        Some("LoadBalancer") => {
            let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
            let entries = status.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
            let given = entries.filter_map(|e| Address::new(e.ip.as_deref(), e.hostname.as_deref()));
            sorted(given.chain(external.filter_map(ip)))
        }
        Some("ExternalName") => sorted(Address::new(None, spec.external_name.as_deref())),
        _ if spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty()) => sorted(external.filter_map(ip)),
        // A headless Service has "None" there.
        _ => sorted(cluster.filter_map(ip)),
    }
}

/// The addresses of a pod's node, while the pod is ready.
pub(super) fn of_pod(pod: &Pod) -> Vec<Address> {
    if is_ready(pod) { sorted(host_addresses(pod)) } else { Vec::new() }
}

/// Each address once, in a fixed order.
pub(super) fn sorted(addresses: impl IntoIterator<Item = Address>) -> Vec<Address> {
    let set: BTreeSet<Address> = addresses.into_iter().collect();
    set.into_iter().collect()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    pod.metadata.deletion_timestamp.is_none() && ready.any(|condition| condition.status == "True")
}

fn host_addresses(pod: &Pod) -> impl Iterator<Item = Address> {
    let status = pod.status.as_ref();
    let all = status.and_then(|status| status.host_ips.as_ref()).into_iter().flatten();
    let first = status.and_then(|status| status.host_ip.as_deref());
    all.map(|host| host.ip.as_str()).chain(first).filter_map(|ip| Address::new(Some(ip), None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn addresses(service: Value) -> Vec<String> {
        of_service(&serde_json::from_value(service).unwrap()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_are_read_as_the_api_takes_them() {
        for good in ["192.0.2.1", "2001:db8::1", "lb.example.com", "localhost", "a-b.c", "1-2.example"] {
            assert_eq!(good.parse::<Address>().unwrap().to_string(), good);
        }
        for bad in ["", "Lb.example.com", "*.example.com", "-a", "a-", "a..b", "192.0.2.256", "[::1]", "a/b"]
        {
            assert_eq!(bad.parse::<Address>(), Err(AddressError), "{bad}");
        }
        let entry = Address::from_str("192.0.2.1").unwrap().entry();
        assert_eq!(Address::of_entry(&entry).unwrap().entry(), entry);
    }

    #[test]
    fn a_service_gives_addresses_by_its_type() {
        let spec =
            json!({"type": "LoadBalancer", "clusterIPs": ["10.0.0.1"], "externalIPs": ["198.51.100.7"]});
        let status = json!({"loadBalancer": {"ingress": [{"hostname": "lb.example"}, {"ip": "192.0.2.9"}]}});
        assert_eq!(
            addresses(json!({"spec": spec, "status": status})),
            ["192.0.2.9", "198.51.100.7", "lb.example"]
        );
        let pending = json!({"spec": {"type": "LoadBalancer", "clusterIPs": ["10.0.0.1"]}});
        assert_eq!(addresses(pending), [""; 0], "a load balancer that is not there yet has no address");
        let node_port =
            json!({"type": "NodePort", "clusterIPs": ["10.0.0.1"], "externalIPs": ["198.51.100.7"]});
        assert_eq!(addresses(json!({ "spec": node_port })), ["198.51.100.7"]);
        let both = json!({"spec": {"type": "ClusterIP", "clusterIPs": ["10.0.0.1", "fd00::1"]}});
        assert_eq!(addresses(both), ["10.0.0.1", "fd00::1"]);
        assert_eq!(addresses(json!({"spec": {"clusterIPs": ["None"]}})), [""; 0]);
        let external = json!({"spec": {"type": "ExternalName", "externalName": "lb.example"}});
        assert_eq!(addresses(external), ["lb.example"]);
    }

    #[test]
    fn nodes_count_while_a_ready_pod_is_on_them() {
        let pod = |ip: &str, ready: &str, deleted: Option<&str>| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"deletionTimestamp": deleted},
                "status": {"hostIP": ip, "hostIPs": [{"ip": ip}], "conditions": [{"type": "Ready", "status": ready}]},
            }))
            .unwrap()
        };
        let pods = [
            pod("192.0.2.2", "True", None),
            pod("192.0.2.1", "True", None),
            pod("192.0.2.1", "True", None),
            pod("192.0.2.3", "False", None),
            pod("192.0.2.4", "True", Some("2026-01-01T00:00:00Z")),
        ];
        let found: Vec<String> =
            sorted(pods.iter().flat_map(of_pod)).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.1", "192.0.2.2"]);
    }
}
