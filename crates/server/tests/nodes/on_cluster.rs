//! Over a Redis Cluster.

use super::{history, linear, process, proxy, support};

type Store = super::store::RedisCluster;
type Cluster = super::Cluster<Store>;

#[path = "chaos.rs"]
mod chaos;
#[path = "commands.rs"]
mod commands;
#[path = "sharing.rs"]
mod sharing;
