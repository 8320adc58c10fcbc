//! Plainwire: every live thing is a URL. POST to change it, GET to watch it, over any transport.
//!
//! The `plainwire` binary is this library with a command line. Inside a program of your own, [`Plainwire`] starts a
//! server whose [`Service`] mounts in an axum router, publishes, runs commands, and watches channels as streams.

mod access;
mod access_log;
mod admin;
pub mod auth;
mod cause;
mod channels;
pub mod client;
mod clock;
pub mod config;
mod embed;
#[doc(hidden)]
pub mod fuzzing;
mod handler;
mod health;
mod http;
mod limits;
mod listen;
mod memory;
mod metrics;
mod node;
mod nodes;
mod operation;
mod presence;
mod reasons;
#[cfg(feature = "socketio")]
mod socketio;
mod stream;
mod tls;
mod worker;
mod ws;

pub use access::Kick;
pub use auth::Revocation;
pub use config::Config;
pub use embed::{Applied, Builder, Event, From, Plainwire, ReloadError, StartError, Watch, WriteOptions};
pub use handler::Handler;
pub use http::{Body, Service};
pub use limits::raise_descriptors;
pub use node::Stopped;
pub use plainwire_hub::access::{
    Allow, Bearer, BearerError, GrantError, Grants, Permission, PermissionError, Right,
};
pub use plainwire_hub::machine::{Change, Next, Reducer, State};
pub use plainwire_hub::presence::Mode as PresenceMode;
pub use plainwire_log as log;
pub use plainwire_log::{Durability, Log};
pub use plainwire_protocol as protocol;
pub use tls::{Certificate, TlsError};
