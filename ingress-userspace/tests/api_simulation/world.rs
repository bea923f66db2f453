//! Random objects of a small world, small enough that they meet.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use crate::server::{Key, Server};

const NAMESPACES: [&str; 2] = ["a", "b"];
const HOSTS: [&str; 4] = ["a.x.test", "b.x.test", "*.x.test", ""];
const PATHS: [&str; 3] = ["/", "/a", "/a/b"];

/// What Secrets may hold.
pub(crate) struct World {
    pairs: Vec<(String, String)>,
}

impl World {
    pub(crate) fn new() -> Self {
        let pair = |host: &str| {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(2100, 1, 1);
            (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
        };
        Self { pairs: ["a.x.test", "b.x.test", "*.x.test"].map(pair).into() }
    }

    /// One random change.
    pub(crate) fn change(&self, server: &Server) {
        let pick = |from: &[&str]| from[server.draw(from.len() as u64) as usize].to_owned();
        let namespace = pick(&NAMESPACES);
        let exists = server.draw(10) < 8;
        let (key, object): (Key, Value) = match server.draw(10) {
            0..4 => (("ingresses".to_owned(), namespace, pick(&["i1", "i2", "i3"])), ingress(server)),
            4 => (("services".to_owned(), namespace, pick(&["s1", "s2"])), service(server)),
            5 | 6 => (("endpointslices".to_owned(), namespace, pick(&["e1", "e2", "e3"])), slice(server)),
            7 | 8 => (("secrets".to_owned(), namespace, pick(&["t1", "t2", "other"])), self.secret(server)),
            _ => (("ingressclasses".to_owned(), String::new(), pick(&["ours", "theirs"])), class(server)),
        };
        server.write(&key, exists.then_some(object));
    }

    /// One random change of a Secret that Ingresses may name.
    pub(crate) fn change_secret(&self, server: &Server) {
        let name = ["t1", "t2"][server.draw(2) as usize].to_owned();
        let key = ("secrets".to_owned(), NAMESPACES[server.draw(2) as usize].to_owned(), name);
        server.write(&key, (server.draw(4) > 0).then(|| self.secret(server)));
    }

    /// Writes every Secret that Ingresses may name, so that none is remembered.
    pub(crate) fn mend_secrets(&self, server: &Server) {
        for namespace in NAMESPACES {
            for (name, pair) in ["t1", "t2"].iter().zip(&self.pairs) {
                let key = ("secrets".to_owned(), namespace.to_owned(), (*name).to_owned());
                server.write(&key, Some(secret("kubernetes.io/tls", pair)));
            }
        }
    }

    fn secret(&self, server: &Server) -> Value {
        let pair = &self.pairs[server.draw(self.pairs.len() as u64) as usize];
        match server.draw(6) {
            0 => secret("Opaque", pair),
            1 => secret("kubernetes.io/tls", &(pair.0.clone(), "junk".to_owned())),
            _ => secret("kubernetes.io/tls", pair),
        }
    }
}

fn secret(kind: &str, (certificate, key): &(String, String)) -> Value {
    json!({
        "metadata": {},
        "type": kind,
        "data": {"tls.crt": STANDARD.encode(certificate), "tls.key": STANDARD.encode(key), "more": "eA=="},
    })
}

fn ingress(server: &Server) -> Value {
    let pick = |from: &[&str]| from[server.draw(from.len() as u64) as usize].to_owned();
    let rule = || {
        let backend = json!({"service": {"name": pick(&["s1", "s2"]), "port": {"number": 80}}});
        let path = json!({"path": pick(&PATHS), "pathType": pick(&["Exact", "Prefix"]), "backend": backend});
        json!({"host": pick(&HOSTS), "http": {"paths": [path]}})
    };
    let tls = || json!({"hosts": [pick(&HOSTS[..3])], "secretName": pick(&["t1", "t2"])});
    let rules: Vec<Value> = (0..server.draw(4)).map(|_| rule()).collect();
    let tls: Vec<Value> = (0..server.draw(3)).map(|_| tls()).collect();
    let class = match server.draw(6) {
        0 => json!(null),
        1 => json!("theirs"),
        _ => json!("ours"),
    };
    json!({
        "metadata": {
            "creationTimestamp": pick(&["2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"]),
            "managedFields": [{"manager": "x", "fieldsV1": {"f:spec": {}}}],
        },
        "spec": {"ingressClassName": class, "rules": rules, "tls": tls},
        "status": {"loadBalancer": {}},
    })
}

fn service(server: &Server) -> Value {
    let port = 80 + server.draw(2);
    json!({
        "metadata": {},
        "spec": {"ports": [{"name": "http", "port": port}], "type": "ClusterIP", "clusterIP": "10.0.0.9"},
    })
}

fn slice(server: &Server) -> Value {
    let service = ["s1", "s2"][server.draw(2) as usize];
    let address = format!("10.0.0.{}", 1 + server.draw(4));
    json!({
        "metadata": {"labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [address], "nodeName": "n", "conditions": {"ready": server.draw(4) > 0}}],
    })
}

fn class(server: &Server) -> Value {
    let default = ["true", "false"][server.draw(2) as usize];
    let controller = ["penstock.dev/ingress-controller", "example.com/other"][server.draw(2) as usize];
    json!({
        "metadata": {"annotations": {"ingressclass.kubernetes.io/is-default-class": default}},
        "spec": {"controller": controller},
    })
}
