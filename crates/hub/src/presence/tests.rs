//! What is listed, counted, kept and told.

use std::collections::BTreeSet;
use std::time::Duration;

use plainwire_protocol::{Json, Millis};
use serde_json::{Value, json};

use super::*;

const GRACE: Duration = Duration::from_secs(5);

fn who(subject: &str) -> Attendee {
    Attendee { subject: Some(subject.into()), returns_as: subject.into(), info: None }
}

fn nobody(address: &str) -> Attendee {
    Attendee { subject: None, returns_as: address.into(), info: None }
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A node that takes everybody by subject.
#[derive(Default)]
struct Node {
    here: Attendance,
}

impl Node {
    fn enter(&mut self, subject: &str, now: u64) -> Seat {
        self.here.enter(Mode::Principal, who(subject), Millis(now * 1000), || unreachable!("by subject"))
    }

    fn write(&mut self, name: &str, roster: &mut Roster, now: u64, gone: &[&str]) -> Vec<String> {
        self.write_most(name, roster, now, gone, 1000)
    }

    /// Writes what it has to, and says what watchers are told.
    fn write_most(
        &mut self,
        name: &str,
        roster: &mut Roster,
        now: u64,
        gone: &[&str],
        most: usize,
    ) -> Vec<String> {
        self.here.settle(at(now));
        let next = roster.next(name, &self.here, most, |node| gone.contains(&node));
        let Some(next) = next else { return Vec::new() };
        *roster = next.roster;
        self.here.written(roster);
        let told = next.events.iter().map(|event| match event {
            Event::Join { id, count, .. } => format!("+{id} {count}"),
            Event::Update { id, count, .. } => format!("={id} {count}"),
            Event::Leave { id, count } => format!("-{id} {count}"),
            Event::Count { count } => format!("{count}"),
        });
        told.collect()
    }
}

#[test]
fn who_is_here_is_listed_once_and_until_the_last_seat_is_left() {
    let (mut a, mut roster) = (Node::default(), Roster::default());
    let first = a.enter("ann", 1);
    let second = a.enter("ann", 2);
    let bob = a.enter("bob", 2);
    assert_eq!(a.write("a", &mut roster, 2, &[]), ["+ann 1", "+bob 2"]);
    assert_eq!(roster.members["ann"].since, 1000);
    a.here.leave(&first, at(3), GRACE);
    a.here.leave(&bob, at(3), Duration::ZERO);
    assert_eq!(a.write("a", &mut roster, 3, &[]), ["-bob 1"]);
    a.here.leave(&second, at(4), GRACE);
    assert_eq!(a.here.settle(at(4)), Some(at(9)));
    assert_eq!(a.write("a", &mut roster, 8, &[]), [""; 0]);
    let again = a.enter("ann", 8);
    assert_eq!(a.write("a", &mut roster, 20, &[]), [""; 0], "she came back in time");
    a.here.leave(&again, at(20), GRACE);
    assert_eq!(a.write("a", &mut roster, 25, &[]), ["-ann 0"]);
    assert!(a.here.is_empty());
    assert_eq!(roster, Roster::default());
}

#[test]
fn who_moves_to_another_node_neither_leaves_nor_joins() {
    let (mut a, mut b, mut roster) = (Node::default(), Node::default(), Roster::default());
    let seat = a.enter("ann", 1);
    a.write("a", &mut roster, 1, &[]);
    a.here.leave(&seat, at(2), GRACE);
    b.enter("ann", 4);
    assert_eq!(b.write("b", &mut roster, 4, &[]), ["1"]);
    assert_eq!(a.write("a", &mut roster, 7, &[]), ["1"]);
    assert_eq!(roster.members["ann"].since, 1000);
    assert_eq!(roster.nodes().collect::<Vec<_>>(), ["b"]);
}

#[test]
fn of_a_node_that_is_gone_only_those_stay_who_moved() {
    let (mut a, mut b, mut roster) = (Node::default(), Node::default(), Roster::default());
    a.enter("ann", 1);
    a.enter("cid", 1);
    a.here.enter(Mode::Principal, nobody("1.2.3.4"), Millis(1), || unreachable!());
    a.write("a", &mut roster, 1, &[]);
    b.enter("bob", 1);
    b.enter("ann", 2);
    assert_eq!(b.write("b", &mut roster, 2, &[]), ["+bob 4"]);
    assert_eq!(b.write("b", &mut roster, 20, &["a"]), ["-cid 2"]);
    assert_eq!(roster.members.keys().map(|id| &**id).collect::<Vec<_>>(), ["ann", "bob"]);
    // It was only paused: what it knows of its clients is still so.
    assert_eq!(a.write("a", &mut roster, 30, &[]), ["+cid 4"]);
}

#[test]
fn connections_are_entries_of_their_own_and_are_known_again() {
    let mut here = Attendance::default();
    let mut number = 0;
    let mut enter = |here: &mut Attendance, who: Attendee| {
        number += 1;
        here.enter(Mode::Connection, who, Millis(number), || format!("c{number}").into())
    };
    let first = enter(&mut here, who("ann"));
    let second = enter(&mut here, who("ann"));
    assert_ne!(first, second);
    let roster = Roster::default().next("a", &here, 9, |_| false).unwrap().roster;
    assert_eq!(roster.members["c1"].sub.as_deref(), Some("ann"));
    here.leave(&first, at(1), GRACE);
    assert_ne!(enter(&mut here, nobody("@1.2.3.4")), first);
    assert_ne!(enter(&mut here, who("bob")), first);
}

#[test]
fn a_connection_that_comes_back_has_its_name_again() {
    let mut here = Attendance::default();
    let first = here.enter(Mode::Connection, nobody("@10.0.0.1"), Millis(1), || "c1".into());
    here.leave(&first, at(1), GRACE);
    let other = here.enter(Mode::Connection, nobody("@10.0.0.2"), Millis(1), || "c2".into());
    assert_eq!(other, Seat::Listed("c2".into()));
    let again = here.enter(Mode::Connection, nobody("@10.0.0.1"), Millis(1), || "c3".into());
    assert_eq!(again, first);
    here.leave(&again, at(2), GRACE);
    here.settle(at(7));
    let late = here.enter(Mode::Connection, nobody("@10.0.0.1"), Millis(1), || "c4".into());
    assert_eq!(late, Seat::Listed("c4".into()));
}

#[test]
fn who_shows_another_credential_is_there_under_it() {
    let mut here = Attendance::default();
    let listed = |here: &mut Attendance| {
        let next = Roster::default().next("a", here, 9, |_| false);
        let roster = next.map(|next| next.roster).unwrap_or_default();
        (
            roster.count,
            roster.members.into_iter().map(|(id, member)| (id.to_string(), member.info)).collect::<Vec<_>>(),
        )
    };
    let info = |who: Attendee, info: &str| Attendee { info: Some(json!(info)), ..who };
    let unused = || unreachable!("it has a name");
    let mut seat = here.enter(Mode::Principal, nobody("@::1"), Millis(1), unused);
    here.renew(Mode::Principal, &mut seat, nobody("@::1"), Millis(1), unused);
    assert_eq!(listed(&mut here), (1, vec![]));
    here.renew(Mode::Principal, &mut seat, info(who("ann"), "x"), Millis(2), unused);
    assert_eq!(listed(&mut here), (1, vec![("ann".to_owned(), Some(json!("x")))]));
    here.renew(Mode::Principal, &mut seat, info(who("ann"), "y"), Millis(3), unused);
    assert_eq!(listed(&mut here), (1, vec![("ann".to_owned(), Some(json!("y")))]));
    here.leave(&seat, at(4), Duration::ZERO);
    assert!(here.is_empty());
    // A connection keeps its name, unless it was nobody's.
    let mut seat = here.enter(Mode::Connection, nobody("@::1"), Millis(1), || "c1".into());
    here.renew(Mode::Connection, &mut seat, who("ann"), Millis(1), || "c2".into());
    assert_eq!(seat, Seat::Listed("c2".into()));
    here.renew(Mode::Connection, &mut seat, info(who("ann"), "z"), Millis(1), unused);
    assert_eq!(listed(&mut here), (1, vec![("c2".to_owned(), Some(json!("z")))]));
    let mut seat = here.enter(Mode::Count, nobody("@::1"), Millis(1), unused);
    here.renew(Mode::Count, &mut seat, who("ann"), Millis(1), unused);
    assert_eq!(seat, Seat::Counted);
}

#[test]
fn those_who_are_not_listed_are_counted() {
    let (mut a, mut roster) = (Node::default(), Roster::default());
    let seats: Vec<Seat> =
        (0..3).map(|_| a.here.enter(Mode::Count, who("ann"), Millis(1), || unreachable!())).collect();
    assert_eq!(a.write("a", &mut roster, 1, &[]), ["3"]);
    assert!(roster.members.is_empty());
    a.here.leave(&seats[0], at(1), GRACE);
    assert_eq!(a.write("a", &mut roster, 2, &[]), [""; 0], "it may come back");
    a.here.enter(Mode::Count, who("ann"), Millis(1), || unreachable!());
    assert_eq!(a.write("a", &mut roster, 9, &[]), [""; 0], "it did, and is not counted twice");
    a.here.leave(&seats[1], at(10), Duration::ZERO);
    assert_eq!(a.write("a", &mut roster, 10, &[]), ["2"]);
}

#[test]
fn the_list_is_bounded_and_those_beyond_it_are_counted_until_there_is_room() {
    let (mut a, mut b, mut roster) = (Node::default(), Node::default(), Roster::default());
    let first = a.enter("z", 1);
    a.enter("m", 2);
    a.enter("a", 3);
    assert_eq!(
        a.write_most("a", &mut roster, 3, &[], 2),
        ["+m 2", "+z 3"],
        "in the order in which they came"
    );
    b.enter("y", 4);
    assert_eq!(b.write_most("b", &mut roster, 4, &[], 2), ["4"]);
    assert_eq!((roster.count, roster.members.len()), (4, 2));
    a.here.leave(&first, at(5), Duration::ZERO);
    assert_eq!(a.write_most("a", &mut roster, 5, &[], 2), ["-z 2", "+a 3"]);
    // Bytes count too.
    let mut c = Node::default();
    let large = json!("x".repeat(MAX_ROSTER_BYTES / 4));
    for name in ["k", "l", "m", "n", "o"] {
        let who = Attendee { info: Some(large.clone()), ..who(name) };
        c.here.enter(Mode::Principal, who, Millis(1), || unreachable!());
    }
    let mut roster = Roster::default();
    c.write("c", &mut roster, 1, &[]);
    assert_eq!((roster.count, roster.members.len()), (5, 3));
}

#[test]
fn many_who_come_at_once_are_told_of_in_several_appends() {
    let (mut a, mut roster) = (Node::default(), Roster::default());
    (0..2 * MAX_EVENTS + 5).for_each(|number| drop(a.enter(&format!("{number:04}"), 1)));
    for expected in [MAX_EVENTS, MAX_EVENTS, 5, 0] {
        assert_eq!(a.write("a", &mut roster, 1, &[]).len(), expected);
        assert_eq!(roster.count, 2 * MAX_EVENTS as u64 + 5, "all of them are counted at once");
    }
}

#[test]
fn who_comes_last_says_how_it_is() {
    let (mut a, mut b, mut roster) = (Node::default(), Node::default(), Roster::default());
    let with = |info: &str| Attendee { info: Some(json!(info)), ..who("ann") };
    let enter =
        |node: &mut Node, info| node.here.enter(Mode::Principal, with(info), Millis(1), || unreachable!());
    enter(&mut a, "x");
    assert_eq!(a.write("a", &mut roster, 1, &[]), ["+ann 1"]);
    enter(&mut b, "y");
    assert_eq!(b.write("b", &mut roster, 1, &[]), ["=ann 1"]);
    assert_eq!(roster.members["ann"].info, Some(json!("y")));
    for _ in 0..3 {
        assert_eq!(a.write("a", &mut roster, 1, &[]), [""; 0], "they do not take turns");
        assert_eq!(b.write("b", &mut roster, 1, &[]), [""; 0]);
    }
    enter(&mut a, "z");
    assert_eq!(a.write("a", &mut roster, 1, &[]), ["=ann 1"]);
}

#[test]
fn the_state_is_what_clients_are_shown() {
    let (mut a, mut roster) = (Node::default(), Roster::default());
    let ann = Attendee { info: Some(json!({"name": "Ann"})), ..who("ann") };
    a.here.enter(Mode::Principal, ann, Millis(7), || unreachable!());
    a.here.enter(Mode::Principal, nobody("@::1"), Millis(7), || unreachable!());
    let next = roster.next("n1", &a.here, 9, |_| false).unwrap();
    assert_eq!(
        serde_json::to_value(&next.roster).unwrap(),
        json!({"count": 2, "members": {"ann": {"since": 7, "info": {"name": "Ann"}}}, "nodes": {"n1": {"members": ["ann"], "unlisted": 1}}})
    );
    assert_eq!(
        next.events[0].data().as_str(),
        r#"{"id":"ann","member":{"since":7,"info":{"name":"Ann"}},"count":2}"#
    );
    roster = Json::of(&next.roster).to().unwrap();
    assert_eq!(roster, next.roster);
}

/// Whatever the order of joins, leaves, moves, deaths, pauses and losses: in the end those are listed who are connected, and a watcher
/// that only follows the messages knows the same.
#[test]
fn in_the_end_exactly_those_are_listed_who_are_connected() {
    for seed in 0..300 {
        model(seed);
    }
}

/// A node of the model: its name, what it knows, and whose its seats are.
type Modelled = (String, Attendance, Vec<(Seat, String)>);

fn model(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let most = random.usize(2..12);
    let mode = [Mode::Principal, Mode::Connection, Mode::Count][random.usize(..3)];
    let mut nodes: Vec<Modelled> = Vec::new();
    let mut dead: BTreeSet<String> = BTreeSet::new();
    let (mut roster, mut watched) = (Roster::default(), BTreeSet::new());
    let (mut now, mut fresh, mut born) = (0, 0, 0);
    let write = |roster: &mut Roster,
                 watched: &mut BTreeSet<Box<str>>,
                 (name, here, _): &mut Modelled,
                 now: u64,
                 gone: &BTreeSet<String>| {
        here.settle(at(now));
        let Some(next) = roster.next(name, here, most, |node| gone.contains(node)) else { return false };
        for event in &next.events {
            match event {
                Event::Join { id, .. } => assert!(watched.insert(id.clone()), "{seed}: {id} joined twice"),
                Event::Leave { id, .. } => {
                    assert!(watched.remove(id), "{seed}: {id} left without being there")
                }
                Event::Update { id, .. } => assert!(watched.contains(id)),
                Event::Count { .. } => {}
            }
        }
        let last = serde_json::from_slice::<Value>(next.events.last().unwrap().data().as_bytes()).unwrap();
        assert_eq!(last["count"], json!(next.roster.count), "{seed}");
        assert!(next.roster.members.len() <= most, "{seed}");
        *roster = next.roster;
        here.written(roster);
        assert!(roster.members.keys().eq(watched.iter()), "{seed}");
        true
    };
    for _ in 0..random.usize(20..200) {
        now += random.u64(0..3);
        while nodes.len() < 3 {
            born += 1;
            nodes.push((format!("n{born}"), Attendance::default(), Vec::new()));
        }
        let index = random.usize(..nodes.len());
        match random.u8(..20) {
            0..8 => {
                let subject = format!("s{}", random.u8(..8));
                fresh += 1;
                let seat =
                    nodes[index].1.enter(mode, who(&subject), Millis(now), || format!("c{fresh}").into());
                nodes[index].2.push((seat, subject));
            }
            8..14 if !nodes[index].2.is_empty() => {
                let place = random.usize(..nodes[index].2.len());
                let (seat, _) = nodes[index].2.swap_remove(place);
                nodes[index].1.leave(&seat, at(now), GRACE * random.u32(..2));
            }
            // A node dies; its clients are gone, or come back elsewhere like all others.
            14 => drop(dead.insert(nodes.swap_remove(index).0)),
            // The store is wiped, and those who watch are told so.
            15 => {
                roster = Roster::default();
                watched.clear();
            }
            // A node is taken for dead that is not.
            16 => {
                let name = nodes[index].0.clone();
                let other = (index + 1) % nodes.len();
                let gone = dead.iter().cloned().chain([name]).collect();
                write(&mut roster, &mut watched, &mut nodes[other], now, &gone);
            }
            _ => drop(write(&mut roster, &mut watched, &mut nodes[index], now, &dead)),
        }
    }
    now += 60;
    let mut rounds = 0;
    while nodes
        .iter_mut()
        .map(|node| write(&mut roster, &mut watched, node, now, &dead))
        .filter(|wrote| *wrote)
        .count()
        > 0
    {
        rounds += 1;
        assert!(rounds < 10, "{seed}: they do not come to an end");
    }
    let seats = || nodes.iter().flat_map(|(_, _, seats)| seats);
    let connected: BTreeSet<&str> = seats().map(|(_, subject)| &**subject).collect();
    match mode {
        Mode::Count => {
            assert_eq!((roster.count, roster.members.len()), (seats().count() as u64, 0), "{seed}")
        }
        Mode::Connection => {
            assert_eq!(roster.count, seats().count() as u64, "{seed}");
            assert_eq!(roster.members.len(), most.min(seats().count()), "{seed}");
            assert!(roster.members.values().all(|member| connected.contains(member.sub.as_deref().unwrap())));
        }
        Mode::Principal => {
            assert!(roster.members.keys().all(|id| connected.contains(&**id)), "{seed}");
            assert_eq!(roster.members.len(), most.min(connected.len()), "{seed}");
            if connected.len() <= most {
                assert_eq!(roster.count, connected.len() as u64, "{seed}");
            }
        }
    }
}
