//! Where a watch stands, and the proof that nothing is missing.

use std::collections::HashMap;

use plainwire_protocol::{Cursor, Point, Position};

use super::error::ClientError;
use super::update::Envelope;
use crate::From;

/// Where a watch stands in its channels. Outlives its connections: each begins here.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The channels, in request order.
    channels: Vec<String>,
    start: From,
    /// Where to resume, once something was received.
    resume: Option<Cursor>,
    /// The position in each channel that something was received from. What follows has the next offset.
    reached: HashMap<String, Position>,
}

/// How an envelope moves the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// One offset on.
    Next,
    /// So many offsets on: newer messages replaced those between.
    Skip(u64),
    /// To where it is already.
    Stay,
    /// Either: what the server wrote into the log, or says again.
    NextOrStay,
    /// Anywhere.
    Jump,
}

impl Place {
    pub(super) fn new(channels: Vec<String>, start: From) -> Place {
        Place { channels, start, resume: None, reached: HashMap::new() }
    }

    /// Where the next connection begins.
    pub(super) fn from(&self) -> From {
        match &self.resume {
            Some(cursor) => From::Cursor(cursor.to_string()),
            None => self.start.clone(),
        }
    }

    /// The cursor reached; `None` if nothing was received yet.
    pub(super) fn cursor(&self) -> Option<String> {
        self.resume.as_ref().map(Cursor::to_string)
    }

    /// The position reached in a channel, if something was received from it.
    pub(super) fn reached(&self, channel: &str) -> Option<Position> {
        self.reached.get(channel).copied()
    }

    /// The channels, in request order.
    pub(super) fn channels(&self) -> &[String] {
        &self.channels
    }

    /// Whether the watch was to begin now, with the state where there is one.
    pub(super) fn began_now(&self) -> bool {
        self.start == From::Now
    }

    /// Goes on to where an envelope leads. Refuses one that does not follow, unless `jumps` says that the transport
    /// skips what is between two states.
    pub(super) fn receive(&mut self, envelope: &Envelope, jumps: bool) -> Result<(), ClientError> {
        let step = match envelope.event.as_deref() {
            Some("@reset") => Step::Jump,
            Some("@live" | "@state") => Step::Stay,
            Some("@skipped") => Step::Skip(envelope.skipped()),
            Some(control) if control.starts_with('@') && envelope.cursor.is_none() => return Ok(()),
            Some(control) if control.starts_with('@') => Step::NextOrStay,
            _ => Step::Next,
        };
        let Some(cursor) = &envelope.cursor else {
            match (step, &envelope.channel, self.channels.as_slice()) {
                (Step::Next, ..) => return Err(ClientError::Protocol("a message has no cursor".to_owned())),
                // Where it goes on is said with the state, which comes next.
                (Step::Jump, Some(channel), _) | (Step::Jump, None, [channel]) => {
                    self.reached.remove(channel);
                }
                _ => {}
            }
            return self.resume_at(envelope.resume.as_deref());
        };
        let position = cursor.parse().map_err(|()| malformed(cursor))?;
        let channel = self.channel_of(envelope, position);
        if let Some(&reached) = self.reached.get(&channel)
            && !jumps
            && !follows(step, reached, position)
        {
            let (after, got) = (reached.to_string(), position.to_string());
            return Err(ClientError::Gap { channel, after, got });
        }
        match &envelope.resume {
            Some(resume) => self.resume_at(Some(resume))?,
            None => self.advance(&channel, position)?,
        }
        self.reached.insert(channel, position);
        Ok(())
    }

    /// The channel of an envelope. Where the transport does not say, it is the only one, or the one whose epoch it is.
    fn channel_of(&self, envelope: &Envelope, position: Position) -> String {
        let of_epoch = |name: &&String| {
            let name = plainwire_protocol::ChannelName::requested(name);
            name.is_ok_and(|name| position.epoch.belongs_to(&name))
        };
        let unnamed = || match self.channels.as_slice() {
            [only] => Some(only),
            several => several.iter().find(of_epoch),
        };
        envelope.channel.as_ref().or_else(unnamed).cloned().unwrap_or_default()
    }

    fn resume_at(&mut self, resume: Option<&str>) -> Result<(), ClientError> {
        if let Some(resume) = resume {
            self.resume = Some(Cursor::parse(resume).map_err(|_| malformed(resume))?);
        }
        Ok(())
    }

    /// Moves the one point of the cursor that is `channel`'s.
    fn advance(&mut self, channel: &str, position: Position) -> Result<(), ClientError> {
        if let [_] = self.channels.as_slice() {
            self.resume = Some(Cursor::from_iter([Point::After(position)]));
            return Ok(());
        }
        let Some(index) = self.channels.iter().position(|name| name == channel) else {
            return Err(ClientError::Protocol(format!("a message of '{channel}', which was not asked for")));
        };
        let before = match self.resume.take() {
            Some(cursor) => cursor,
            None => self.start_cursor()?,
        };
        let points = before.points().iter().enumerate();
        self.resume =
            Some(points.map(|(i, point)| if i == index { Point::After(position) } else { *point }).collect());
        Ok(())
    }

    /// The points of channels that nothing was received from.
    fn start_cursor(&self) -> Result<Cursor, ClientError> {
        let count = self.channels.len();
        match &self.start {
            From::Now => Ok(std::iter::repeat_n(Point::Now, count).collect()),
            // More than was asked for, should the connection break before the first message; never less.
            From::Oldest | From::Last(_) => Ok(std::iter::repeat_n(Point::Oldest, count).collect()),
            From::Cursor(text) => match Cursor::parse(text) {
                Ok(cursor) if cursor.points().len() == count => Ok(cursor),
                _ => Err(malformed(text)),
            },
        }
    }
}

fn follows(step: Step, reached: Position, position: Position) -> bool {
    match step {
        Step::Next => Position::new(reached.epoch, reached.offset.next()) == position,
        Step::Skip(count) => {
            reached.epoch == position.epoch && position.offset.since(reached.offset) == count && count > 0
        }
        Step::Stay => reached == position,
        Step::NextOrStay => follows(Step::Next, reached, position) || follows(Step::Stay, reached, position),
        Step::Jump => true,
    }
}

fn malformed(cursor: &str) -> ClientError {
    ClientError::Protocol(format!("'{cursor}' is no cursor of these channels"))
}

#[cfg(test)]
mod tests {
    use plainwire_protocol::{ChannelName, Epoch, Json, Offset};

    use super::*;

    fn position(channel: &str, generation: u64, offset: u64) -> Position {
        let name = ChannelName::parse(channel).unwrap();
        Position::new(Epoch::derive(1, generation, &name), Offset::new(offset))
    }

    fn received(channel: &str, event: Option<&str>, position: Position) -> Envelope {
        Envelope {
            channel: Some(channel.to_owned()),
            cursor: Some(position.to_string()),
            event: event.map(str::to_owned),
            data: Json::parse(b"{}").unwrap(),
            encoding: None,
            at: None,
            from: None,
            resume: None,
        }
    }

    fn place(channels: &[&str], start: From) -> Place {
        Place::new(channels.iter().map(|&name| name.to_owned()).collect(), start)
    }

    #[test]
    fn offsets_follow_one_another_unless_a_reset_says_otherwise() {
        let mut place = place(&["a"], From::Now);
        let mut step = |event, generation, offset| {
            place.receive(&received("a", event, position("a", generation, offset)), false)
        };
        step(None, 1, 5).unwrap();
        step(Some("@live"), 1, 5).unwrap();
        step(None, 1, 6).unwrap();
        for (event, generation, offset) in [
            (None, 1, 8),
            (None, 1, 6),
            (None, 1, 5),
            (None, 2, 7),
            (Some("@live"), 1, 7),
            (Some("@state"), 1, 9),
        ] {
            let error = step(event, generation, offset).unwrap_err();
            assert!(matches!(error, ClientError::Gap { .. }), "{event:?} {generation}.{offset}: {error}");
        }
        step(Some("@reset"), 2, 0).unwrap();
        step(Some("@state"), 2, 0).unwrap();
        step(None, 2, 1).unwrap();
        assert_eq!(place.from(), From::Cursor(position("a", 2, 1).to_string()));
    }

    #[test]
    fn after_a_reset_to_a_state_it_is_where_it_was_until_the_state_is_there() {
        let mut place = place(&["a"], From::Now);
        place.receive(&received("a", None, position("a", 1, 5)), false).unwrap();
        place
            .receive(&Envelope { cursor: None, ..received("a", Some("@reset"), position("a", 1, 0)) }, false)
            .unwrap();
        assert_eq!(place.from(), From::Cursor(position("a", 1, 5).to_string()));
        place.receive(&received("a", Some("@state"), position("a", 2, 3)), false).unwrap();
        assert_eq!(place.from(), From::Cursor(position("a", 2, 3).to_string()));
        place.receive(&received("a", None, position("a", 2, 5)), false).unwrap_err();
    }

    #[test]
    fn what_the_server_wrote_into_the_log_has_its_place_there() {
        let mut place = place(&["a"], From::Oldest);
        let mut step = |event, offset| place.receive(&received("a", event, position("a", 1, offset)), false);
        step(None, 1).unwrap();
        step(Some("@cancel"), 2).unwrap();
        step(None, 3).unwrap();
        step(Some("@end"), 5).unwrap_err();
        step(Some("@end"), 4).unwrap();
        step(Some("@end"), 4).unwrap();
    }

    #[test]
    fn what_was_skipped_is_counted() {
        let mut place = place(&["a"], From::Now);
        place.receive(&received("a", None, position("a", 1, 5)), false).unwrap();
        let mut skip = |count: u64, generation, offset| {
            let data = Json::of(&serde_json::json!({ "count": count }));
            let skipped =
                Envelope { data, ..received("a", Some("@skipped"), position("a", generation, offset)) };
            place.receive(&skipped, false)
        };
        for (count, generation, offset) in [(2, 1, 8), (0, 1, 5), (3, 2, 8), (u64::MAX, 1, 4)] {
            assert!(skip(count, generation, offset).is_err(), "{count} to {generation}.{offset}");
        }
        skip(3, 1, 8).unwrap();
        place.receive(&received("a", None, position("a", 1, 9)), false).unwrap();
    }

    #[test]
    fn a_message_that_was_refused_does_not_move_the_place() {
        let mut place = place(&["a"], From::Oldest);
        place.receive(&received("a", None, position("a", 1, 1)), false).unwrap();
        place.receive(&received("a", None, position("a", 1, 3)), false).unwrap_err();
        assert_eq!(place.cursor(), Some(position("a", 1, 1).to_string()));
    }

    #[test]
    fn several_channels_have_one_cursor_in_request_order() {
        for (start, rest) in [(From::Now, "*"), (From::Oldest, "0"), (From::Last(3), "0")] {
            let mut place = place(&["b", "a"], start);
            let (a, b) = (position("a", 1, 7), position("b", 1, 9));
            place.receive(&received("a", None, a), false).unwrap();
            assert_eq!(place.cursor(), Some(format!("{rest}~{a}")));
            place.receive(&received("b", None, b), false).unwrap();
            assert_eq!(place.cursor(), Some(format!("{b}~{a}")));
        }
    }

    #[test]
    fn a_reset_of_one_of_several_channels_is_told_by_its_epoch() {
        let mut place = place(&["b", "a"], From::Oldest);
        let mut reset = received("a", Some("@reset"), position("a", 4, 2));
        reset.channel = None;
        place.receive(&reset, false).unwrap();
        assert_eq!(place.cursor(), Some(format!("0~{}", position("a", 4, 2))));
    }

    #[test]
    fn states_that_were_skipped_are_no_gap_where_the_transport_skips() {
        let mut place = place(&["a"], From::Now);
        place.receive(&received("a", Some("@state"), position("a", 1, 1)), true).unwrap();
        place.receive(&received("a", Some("@state"), position("a", 1, 9)), true).unwrap();
        assert_eq!(place.cursor(), Some(position("a", 1, 9).to_string()));
    }
}
