//! What ends with the session or token that it was authorized by: tunnels, and responses without a known end.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use ingress_core::auth::revocation::Revocations;

use super::timers::Timer;
use crate::auth::authenticator::Lasting;

/// Something that goes on by a session or token, as long as this is kept.
pub(crate) struct Going {
    timer: Rc<Timer>,
    by: Lasting,
}

impl Going {
    /// Whether what it goes on by is over, at a time in Unix seconds.
    pub(super) fn is_over(&self, unix: i64, revocations: &Revocations) -> bool {
        self.by.ends_at() <= unix || self.by.is_revoked(revocations)
    }
}

/// What goes on in a worker by sessions and tokens. It is looked at when something was revoked, ten times a second at most.
#[derive(Default)]
pub(super) struct AllGoing {
    all: RefCell<Vec<Weak<Going>>>,
    seen: RefCell<Option<Arc<Revocations>>>,
}

impl AllGoing {
    /// Adds something. What was revoked since its request was decided ends it at once.
    pub(super) fn add(&self, timer: &Rc<Timer>, by: Lasting, revocations: &Revocations) -> Rc<Going> {
        if by.is_revoked(revocations) {
            timer.end_total();
        }
        let going = Rc::new(Going { timer: Rc::clone(timer), by });
        self.all.borrow_mut().push(Rc::downgrade(&going));
        going
    }

    /// Ends what goes on by a session that was revoked, and forgets what has ended.
    pub(super) fn sweep(&self, revocations: &Arc<Revocations>) {
        let mut seen = self.seen.borrow_mut();
        let changed = !seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, revocations));
        self.all.borrow_mut().retain(|going| {
            let Some(going) = going.upgrade() else { return false };
            let revoked = changed && going.by.is_revoked(revocations);
            if revoked {
                going.timer.end_total();
            }
            !revoked
        });
        if changed {
            *seen = Some(Arc::clone(revocations));
        }
    }
}
