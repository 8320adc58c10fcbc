//! Workers: one thread per core, each of which owns connections from the moment they are accepted to their end.
//!
//! A worker runs a current-thread runtime. On it hyper reads requests and serves HTTP/2. An HTTP/1.1 stream, a WebSocket or a long
//! poll is taken over from hyper once its request was answered for: hyper's buffers and task are freed, and the socket goes into a
//! set of the worker's own (`epoll`, `kqueue`), which is itself one descriptor in the runtime. From then on a connection costs a
//! [`Connection`] and nothing else: no task, no waker, no buffer.
//!
//! The way of a message: a commit rings the topic's bell on each worker that has listeners ([`inbox`]); the worker brings its view of
//! the channel up to date, once, and walks its listeners ([`Worker::fan_out`]), writing the same bytes straight to each socket.

mod access;
mod answer;
mod asking;
mod connection;
mod ending;
mod inbox;
mod pages;
mod push;
mod requests;
mod shared;
mod socket;
mod timing;
mod topics;
mod turn;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::task_tracker::TaskTrackerToken;

pub(crate) use asking::read_request;
pub(crate) use connection::Taken;
pub(crate) use inbox::{Inbox, Note};
use turn::Worker;

use crate::limits::Admission;
use crate::node::Node;

/// Most connections that were accepted and that their worker has not taken in, for each worker. More wait in the kernel's queue: who
/// accepts them all would keep the workers from those that are open, by what accepting takes of the processor that they share.
const ARRIVING: usize = 8;

/// Tasks of the runtime, such as connections that hyper has, that may go on before the worker and its sockets are looked at again. A
/// message to everybody waits for so many of them, and not for all that floods of frames keep busy.
const TASKS: u32 = 8;

/// The workers of a listener. When it is dropped they go on until their last connection is over, or the node has stopped.
pub(crate) struct Workers {
    node: Arc<Node>,
    all: Vec<Handle>,
    places: Arc<Semaphore>,
}

struct Handle {
    inbox: Arc<Inbox>,
    load: Load,
}

/// How many connections a worker has.
#[derive(Clone, Debug)]
pub(crate) struct Load(Arc<(AtomicUsize, Arc<Admission>)>);

/// One connection, for as long as it lives, whoever reads it at the moment. A stop waits for it.
pub(crate) struct Counted {
    load: Load,
    peer: IpAddr,
    #[expect(dead_code, reason = "it counts by being there")]
    running: TaskTrackerToken,
}

impl Load {
    fn of(node: &Node) -> Load {
        Load(Arc::new((AtomicUsize::new(0), node.admission().clone())))
    }

    /// Counts a connection that was admitted.
    fn count(&self, node: &Node, peer: IpAddr) -> Counted {
        self.0.0.fetch_add(1, Ordering::Relaxed);
        Counted { load: self.clone(), peer, running: node.running() }
    }

    pub(crate) fn get(&self) -> usize {
        self.0.0.load(Ordering::Relaxed)
    }
}

impl Counted {
    /// Who is at the other end: a client, or its proxy.
    pub(crate) fn peer(&self) -> IpAddr {
        self.peer
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let (load, admission) = &*self.load.0;
        load.fetch_sub(1, Ordering::Relaxed);
        admission.close(self.peer);
    }
}

impl Workers {
    /// Starts as many as the configuration says.
    pub(crate) fn start(node: &Arc<Node>) -> io::Result<Workers> {
        let count = match node.config().server.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        let all = (0..count)
            .map(|index| {
                let load = Load::of(node);
                let metrics = node.metrics().add_worker(load.clone());
                let inbox = Arc::new(Inbox::new(metrics.counts.clone()));
                let handle = Handle { inbox: inbox.clone(), load: load.clone() };
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                let runtime = runtime.enable_all().event_interval(TASKS).build()?;
                let (node, counting) = (node.clone(), load.clone());
                let run = move || {
                    runtime.block_on(async {
                        match Worker::new(node.clone(), inbox, counting, metrics) {
                            Ok(worker) => {
                                tokio::select! {
                                    () = worker.run() => {}
                                    () = node.stopped() => {}
                                }
                            }
                            Err(error) => tracing::error!(%error, "a worker did not start"),
                        }
                    });
                };
                std::thread::Builder::new().name(format!("worker {index}")).spawn(run)?;
                Ok(handle)
            })
            .collect::<io::Result<_>>()?;
        Ok(Workers { node: node.clone(), all, places: Arc::new(Semaphore::new(count * ARRIVING)) })
    }

    /// A place for one more connection, once there is one.
    pub(crate) async fn place(&self) -> OwnedSemaphorePermit {
        self.places.clone().acquire_owned().await.expect("it is never closed")
    }

    /// Hands a connection that was admitted to the worker that has the fewest.
    pub(crate) fn accepted(&self, stream: std::net::TcpStream, peer: IpAddr, place: OwnedSemaphorePermit) {
        let emptiest = self.all.iter().min_by_key(|worker| worker.load.get());
        self.node.metrics().connections_opened.add(1);
        if let Some(worker) = emptiest {
            worker.inbox.put(Note::Accepted(stream, worker.load.count(&self.node, peer), place));
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &self.all {
            worker.inbox.put(Note::LastAccepted);
        }
    }
}
