//! The labels, annotations and keys of objects that translation reads, in one list: whatever is not here may be trimmed.

/// On an IngressClass: Ingresses that name no class get this one.
pub(crate) const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
/// On an Ingress: the older way to name a class. The API reference asks controllers to go on honouring it.
pub(crate) const LEGACY_CLASS: &str = "kubernetes.io/ingress.class";
/// On the Ingress or the Service of an HTTP-01 solver, as cert-manager sets it.
pub(crate) const ACME_SOLVER: &str = "acme.cert-manager.io/http01-solver";
/// On an Ingress: connections to its hosts go to the backend as they are, undecrypted.
pub(crate) const PASSTHROUGH: &str = "penstock.dev/ssl-passthrough";
/// The same, as ingress-nginx has it.
pub(crate) const NGINX_PASSTHROUGH: &str = "nginx.ingress.kubernetes.io/ssl-passthrough";
/// On such an Ingress: the backend is told the client's address by a PROXY protocol header of this version.
pub(crate) const BACKEND_PROXY_PROTOCOL: &str = "penstock.dev/backend-proxy-protocol";
/// On an Ingress: the AccessPolicy that says who may use it.
pub(crate) const ACCESS_POLICY: &str = "penstock.dev/access-policy";
/// How the annotations begin by which ingress-nginx lets others decide about requests.
pub(crate) const NGINX_AUTH: &str = "nginx.ingress.kubernetes.io/auth-";
/// The same, as ours.
pub(crate) const OUR_AUTH: &str = "penstock.dev/auth-";
/// On an EndpointSlice: its Service.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The type of Secrets that hold a certificate.
pub(crate) const TLS_SECRET_TYPE: &str = "kubernetes.io/tls";
/// In such a Secret: the chain of certificates.
pub(crate) const TLS_CERTIFICATE: &str = "tls.crt";
/// In such a Secret: the private key.
pub(crate) const TLS_KEY: &str = "tls.key";
