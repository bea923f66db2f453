//! HTTP/1.1 towards clients and backends (RFC 9110, RFC 9112).
//!
//! ```text
//!          ┌──────────────── next head returns to userspace (law 1) ───────────────┐
//!          ▼                                                                       │
//!   Head ──► decide ──► Forward ──► request body ┐                                 │
//!                │                 response head ├─► response body ──► keep-alive ─┤
//!                │                               └─► 101 ──► tunnel ──► close      │
//!                └────► Answer (redirect, problem) ────────────────────────────────┘
//! ```

mod access;
mod answer;
pub(crate) mod body;
pub(crate) mod connection;
mod decide;
mod deliver;
mod exchange;
mod failure;
mod offload;
mod response;
mod route;

use connection::{Connection, Next};

/// Serves a client's connection until one side has enough.
pub(crate) async fn serve(mut connection: Connection) {
    while let Some(next) = connection.next_request().await {
        match next {
            Next::Answered { close: false } => {}
            Next::Answered { close: true } => return connection.close().await,
            Next::Forward(request) => match exchange::forward(&mut connection, request).await {
                exchange::After::KeepAlive => {}
                exchange::After::Close => return connection.close().await,
                exchange::After::Abort => return connection.abort().await,
            },
        }
    }
}
