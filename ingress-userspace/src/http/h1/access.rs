//! Between route and forward: single sign-on, where the route has a policy, and its endpoints.
//!
//! A request that has to wait keeps its head and its table. Nothing of its body is read for the backend before it may pass.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ingress_core::http::{RequestHead, header_storage, parse_request};
use ingress_core::table::{Access, AccessId, RoutingTable};

use super::answer::{answer, refuse};
use super::connection::Connection;
use super::decide::{Decided, Route, forward};
use super::failure::CLIENT_CLOSED_REQUEST;
use super::route::Instead;
use crate::auth::authenticator::{Settled, Verdict, judge};
use crate::auth::endpoints::{self, Answering, ByContent, Handled};
use crate::auth::external::Origin;
use crate::auth::refusal;
use crate::auth::reply::{Audience, Reply};
use crate::http::problem::{self, Problem, kinds};
use crate::telemetry::RequestRecord;
use crate::worker::timers::Bound;

/// How long a request waits for somebody who is asked about it. Those have bounds of their own, which are shorter.
const LIMIT: Duration = Duration::from_secs(20);

/// A request that waits.
pub(crate) struct Waiting {
    table: Arc<RoutingTable>,
    work: Work,
}

enum Work {
    /// Whether it may pass.
    Route(Route, Arc<Access>, Pin<Box<dyn Future<Output = Settled>>>),
    /// What an endpoint answers.
    Endpoint(bool, Answering),
    /// What an endpoint answers when it has the content of so many bytes.
    Content(bool, usize, Option<ByContent>),
}

enum Done {
    Route(Route, Arc<Access>, Settled),
    Endpoint(bool, Box<Reply>),
}

fn audience(connection: &Connection, head: &RequestHead<'_>) -> Audience {
    Audience {
        accept: head.header("accept").map(Box::from),
        request_id: connection.names.request_id.as_str().into(),
    }
}

/// Decides about a request to a route with a policy.
pub(super) fn decide(
    connection: &mut Connection,
    table: &Arc<RoutingTable>,
    head: &RequestHead<'_>,
    rest: &[u8],
    route: Route,
    id: AccessId,
) -> (Decided, usize) {
    let worker = Rc::clone(&connection.worker);
    let policy = worker.auth.policy(table, id, &worker.shared.auth.providers);
    let from = Origin { client: connection.peer.client.ip(), request_id: &connection.names.request_id };
    match judge(&worker, &policy, head, &from) {
        Verdict::Now(settled) => settle(connection, table, head, rest, route, &policy.access, settled),
        Verdict::Wait(asking) => {
            let work = Work::Route(route, Arc::clone(&policy.access), asking);
            (Decided::Wait(Box::new(Waiting { table: Arc::clone(table), work })), 0)
        }
    }
}

fn settle(
    connection: &mut Connection,
    table: &RoutingTable,
    head: &RequestHead<'_>,
    rest: &[u8],
    route: Route,
    access: &Access,
    settled: Settled,
) -> (Decided, usize) {
    connection.worker.metrics.access_decided(settled.as_str());
    match settled {
        Settled::Pass(grant) => forward(connection, table, head, rest, route, grant),
        Settled::Refuse(refusal) => {
            let audience = audience(connection, head);
            let prefix = &connection.class.settings.single_sign_on.path_prefix;
            let reply = refusal::reply(*refusal, access, head, prefix, &audience);
            answer(connection, head, rest.len(), route.keep_alive, &Instead::Reply(Box::new(reply)))
        }
    }
}

/// Serves an endpoint.
pub(super) fn endpoint(
    connection: &mut Connection,
    table: &Arc<RoutingTable>,
    head: &RequestHead<'_>,
    rest: &[u8],
    keep_alive: bool,
) -> (Decided, usize) {
    let audience = audience(connection, head);
    let prefix = &connection.class.settings.single_sign_on.path_prefix;
    let handled = endpoints::serve(&connection.worker, table, head, prefix, &audience);
    let work = match handled {
        Handled::Now(reply) => {
            return answer(connection, head, rest.len(), keep_alive, &Instead::Reply(reply));
        }
        Handled::Wait(answering) => Work::Endpoint(keep_alive, answering),
        Handled::Content(length, then) => Work::Content(keep_alive, length, Some(then)),
    };
    (Decided::Wait(Box::new(Waiting { table: Arc::clone(table), work })), 0)
}

/// Waits, and decides then; `None` if there is nobody left to answer.
pub(super) async fn wait(connection: &mut Connection, waiting: Waiting) -> Option<Decided> {
    let timer = Rc::clone(&connection.timer);
    timer.set_total(connection.head_began, connection.class.settings.timeouts.total);
    timer.set(Bound::Authorization, connection.worker.now(), LIMIT);
    let mut work = waiting.work;
    if let Work::Content(keep_alive, length, then) = &mut work {
        let received = timer
            .bound(|cx| {
                while connection.input.len() < *length {
                    match std::task::ready!(connection.poll_more(cx)) {
                        Ok(1..) => {}
                        Ok(0) | Err(_) => return Poll::Ready(false),
                    }
                }
                Poll::Ready(true)
            })
            .await;
        match (received, then.take()) {
            (Ok(true), Some(then)) => work = Work::Endpoint(*keep_alive, then(&connection.input[..*length])),
            (Err(bound), _) => return Some(late(connection, bound)),
            _ => return gone(connection),
        }
    }
    let done = match work {
        Work::Route(route, access, mut asking) => {
            let settled = while_there(connection, &mut asking).await;
            settled.map(|settled| settled.map(|settled| Done::Route(route, access, settled)))
        }
        Work::Endpoint(keep_alive, mut answering) => {
            let reply = while_there(connection, &mut answering).await;
            reply.map(|reply| reply.map(|reply| Done::Endpoint(keep_alive, Box::new(reply))))
        }
        Work::Content(..) => Ok(None),
    };
    match done {
        Ok(Some(done)) => Some(resume(connection, &waiting.table, done)),
        Ok(None) => gone(connection),
        Err(bound) => Some(late(connection, bound)),
    }
}

/// Runs work to its end, unless the client leaves or a bound is reached.
async fn while_there<T>(
    connection: &mut Connection,
    work: &mut Pin<Box<dyn Future<Output = T>>>,
) -> Result<Option<T>, Bound> {
    let timer = Rc::clone(&connection.timer);
    timer
        .bound(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => connection.poll_client(cx).map(|()| None),
        })
        .await
}

/// Decides as if the head had come just now, by the table that it came with.
fn resume(connection: &mut Connection, table: &RoutingTable, done: Done) -> Decided {
    let kept = std::mem::take(&mut connection.head);
    let mut rest = std::mem::take(&mut connection.input);
    let mut storage = header_storage();
    let limits = connection.head_limits;
    let (decided, used) = match (parse_request(&kept, &mut storage, &limits), done) {
        (Ok(Some(head)), Done::Route(route, access, settled)) => {
            settle(connection, table, &head, &rest, route, &access, settled)
        }
        (Ok(Some(head)), Done::Endpoint(keep_alive, reply)) => {
            answer(connection, &head, rest.len(), keep_alive, &Instead::Reply(reply))
        }
        // What was a head is one.
        _ => {
            refuse(connection, &Problem::new(&kinds::INTERNAL));
            (Decided::Answer { close: true }, 0)
        }
    };
    rest.drain(..used);
    connection.head = kept;
    connection.input = rest;
    decided
}

/// Nobody has said in time whether the request may pass: it may not.
fn late(connection: &mut Connection, bound: Bound) -> Decided {
    connection.count(bound);
    connection.input_abandoned = true;
    let kind = if bound == Bound::Stop { &kinds::DRAINING } else { &kinds::PROVIDER_UNAVAILABLE };
    let problem = Problem::new(kind);
    connection.worker.metrics.problem_response(problem.kind);
    let head_only = connection.names.method == "HEAD";
    connection.output = problem::response(&problem, &connection.names.request_id, None, head_only, true);
    let record = RequestRecord {
        status: problem.status,
        error_class: Some(problem.kind),
        total: connection.elapsed(),
        ..connection.record()
    };
    connection.worker.metrics.finish_request(&record);
    Decided::Answer { close: true }
}

fn gone(connection: &Connection) -> Option<Decided> {
    let record = RequestRecord {
        status: CLIENT_CLOSED_REQUEST,
        error_class: Some("client-closed"),
        total: connection.elapsed(),
        ..connection.record()
    };
    connection.worker.metrics.finish_request(&record);
    None
}
