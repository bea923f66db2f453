//! Tunnels that end with the session by which they were opened.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use ingress_core::auth::revocation::Revocations;

use super::timers::Timer;
use crate::auth::authenticator::Lasting;

/// The tunnels of a worker that a session has opened. They are looked at when something was revoked, ten times a second at most.
#[derive(Default)]
pub(super) struct LastingTunnels {
    open: RefCell<Vec<(Weak<Timer>, Lasting)>>,
    seen: RefCell<Option<Arc<Revocations>>>,
}

impl LastingTunnels {
    /// Adds one. What was revoked since its request was decided ends it at once.
    pub(super) fn add(&self, timer: &Rc<Timer>, session: Lasting, revocations: &Arc<Revocations>) {
        if session.is_revoked(revocations) {
            timer.end_total();
        }
        self.open.borrow_mut().push((Rc::downgrade(timer), session));
    }

    /// Ends those whose session was revoked, and forgets those that have ended.
    pub(super) fn sweep(&self, revocations: &Arc<Revocations>) {
        let mut seen = self.seen.borrow_mut();
        let changed = !seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, revocations));
        self.open.borrow_mut().retain(|(timer, session)| {
            let Some(timer) = timer.upgrade() else { return false };
            let revoked = changed && session.is_revoked(revocations);
            if revoked {
                timer.end_total();
            }
            !revoked
        });
        if changed {
            *seen = Some(Arc::clone(revocations));
        }
    }
}
