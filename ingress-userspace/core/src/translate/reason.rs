//! The reasons of all findings, in one list: they are an interface (Events, metrics, users' scripts).

#![expect(missing_docs, reason = "each word says what it says in the findings that use it")]

pub const BACKEND_INVALID: &str = "BackendInvalid";
pub const CERTIFICATE_CHAIN: &str = "CertificateChain";
pub const CERTIFICATE_CHAIN_MENDED: &str = "CertificateChainMended";
pub const CERTIFICATE_EXPIRED: &str = "CertificateExpired";
pub const CERTIFICATE_EXPIRES: &str = "CertificateExpires";
pub const CERTIFICATE_HOST_MISMATCH: &str = "CertificateHostMismatch";
pub const CERTIFICATE_INVALID: &str = "CertificateInvalid";
pub const CERTIFICATE_NOT_YET_VALID: &str = "CertificateNotYetValid";
pub const CLASS_DISAGREEMENT: &str = "ClassDisagreement";
pub const CLASS_PARAMETERS_IGNORED: &str = "ClassParametersIgnored";
pub const CONFLICT: &str = "Conflict";
pub const DEFAULT_CLASS_NOT_UNIQUE: &str = "DefaultClassNotUnique";
pub const ENDPOINT_INVALID: &str = "EndpointInvalid";
pub const EXTERNAL_NAME_REFUSED: &str = "ExternalNameRefused";
pub const HOST_INVALID: &str = "HostInvalid";
pub const KEY_INVALID: &str = "KeyInvalid";
pub const KEY_MISMATCH: &str = "KeyMismatch";
pub const NAME_INVALID: &str = "NameInvalid";
pub const NO_BACKEND: &str = "NoBackend";
pub const PATH_INVALID: &str = "PathInvalid";
pub const PATH_NORMALIZED: &str = "PathNormalized";
pub const PATH_TYPE_INVALID: &str = "PathTypeInvalid";
pub const PLAINTEXT_REFUSED: &str = "PlaintextRefused";
pub const PORT_NOT_FOUND: &str = "PortNotFound";
pub const PORT_PROTOCOL: &str = "PortProtocol";
pub const RESOURCE_BACKEND_REFUSED: &str = "ResourceBackendRefused";
pub const SECRET_INCOMPLETE: &str = "SecretIncomplete";
pub const SECRET_NOT_FOUND: &str = "SecretNotFound";
pub const SECRET_TYPE: &str = "SecretType";
pub const SERVICE_NOT_FOUND: &str = "ServiceNotFound";
pub const TLS_HOST_CONFLICT: &str = "TLSHostConflict";
pub const TLS_HOST_UNUSED: &str = "TLSHostUnused";
pub const TLS_SECRET_UNUSED: &str = "TLSSecretUnused";
pub const TLS_UNAVAILABLE: &str = "TLSUnavailable";
