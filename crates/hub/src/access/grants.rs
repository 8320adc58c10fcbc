//! Grants: what a token itself says that its bearer may do.

use plainwire_protocol::{ChannelName, Pattern, PatternError};
use serde_json::{Map, Value};
use thiserror::Error;

use super::Right;
use crate::expression::value::shorten;

/// Most grants of one right in a token: each is looked at for every request. Who needs more has a pattern for them.
pub const MAX_GRANTS: usize = 64;
/// Longest name of a command in a grant, in bytes.
const MAX_COMMAND_BYTES: usize = 255;

/// The rights that a token carries: its claim `plainwire`.
///
/// ```json
/// {"watch": ["chat/*"], "post": ["chat/general"], "command": ["seats", "counter:increment"], "presence": ["**"]}
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    watch: Vec<Pattern>,
    post: Vec<Pattern>,
    command: Vec<CommandGrant>,
    presence: Vec<Pattern>,
}

/// All commands of some channels, or one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CommandGrant {
    channels: Pattern,
    command: Option<String>,
}

/// Why a claim is no grant. A token that has one like it is not valid: half of it would be another grant than was meant.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GrantError {
    /// Not an object.
    #[error("the claim `plainwire` is an object, like {{\"watch\":[\"chat/*\"]}}")]
    NoObject,
    /// A member that is no right.
    #[error("the claim `plainwire` has no member `{0}`, only watch, post, command and presence")]
    Right(String),
    /// A right that is no list of texts.
    #[error("the grants of `{0}` are a list of patterns")]
    NoList(Right),
    /// More than [`MAX_GRANTS`].
    #[error("the token has more than {MAX_GRANTS} grants of `{0}`")]
    TooMany(Right),
    /// No pattern.
    #[error("the grant \"{grant}\" of `{right}` is no pattern of channel names: {error}")]
    Pattern {
        /// Of which right.
        right: Right,
        /// What was given.
        grant: String,
        /// What is wrong.
        error: PatternError,
    },
    /// A pattern with names in braces: nothing is put in their place, so it would give more than it seems to.
    #[error(
        "the grant \"{grant}\" of `{right}` has a name in braces: a token says the segment itself, or '*'"
    )]
    Braces {
        /// Of which right.
        right: Right,
        /// What was given.
        grant: String,
    },
    /// A command that no channel could have.
    #[error("the grant \"{0}\" names no command: letters, digits, '_', '-' and '.' come after the colon")]
    Command(String),
}

impl Grants {
    /// Reads the claim `plainwire` of a token.
    ///
    /// # Errors
    /// If any part of it cannot be understood.
    pub fn parse(claim: &Value) -> Result<Grants, GrantError> {
        let claim = claim.as_object().ok_or(GrantError::NoObject)?;
        let known = |name: &str| Right::ALL.iter().any(|right| right.as_str() == name);
        if let Some(unknown) = claim.keys().find(|name| !known(name)) {
            return Err(GrantError::Right(shorten(unknown)));
        }
        let patterns = |right| {
            list(claim, right)?
                .into_iter()
                .map(|grant| pattern(right, grant, grant))
                .collect::<Result<_, _>>()
        };
        Ok(Grants {
            watch: patterns(Right::Watch)?,
            post: patterns(Right::Post)?,
            command: list(claim, Right::Command)?
                .into_iter()
                .map(CommandGrant::parse)
                .collect::<Result<_, _>>()?,
            presence: patterns(Right::Presence)?,
        })
    }

    /// Whether a right on a channel is among them. `command` is the one to be sent; only that right goes by it.
    pub fn gives(&self, right: Right, channel: &ChannelName, command: Option<&str>) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(channel));
        match right {
            Right::Watch => any(&self.watch),
            Right::Post => any(&self.post),
            Right::Presence => any(&self.presence),
            Right::Command => self.command.iter().any(|grant| grant.gives(channel, command)),
        }
    }
}

impl CommandGrant {
    fn parse(grant: &str) -> Result<CommandGrant, GrantError> {
        let Some((channels, command)) = grant.split_once(':') else {
            return Ok(CommandGrant { channels: pattern(Right::Command, grant, grant)?, command: None });
        };
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if command.is_empty() || command.len() > MAX_COMMAND_BYTES || !command.chars().all(legal) {
            return Err(GrantError::Command(shorten(grant)));
        }
        Ok(CommandGrant {
            channels: pattern(Right::Command, grant, channels)?,
            command: Some(command.to_owned()),
        })
    }

    fn gives(&self, channel: &ChannelName, command: Option<&str>) -> bool {
        (self.command.is_none() || self.command.as_deref() == command) && self.channels.matches(channel)
    }
}

/// The grants of a right, none if the claim does not speak of it.
fn list(claim: &Map<String, Value>, right: Right) -> Result<Vec<&str>, GrantError> {
    let Some(grants) = claim.get(right.as_str()) else { return Ok(Vec::new()) };
    let grants = grants.as_array().ok_or(GrantError::NoList(right))?;
    if grants.len() > MAX_GRANTS {
        return Err(GrantError::TooMany(right));
    }
    grants.iter().map(|grant| grant.as_str().ok_or(GrantError::NoList(right))).collect()
}

fn pattern(right: Right, grant: &str, text: &str) -> Result<Pattern, GrantError> {
    let pattern =
        Pattern::parse(text).map_err(|error| GrantError::Pattern { right, grant: shorten(grant), error })?;
    if pattern.names().next().is_some() {
        return Err(GrantError::Braces { right, grant: shorten(grant) });
    }
    Ok(pattern)
}
