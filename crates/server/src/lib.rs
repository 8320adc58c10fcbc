//! Plainwire
