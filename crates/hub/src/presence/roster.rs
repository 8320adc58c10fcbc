//! The state of a channel's presence, and what has to be written to it.

use std::collections::{BTreeMap, BTreeSet};

use plainwire_protocol::Json;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Attendance;

/// Most bytes of the members of a list, as they are written: each change of the list writes all of it.
pub const MAX_ROSTER_BYTES: usize = 256 << 10;
/// Most members that one append adds: their messages are written in one go. The others are in the next one.
pub const MAX_EVENTS: usize = 256;
/// What a member takes beside its names and what is told of it: the rest of its JSON, in the list and in its node's share.
const MEMBER_BYTES: usize = 64;

/// Who is in a channel: its state, as clients see it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Roster {
    /// How many there are, listed or not.
    pub count: u64,
    /// Those who are listed.
    pub members: BTreeMap<Box<str>, Member>,
    /// Which node answers for whom. A node takes out none but its own, and those of nodes that are gone.
    pub nodes: BTreeMap<Box<str>, Share>,
}

/// One entry of the list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Since when, in milliseconds since 1970.
    pub since: u64,
    /// Whose connection it is, where entries are connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<Box<str>>,
    /// What its credential says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<Value>,
}

/// Those for whom one node answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Those of them who are listed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub members: BTreeSet<Box<str>>,
    /// How many more there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unlisted: u64,
}

/// What has to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Next {
    /// The next state.
    pub roster: Roster,
    /// What to tell those who watch, at least one thing.
    pub events: Vec<Event>,
}

/// What those who watch are told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Somebody is there who was not.
    Join {
        /// Its name in the list.
        id: Box<str>,
        /// What is known of it.
        member: Member,
        /// How many there are now.
        count: u64,
    },
    /// What is known of somebody has changed.
    Update {
        /// Its name in the list.
        id: Box<str>,
        /// What is known of it.
        member: Member,
        /// How many there are.
        count: u64,
    },
    /// Somebody has left.
    Leave {
        /// Its name in the list.
        id: Box<str>,
        /// How many there are now.
        count: u64,
    },
    /// So many are there, and the list is the same.
    Count {
        /// How many.
        count: u64,
    },
}

impl Event {
    /// The name of the message that tells of it.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Join { .. } => "join",
            Event::Update { .. } => "update",
            Event::Leave { .. } => "leave",
            Event::Count { .. } => "count",
        }
    }

    /// The message's payload.
    pub fn data(&self) -> Json {
        #[derive(Serialize)]
        struct Data<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            member: Option<&'a Member>,
            count: u64,
        }
        Json::of(&match self {
            Event::Join { id, member, count } | Event::Update { id, member, count } => {
                Data { id: Some(id), member: Some(member), count: *count }
            }
            Event::Leave { id, count } => Data { id: Some(id), member: None, count: *count },
            Event::Count { count } => Data { id: None, member: None, count: *count },
        })
    }
}

impl Roster {
    /// What `node` has to write, if anything, so that the state says who is here: its own clients are those of `here`, and nodes
    /// for which `is_gone` answers for nobody any more. At most `most` are listed.
    pub fn next(
        &self,
        node: &str,
        here: &Attendance,
        most: usize,
        mut is_gone: impl FnMut(&str) -> bool,
    ) -> Option<Next> {
        let mut nodes = self.nodes.clone();
        let own = nodes.remove(node).unwrap_or_default();
        nodes.retain(|other, _| !is_gone(other));
        let others: BTreeSet<&str> =
            nodes.values().flat_map(|share| &share.members).map(|id| &**id).collect();
        let own = self.share(&own, here, &others, most);
        let named = others.iter().copied().chain(own.members.iter().map(|id| &**id));
        let members = named.map(|id| (Box::from(id), self.member(id, here))).collect();
        if own != Share::default() {
            nodes.insert(node.into(), own);
        }
        let mut roster = Roster { count: 0, members, nodes };
        roster.count =
            roster.members.len() as u64 + roster.nodes.values().map(|share| share.unlisted).sum::<u64>();
        (roster != *self).then(|| Next { events: self.events(&roster), roster })
    }

    /// The nodes that answer for somebody.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(|node| &**node)
    }

    /// What the node answers for: who is listed stays so; others are, in the order in which they came, while there is room.
    fn share(&self, before: &Share, here: &Attendance, others: &BTreeSet<&str>, most: usize) -> Share {
        let mut room = Room::left(most);
        others.iter().for_each(|id| room.take(id, self.members.get(*id).unwrap_or(&Member::default())));
        let is_here = |id: &&str| here.entries().contains_key(*id);
        let mut members: BTreeSet<Box<str>> = others.iter().copied().filter(is_here).map(Box::from).collect();
        let listed = before.members.iter().map(|id| &**id).filter(|id| self.members.contains_key(*id));
        for id in listed.filter(is_here).filter(|id| !others.contains(id)) {
            if room.takes(id, &self.member(id, here)) {
                members.insert(id.into());
            }
        }
        // However many wait, no more are looked at than are listed and told of.
        let mut added = 0;
        for id in here.in_order() {
            if room.members == 0 || added == MAX_EVENTS {
                break;
            }
            if members.contains(id) {
                continue;
            }
            if !room.takes(id, &self.member(id, here)) {
                break;
            }
            members.insert(id.into());
            added += 1;
        }
        let unlisted = (here.entries().len() - members.len()) as u64 + here.counted();
        Share { members, unlisted }
    }

    /// What is known of an entry: what is written of it, unless this node knows better.
    fn member(&self, id: &str, here: &Attendance) -> Member {
        let written = self.members.get(id);
        let Some(entry) = here.entries().get(id) else { return written.cloned().unwrap_or_default() };
        match written {
            Some(member) if !entry.is_newer => member.clone(),
            Some(member) => Member { info: entry.info.clone(), ..member.clone() },
            None => Member {
                since: entry.since.0,
                sub: entry.subject.as_deref().filter(|subject| *subject != id).map(Box::from),
                info: entry.info.clone(),
            },
        }
    }

    /// What has happened when `next` takes the place of this.
    fn events(&self, next: &Roster) -> Vec<Event> {
        let left = self.members.keys().filter(|id| !next.members.contains_key(*id));
        let joined = next.members.iter().filter(|(id, _)| !self.members.contains_key(*id));
        let changed =
            next.members.iter().filter(|(id, member)| self.members.get(*id).is_some_and(|m| m != *member));
        // Each says the count after it, and the last one the count that is.
        let mut count =
            (next.count + left.clone().count() as u64).saturating_sub(joined.clone().count() as u64);
        let mut events = Vec::new();
        for id in left {
            count = count.saturating_sub(1);
            events.push(Event::Leave { id: id.clone(), count });
        }
        for (id, member) in joined {
            count += 1;
            events.push(Event::Join { id: id.clone(), member: member.clone(), count });
        }
        for (id, member) in changed {
            events.push(Event::Update { id: id.clone(), member: member.clone(), count });
        }
        if events.is_empty() {
            events.push(Event::Count { count });
        }
        events
    }
}

/// Room in the list.
struct Room {
    members: usize,
    bytes: usize,
}

impl Room {
    fn left(most: usize) -> Room {
        Room { members: most, bytes: MAX_ROSTER_BYTES }
    }

    /// Takes room, as far as there is any.
    fn take(&mut self, id: &str, member: &Member) {
        self.members = self.members.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(weight(id, member));
    }

    /// Takes room if there is enough. Says whether there was.
    fn takes(&mut self, id: &str, member: &Member) -> bool {
        let enough = self.members > 0 && self.bytes >= weight(id, member);
        if enough {
            self.take(id, member);
        }
        enough
    }
}

fn weight(id: &str, member: &Member) -> usize {
    let info = member.info.as_ref().map_or(0, |info| Json::of(info).as_bytes().len());
    2 * id.len() + member.sub.as_deref().map_or(0, str::len) + info + MEMBER_BYTES
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
