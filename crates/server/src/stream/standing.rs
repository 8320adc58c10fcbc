//! Whose stream it is, and for how long.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use plainwire_protocol::ControlEvent;

use crate::access::{Caller, Renewal};
use crate::auth::Principal;
use crate::node::Node;

/// A stream's caller, and its wait for a new credential once it was told that the old one ends.
#[derive(Default)]
pub(crate) struct Standing {
    caller: Caller,
    renewal: Option<Arc<Renewal>>,
}

impl Standing {
    pub(crate) fn new(caller: Caller) -> Standing {
        Standing { caller, renewal: None }
    }

    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// For how long the credential holds, by the clock of the world. `None` if it does not end.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        self.caller.principal.as_deref()?.valid_for(SystemTime::now())
    }

    /// What to say when the credential ends soon. A stream whose client cannot send anything is given a path (`posted`) for the
    /// new one.
    pub(crate) fn expiring(&mut self, node: &Node, posted: bool) -> ControlEvent {
        if posted && let Some(principal) = &self.caller.principal {
            self.renewal = Some(node.access().renewals().open(principal));
        }
        ControlEvent::Expiring {
            expires_in_ms: self.remaining().unwrap_or(Duration::ZERO).as_millis() as u64,
            renew: self.renewal.as_deref().map(Renewal::path),
        }
    }

    /// Goes on with another credential.
    pub(crate) fn renew(&mut self, principal: Arc<Principal>) {
        self.caller.principal = Some(principal);
        self.renewal = None;
    }

    /// Goes on with the credential that was posted, if one was. Says whether there was one; wakes when there is.
    pub(crate) fn poll_renewed(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(Poll::Ready(principal)) = self.renewal.as_deref().map(|renewal| renewal.poll(cx)) else {
            return false;
        };
        self.renew(principal);
        true
    }

    /// Whether a new credential is waited for.
    pub(crate) fn awaits_renewal(&self) -> bool {
        self.renewal.is_some()
    }
}
