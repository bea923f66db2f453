//! HTTP/1.1 as pure functions over bytes (RFC 9110, RFC 9112).
//!
//! ```text
//! bytes ──► HeadScan ──► parse_request ──► RequestHead ──► table, policy ──► write_request_head ──► bytes
//!           one head?     strict syntax      │ host.rs       one reading       only what we parsed
//!                                            │ normalize.rs  of the path
//!                                            └ framing.rs    one length
//! bytes ──► HeadScan ──► parse_response ─► ResponseHead ───────────────────► write_response_head ──► bytes
//! ```
//!
//! What two readers could take in two ways is refused; what is forwarded is written anew from what was parsed.

mod chunked;
mod field;
mod forwarded;
mod framing;
mod head;
mod hop_by_hop;
mod host;
mod normalize;
mod reject;
mod request;
mod response;
mod scheme;
mod write;

pub use chunked::{CHUNK_END, ChunkedDecoder, Decoded, Event, LAST_CHUNK, write_chunk_header};
pub use forwarded::ForwardContext;
pub use framing::BodyLength;
pub use head::{HeadLimits, HeadScan, HeaderStorage, MAX_HEADERS, Version, header_storage};
pub use host::{Authority, parse_authority};
pub use normalize::{lenient_reading, normalize_path};
pub use reject::Reject;
pub use request::{MAX_REQUEST_ID, RequestHead, parse_request, parse_request_resumed};
pub use response::{ResponseHead, parse_response, parse_response_resumed};
pub use scheme::Scheme;
pub use write::{ResponseContext, write_request_head, write_response_head};

#[cfg(test)]
mod tests;
