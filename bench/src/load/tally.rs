//! What each subscriber received: nothing lost, nothing twice, everyone in the same order.

/// How far ahead of the first missing message one may be.
const WINDOW: u64 = 64;

/// One subscriber of one channel.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    /// The channel's index.
    pub(crate) channel: u32,
    /// Whether its subscription stands: who does not, loses nothing.
    pub(crate) stands: bool,
    /// Every message up to this one was received.
    whole: u64,
    /// Bit `k`: message `whole + 2 + k` was received, though one before it was not.
    ahead: u64,
    /// Stands for the order in which messages came.
    order: u64,
    /// How many came since the last account.
    new: u64,
    /// How many of them came twice, or after they were given up.
    repeated: u64,
}

/// What all subscribers together did not get as they should have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Deliveries that never came.
    pub(crate) lost: u64,
    /// Deliveries that came twice.
    pub(crate) repeated: u64,
    /// Subscribers that saw another order than the channel's first one, or than the publisher's if it published one at a time.
    pub(crate) out_of_order: u64,
}

impl Listener {
    /// A subscriber that begins after message `published` of its channel.
    pub(crate) fn new(channel: u32, published: u64) -> Listener {
        Listener { channel, stands: false, whole: published, ahead: 0, order: 0, new: 0, repeated: 0 }
    }

    /// Takes in message `n`. False if it was received before.
    pub(crate) fn receive(&mut self, n: u64) -> bool {
        if n == self.whole + 1 {
            self.whole += 1;
            self.close_gap();
        } else if n <= self.whole {
            self.repeated += 1;
            return false;
        } else {
            while n >= self.whole + 2 + WINDOW {
                // The oldest missing one is given up.
                self.whole += 1;
                self.close_gap();
            }
            let bit = match (n - self.whole).checked_sub(2) {
                Some(distance) => 1 << distance,
                None => return self.receive(n),
            };
            if self.ahead & bit != 0 {
                self.repeated += 1;
                return false;
            }
            self.ahead |= bit;
        }
        self.new += 1;
        self.order = step(self.order, n);
        true
    }

    /// Moves on over what came early.
    fn close_gap(&mut self) {
        let run = u64::from(self.ahead.trailing_ones());
        self.whole += run;
        // Bit 0 now stands for one further: the message right after the new `whole` is known to be missing.
        self.ahead = self.ahead.checked_shr(run as u32 + 1).unwrap_or(0);
    }

    /// Settles the account up to message `published`; `expected` of them were published since the last one.
    fn settle(&mut self, published: u64, expected: u64) -> (Faults, u64) {
        let faults =
            Faults { lost: expected.saturating_sub(self.new), repeated: self.repeated, out_of_order: 0 };
        let order = self.order;
        *self = Listener { stands: self.stands, ..Listener::new(self.channel, published) };
        (faults, order)
    }
}

fn step(order: u64, n: u64) -> u64 {
    (order.rotate_left(5) ^ n).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// One channel as its publishers see it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Channel {
    /// The newest message's number.
    pub(crate) published: u64,
    /// The same at the last account.
    settled: u64,
    /// The order that its subscribers should have seen, as far as it is known.
    order: Option<u64>,
}

/// Settles all accounts. `in_turn`: each message was published after the one before it was acknowledged.
pub(crate) fn settle(listeners: &mut [Listener], channels: &mut [Channel], in_turn: bool) -> Faults {
    let mut total = Faults::default();
    for channel in &mut *channels {
        let published = channel.settled + 1..=channel.published;
        channel.order = in_turn.then(|| published.fold(0, step));
    }
    for listener in listeners.iter_mut().filter(|listener| listener.stands) {
        let channel = &mut channels[listener.channel as usize];
        let (faults, order) = listener.settle(channel.published, channel.published - channel.settled);
        total.lost += faults.lost;
        total.repeated += faults.repeated;
        if faults == Faults::default() {
            total.out_of_order += u64::from(*channel.order.get_or_insert(order) != order);
        }
    }
    for channel in channels {
        channel.settled = channel.published;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(sequences: &[&[u64]], published: u64, in_turn: bool) -> Faults {
        let mut listeners = vec![Listener { stands: true, ..Listener::new(0, 0) }; sequences.len()];
        for (listener, sequence) in listeners.iter_mut().zip(sequences) {
            for &n in *sequence {
                listener.receive(n);
            }
        }
        settle(&mut listeners, &mut [Channel { published, ..Channel::default() }], in_turn)
    }

    #[test]
    fn all_in_order_is_no_fault() {
        assert_eq!(account(&[&[1, 2, 3], &[1, 2, 3]], 3, true), Faults::default());
    }

    #[test]
    fn another_order_than_published_is_a_fault_only_if_published_in_turn() {
        let sequence: &[u64] = &[2, 1, 4, 3, 5];
        assert_eq!(account(&[sequence], 5, true).out_of_order, 1);
        assert_eq!(account(&[sequence, sequence], 5, false), Faults::default());
    }

    #[test]
    fn another_order_than_others_saw_is_a_fault() {
        assert_eq!(account(&[&[1, 2, 3], &[1, 3, 2]], 3, false).out_of_order, 1);
    }

    #[test]
    fn lost_and_repeated_are_counted() {
        let faults = account(&[&[1, 3, 3, 4, 1]], 5, true);
        assert_eq!(faults, Faults { lost: 2, repeated: 2, out_of_order: 0 });
        let late: Vec<u64> = (2..=200).collect();
        assert_eq!(account(&[&late], 200, true), Faults { lost: 1, repeated: 0, out_of_order: 0 });
    }

    #[test]
    fn gaps_close_in_every_order() {
        let mut listener = Listener::new(0, 10);
        for n in [12, 14, 13, 11, 16, 15, 17] {
            assert!(listener.receive(n), "{n}");
        }
        assert_eq!((listener.whole, listener.ahead), (17, 0));
        assert!(!listener.receive(12));
        let far: Vec<u64> = (18..=81).rev().collect();
        assert!(far.iter().all(|&n| listener.receive(n)));
        assert_eq!((listener.whole, listener.ahead, listener.repeated), (81, 0, 1));
    }
}
