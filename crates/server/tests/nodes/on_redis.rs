//! Over Redis.

use super::{configuration, history, linear, process, proxy, redis, support};

type Store = super::Redis;
type Cluster = super::Cluster<Store>;

#[path = "chaos.rs"]
mod chaos;
#[path = "commands.rs"]
mod commands;
#[path = "failover.rs"]
mod failover;
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
