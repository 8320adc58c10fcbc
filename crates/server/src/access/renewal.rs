//! New credentials for streams whose transport has no way back: Server-Sent Events and NDJSON. `@expiring` says where one can be
//! posted; the stream goes on with it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use parking_lot::Mutex;
use plainwire_protocol::Problem;

use crate::auth::Principal;
use crate::channels::Signal;

/// Below this path every stream that waits for a new credential has a URL of its own.
pub(crate) const STREAMS: &str = "/_/streams/";

/// The streams that wait for a new credential: each from its `@expiring` to its end.
#[derive(Default)]
pub(crate) struct Renewals(Mutex<HashMap<Box<str>, Weak<Renewal>>>);

/// One stream's wait for a new credential. Known to others as long as the stream holds it.
pub(crate) struct Renewal {
    id: Box<str>,
    subject: Option<Box<str>>,
    fresh: Mutex<Option<Arc<Principal>>>,
    signal: Signal,
}

impl Renewals {
    /// Lets a stream be found. Its id cannot be guessed, and is told to nobody but the stream's client.
    pub(crate) fn open(&self, principal: &Principal) -> Arc<Renewal> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).expect("the operating system has randomness");
        let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let renewal = Arc::new(Renewal {
            id: id.into(),
            subject: principal.subject().map(Box::from),
            fresh: Mutex::default(),
            signal: Signal::default(),
        });
        let mut all = self.0.lock();
        // Streams that ended are forgotten here: the map never has twice as many as there are.
        if all.len() == all.capacity() {
            all.retain(|_, renewal| renewal.strong_count() > 0);
        }
        all.insert(renewal.id.clone(), Arc::downgrade(&renewal));
        renewal
    }

    /// Gives a stream its new credential: one of the same subject.
    pub(crate) fn renew(&self, id: &str, principal: Arc<Principal>) -> Result<(), Problem> {
        let found = self.0.lock().get(id).and_then(Weak::upgrade);
        let Some(renewal) = found else {
            return Err(Problem::new(
                404,
                "no_such_stream",
                "no stream here waits for a credential under this name",
            ));
        };
        if principal.subject() != renewal.subject.as_deref() {
            return Err(other_subject());
        }
        *renewal.fresh.lock() = Some(principal);
        renewal.signal.ring();
        Ok(())
    }
}

/// The refusal of a credential that would change whose connection this is.
pub(crate) fn other_subject() -> Problem {
    Problem::new(
        403,
        "other_subject",
        "a credential is renewed by one of the same subject; open another connection",
    )
}

impl Renewal {
    /// Where the new credential is posted.
    pub(crate) fn path(&self) -> String {
        format!("{STREAMS}{}", self.id)
    }

    /// The new credential, when it has come.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Arc<Principal>> {
        // The signal is registered first: what comes after the look wakes.
        let _ = self.signal.poll_heard(cx);
        match self.fresh.lock().take() {
            Some(principal) => Poll::Ready(principal),
            None => Poll::Pending,
        }
    }
}
