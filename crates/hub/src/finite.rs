//! Finite streams: channels that somebody ends for good. What is stored beside their messages says how far they are.
//!
//! Every write to one is decided on that, as commands are on a state, so that after the end nothing is taken, on whichever node.

use plainwire_protocol::{EventName, Json, Notice, Problem};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::machine::{MAX_STATE_BYTES, State};

/// The commands of a finite stream.
pub const COMMANDS: [&str; 3] = ["complete", "fail", "cancel"];

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// With all that it should have.
    Complete,
    /// Before that.
    Failed,
}

impl Finish {
    /// The word for it on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Finish::Complete => "complete",
            Finish::Failed => "failed",
        }
    }

    /// How the stream ended whose last message says this.
    pub fn of(end: &Json) -> Finish {
        #[derive(Deserialize)]
        struct Reason<'a> {
            reason: &'a str,
        }
        let said = serde_json::from_slice::<Reason<'_>>(end.as_bytes());
        match said.is_ok_and(|said| said.reason == Finish::Failed.as_str()) {
            true => Finish::Failed,
            false => Finish::Complete,
        }
    }
}

/// What somebody asks of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// A command and its body; without one it is a message.
    pub command: Option<(&'a str, &'a [u8])>,
    /// Which of the producer's writes this is, counted from 1, if the producer counts.
    pub sequence: Option<u64>,
}

/// What comes of it.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It becomes a message: of a command, this one. What is stored beside the messages changes if there is a state.
    Append(Option<(EventName, Json)>, Option<State>),
    /// It was applied before.
    Known,
}

/// What is stored.
#[derive(Clone, Default, Deserialize, Serialize)]
struct Progress<'a> {
    /// The producer's last write, if it counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    /// Whether somebody asked to stop.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    cancelled: bool,
    /// What the last message says, if there is one.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    end: Option<&'a RawValue>,
}

/// What is stored of a stream that nobody wrote to.
pub fn initial() -> Json {
    Json::of(&Progress::default())
}

/// What the last message of a stream says, of which this is stored. `None` while it is open.
pub fn end(stored: &Json) -> Option<Json> {
    let progress = serde_json::from_slice::<Progress<'_>>(stored.as_bytes()).ok()?;
    Some(Json::of(progress.end?))
}

/// Decides what becomes of a write.
///
/// # Errors
/// 409 `completed` after the end, 409 `cancelled` if that was asked for before, 409 `sequence` if writes are missing before this one; 400 if the body
/// is wrong.
pub fn decide(stored: &State, ask: Ask<'_>) -> Result<Answer, Problem> {
    let mut progress: Progress<'_> = serde_json::from_slice(stored.json().as_bytes()).map_err(|error| {
        Problem::new(500, "state", format!("what is stored of this stream cannot be used: {error}"))
    })?;
    if let Some(sequence) = ask.sequence {
        let expected = progress.sequence.unwrap_or(0) + 1;
        if sequence < expected {
            return Ok(Answer::Known);
        }
        if progress.end.is_none() && sequence > expected {
            let detail = format!("the next write of the producer is number {expected}");
            return Err(Problem::new(409, "sequence", detail).with("expected", expected));
        }
        progress.sequence = Some(sequence);
    }
    if let Some(end) = progress.end {
        let detail = "the stream has ended: nothing more is taken";
        let how = Finish::of(&Json::of(end)).as_str();
        return Err(Problem::new(409, "completed", detail).with("ended", how));
    }
    let Some((command, body)) = ask.command else {
        let next = ask.sequence.map(|_| state(&progress)).transpose()?;
        return Ok(Answer::Append(None, next));
    };
    if body.len() > MAX_STATE_BYTES {
        return Err(Problem::new(
            413,
            "too_large",
            format!("the body has more than {MAX_STATE_BYTES} bytes"),
        ));
    }
    let body = if body.trim_ascii().is_empty() { None } else { Some(parse(body)?) };
    let (event, data) = match command {
        "complete" => (Notice::End, ended(Finish::Complete, "result", body.as_ref())),
        "fail" => (Notice::End, ended(Finish::Failed, "problem", Some(&problem(body)?))),
        "cancel" if progress.cancelled => {
            return Err(Problem::new(409, "cancelled", "the producer was asked to stop already"));
        }
        "cancel" => (Notice::Cancel, body.unwrap_or_else(|| Json::of(&serde_json::json!({})))),
        other => {
            let detail = format!("a finite stream has the commands {}, not '{other}'", COMMANDS.join(", "));
            return Err(Problem::new(404, "no_such_command", detail));
        }
    };
    let raw;
    match event {
        Notice::Cancel => progress.cancelled = true,
        Notice::End => {
            raw = serde_json::from_slice::<&RawValue>(data.as_bytes()).expect("it was just written");
            progress.end = Some(raw);
        }
    }
    let next = state(&progress)?;
    Ok(Answer::Append(Some((EventName::of(event), data)), Some(next)))
}

fn state(progress: &Progress<'_>) -> Result<State, Problem> {
    State::parse(Json::of(progress)).map_err(|error| Problem::new(400, "overflow", error))
}

fn parse(body: &[u8]) -> Result<Json, Problem> {
    Json::parse(body).map_err(|error| Problem::new(400, "body_json", error))
}

/// What went wrong, as problem details (RFC 9457).
fn problem(body: Option<Json>) -> Result<Json, Problem> {
    let problem = body.unwrap_or_else(|| Json::of(&serde_json::json!({})));
    match problem.as_bytes().starts_with(b"{") {
        true => Ok(problem),
        false => Err(Problem::new(
            400,
            "arguments",
            "what went wrong is told by an object: problem details (RFC 9457)",
        )),
    }
}

fn ended(ending: Finish, name: &str, body: Option<&Json>) -> Json {
    let mut text = format!("{{\"reason\":\"{}\"", ending.as_str()).into_bytes();
    if let Some(body) = body {
        text.extend_from_slice(format!(",\"{name}\":").as_bytes());
        text.extend_from_slice(body.as_bytes());
    }
    text.push(b'}');
    Json::from_trusted(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(text: &str) -> State {
        State::parse(Json::parse(text.as_bytes()).unwrap()).unwrap()
    }

    fn command(state: &State, name: &str, body: &str) -> Result<(String, String, State), Problem> {
        match decide(state, Ask { command: Some((name, body.as_bytes())), sequence: None })? {
            Answer::Append(Some((event, data)), Some(next)) => {
                Ok((event.to_string(), data.to_string(), next))
            }
            other => panic!("{other:?}"),
        }
    }

    fn message(state: &State, sequence: Option<u64>) -> Result<Answer, Problem> {
        decide(state, Ask { command: None, sequence })
    }

    fn refused(result: Result<impl Sized, Problem>) -> (u16, String) {
        let problem = result.err().expect("refused");
        (problem.status, problem.reason.to_string())
    }

    #[test]
    fn a_stream_ends_once() {
        let open = State::parse(initial()).unwrap();
        let (event, data, complete) = command(&open, "complete", " {\"n\": 1} ").unwrap();
        assert_eq!((&*event, &*data), ("@end", r#"{"reason":"complete","result":{"n":1}}"#));
        assert_eq!(end(complete.json()).unwrap().as_str(), data);
        assert_eq!(Finish::of(&end(complete.json()).unwrap()), Finish::Complete);
        let (_, data, failed) = command(&open, "fail", "{\"title\":\"no\"}").unwrap();
        assert_eq!(data, r#"{"reason":"failed","problem":{"title":"no"}}"#);
        assert_eq!(Finish::of(&end(failed.json()).unwrap()), Finish::Failed);
        for ended in [complete, failed] {
            for name in COMMANDS {
                assert_eq!(refused(command(&ended, name, "")), (409, "completed".to_owned()));
            }
            assert_eq!(refused(message(&ended, None)), (409, "completed".to_owned()));
        }
        assert_eq!(command(&open, "complete", "").unwrap().1, r#"{"reason":"complete"}"#);
        assert_eq!(end(open.json()), None);
    }

    #[test]
    fn who_cancels_only_asks() {
        let open = State::parse(initial()).unwrap();
        let (event, data, asked) = command(&open, "cancel", "").unwrap();
        assert_eq!((&*event, &*data), ("@cancel", "{}"));
        assert_eq!(refused(command(&asked, "cancel", "")), (409, "cancelled".to_owned()));
        assert!(matches!(message(&asked, None), Ok(Answer::Append(None, None))));
        assert!(command(&asked, "complete", "").is_ok());
    }

    #[test]
    fn writes_that_are_counted_are_applied_once_and_in_order() {
        let mut state = State::parse(initial()).unwrap();
        for sequence in 1..=3 {
            let Answer::Append(None, Some(next)) = message(&state, Some(sequence)).unwrap() else { panic!() };
            state = next;
            assert!(matches!(message(&state, Some(sequence)), Ok(Answer::Known)));
        }
        let problem = message(&state, Some(5)).unwrap_err();
        assert_eq!(
            (problem.status, &*problem.reason, &problem.more["expected"]),
            (409, "sequence", &4.into())
        );
        let ask = Ask { command: Some(("complete", b"")), sequence: Some(4) };
        let Answer::Append(_, Some(ended)) = decide(&state, ask).unwrap() else { panic!() };
        assert!(matches!(decide(&ended, ask), Ok(Answer::Known)));
        assert!(matches!(message(&ended, Some(2)), Ok(Answer::Known)));
        assert_eq!(refused(message(&ended, Some(9))), (409, "completed".to_owned()));
    }

    #[test]
    fn what_is_no_command_or_body_changes_nothing() {
        let open = stored("{}");
        assert_eq!(refused(command(&open, "stop", "")), (404, "no_such_command".to_owned()));
        assert_eq!(refused(command(&open, "complete", "{")), (400, "body_json".to_owned()));
        assert_eq!(refused(command(&open, "fail", "1")), (400, "arguments".to_owned()));
        let beyond = "123456789012345678901234567890";
        assert_eq!(refused(command(&open, "complete", beyond)), (400, "overflow".to_owned()));
        assert_eq!(refused(message(&stored("7"), None)), (500, "state".to_owned()));
    }
}
