//! Over Kafka: no states, no presence, and with them no commands.

use super::{history, process, proxy, support};

type Store = super::store::KafkaStore;
type Cluster = super::Cluster<Store>;

#[path = "chaos.rs"]
mod chaos;
#[path = "messages_only.rs"]
mod messages_only;
#[path = "outages.rs"]
mod outages;
#[path = "sharing.rs"]
mod sharing;
