//! The pure core of Plainwire: tails, feeds, commands and rules. Takes `now`, returns what to do.
