//! Over NATS.

use super::{history, linear, process, proxy, support};

type Store = super::Nats;
type Cluster = super::Cluster<Store>;

#[path = "chaos.rs"]
mod chaos;
#[path = "commands.rs"]
mod commands;
#[path = "finite.rs"]
mod finite;
#[path = "outages.rs"]
mod outages;
#[path = "presence.rs"]
mod presence;
#[path = "rolling.rs"]
mod rolling;
#[path = "sharing.rs"]
mod sharing;
