//! The custom resource ProxyClass: what the Ingresses of a class are served with.
//!
//! An IngressClass names a ProxyClass in `spec.parameters`; the ProxyClass overlays the configuration file of the process for
//! the routes of that class. The CustomResourceDefinition in `charts/penstock/crds` is generated from these types.

mod object;
mod status;

pub use object::{API_VERSION, GROUP, KIND, PLURAL, ProxyClass, WrittenSpec};
pub use status::{ACCEPTED, ProxyClassStatus};
