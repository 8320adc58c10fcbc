//! Over a Redis Cluster.

use super::{linear, support};

type Cluster = super::Cluster<super::store::RedisCluster>;

#[path = "commands.rs"]
mod commands;
#[path = "sharing.rs"]
mod sharing;
