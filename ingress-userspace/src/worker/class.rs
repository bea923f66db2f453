//! What a worker serves a class with, made ready once and kept until the class changes.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use ingress_core::http::HeadLimits;
use ingress_core::settings::{ProxyProtocolMode, Settings};
use ingress_core::table::{ClassId, RoutingTable};

use crate::upstream;

/// A class as one worker uses it.
#[derive(Debug)]
pub struct ClassState {
    /// What the table says.
    pub settings: Arc<Settings>,
    /// The value of Strict-Transport-Security.
    pub hsts: Option<String>,
    /// Bounds of a request head.
    pub request_limits: HeadLimits,
    /// Bounds of a response head.
    pub response_limits: HeadLimits,
    /// Bounds on connections to backends.
    pub upstream: upstream::Bounds,
}

impl ClassState {
    fn new(settings: &Arc<Settings>) -> Self {
        let limits = &settings.limits;
        let head = |head: u64| HeadLimits {
            head: head as usize,
            headers: limits.request_headers,
            uri: limits.uri as usize,
        };
        Self {
            hsts: settings.tls.hsts.field_value(),
            request_limits: head(limits.request_head),
            response_limits: head(limits.response_head),
            upstream: upstream::Bounds::new(&settings.upstream, settings.timeouts.connect),
            settings: Arc::clone(settings),
        }
    }

    /// Whether connections from a peer begin with a PROXY protocol header.
    pub fn expects_proxy_header(&self, peer: IpAddr) -> bool {
        let proxy = &self.settings.proxy_protocol;
        proxy.mode == ProxyProtocolMode::Required && proxy.trusted_sources.contain(peer)
    }
}

/// The classes that a worker has used, by their place in the table.
#[derive(Debug, Default)]
pub(super) struct ClassStates(RefCell<Vec<Option<Rc<ClassState>>>>);

impl ClassStates {
    /// The class at a place. The usual case costs an index and a comparison of pointers.
    pub(super) fn get(&self, table: &RoutingTable, id: ClassId) -> Rc<ClassState> {
        let settings = table.settings(id);
        let at = id.0 as usize;
        if let Some(Some(state)) = self.0.borrow().get(at)
            && Arc::ptr_eq(&state.settings, settings)
        {
            return Rc::clone(state);
        }
        let state = Rc::new(ClassState::new(settings));
        let mut states = self.0.borrow_mut();
        if states.len() <= at {
            states.resize(at + 1, None);
        }
        states[at] = Some(Rc::clone(&state));
        state
    }
}
