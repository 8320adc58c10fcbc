//! Whether a recorded history of commands on one counter can have happened one after the other (Herlihy and Wing, 1990): each
//! command at some moment between its request and its answer.
//!
//! What was applied has its place in the log, so that only one order is possible. It must not contradict the clock; and whoever was
//! refused must have been so at a moment when the counter stood at zero.

/// A command, when it was sent and answered, and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The change was applied as the message at this offset, and led to this count.
    Applied { offset: u64, change: i64, count: i64 },
    /// The count would have been negative.
    Refused,
}

/// # Errors
/// What cannot have happened.
pub(crate) fn check(history: &[Command]) -> Result<(), String> {
    let mut applied: Vec<(u64, i64, i64, &Command)> = Vec::new();
    for command in history {
        if let Outcome::Applied { offset, change, count } = command.outcome {
            applied.push((offset, change, count, command));
        }
    }
    applied.sort_by_key(|(offset, ..)| *offset);
    let mut before = 0;
    let mut latest_sent = 0;
    for (index, (offset, change, count, command)) in applied.iter().enumerate() {
        if *offset != index as u64 + 1 {
            return Err(format!("something is missing or twice before {command:?}"));
        }
        if before + change != *count || *count < 0 {
            return Err(format!("{command:?} after a count of {before}"));
        }
        // Whatever has an earlier place must have been sent before this was answered.
        if command.answered < latest_sent {
            return Err(format!("{command:?} was answered before something in front of it was sent"));
        }
        (before, latest_sent) = (*count, latest_sent.max(command.sent));
    }
    for command in history.iter().filter(|command| command.outcome == Outcome::Refused) {
        // The count after the first `index` commands: from when the last of them can have happened, to when the next must have.
        let zero = (0..=applied.len()).any(|index| {
            let count = index.checked_sub(1).map_or(0, |last| applied[last].2);
            let from = applied[..index].iter().map(|(.., applied)| applied.sent).max().unwrap_or(0);
            let until =
                applied[index..].iter().map(|(.., applied)| applied.answered).min().unwrap_or(u64::MAX);
            count == 0 && from <= command.answered && command.sent <= until
        });
        if !zero {
            return Err(format!("{command:?} though the count was never zero meanwhile"));
        }
    }
    Ok(())
}

mod tests {
    use super::*;

    fn applied(sent: u64, answered: u64, offset: u64, change: i64, count: i64) -> Command {
        Command { sent, answered, outcome: Outcome::Applied { offset, change, count } }
    }

    fn refused(sent: u64, answered: u64) -> Command {
        Command { sent, answered, outcome: Outcome::Refused }
    }

    /// Zero until something between 10 and 20, one or two until something between 45 and 50, and zero again.
    fn sample() -> Vec<Command> {
        vec![
            refused(1, 2),
            applied(10, 20, 1, 1, 1),
            refused(5, 15),
            applied(12, 30, 2, 1, 2),
            applied(40, 44, 3, -1, 1),
            applied(45, 50, 4, -1, 0),
            refused(46, 60),
        ]
    }

    #[test]
    fn what_can_have_happened_is_right() {
        assert_eq!(check(&sample()), Ok(()));
        assert_eq!(check(&[]), Ok(()));
    }

    #[test]
    fn what_cannot_have_happened_is_caught() {
        let with = |index: usize, command: Command| {
            let mut mutated = sample();
            mutated[index] = command;
            mutated
        };
        let mutations = [
            ("a refusal while it was positive", with(2, refused(31, 39))),
            ("a refusal on what was over", with(2, refused(21, 39))),
            ("a place before what was answered first", with(4, applied(5, 9, 3, -1, 1))),
            ("a count of nothing", with(3, applied(12, 30, 2, 1, 3))),
            ("a place twice", with(3, applied(12, 30, 1, 1, 2))),
            ("a negative count", vec![applied(1, 2, 1, -1, -1)]),
        ];
        for (what, mutated) in mutations {
            assert!(check(&mutated).is_err(), "{what}");
        }
        for missing in [1, 3, 4] {
            let mut mutated = sample();
            mutated.remove(missing);
            assert!(check(&mutated).is_err(), "without {missing}");
        }
    }
}
