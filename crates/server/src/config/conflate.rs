//! `conflate` of a `[channel."pattern"]`: what a reader that lags is spared.

use plainwire_hub::Conflate;
use plainwire_protocol::Pointer;
use toml::de::{DeTable, DeValue};

use super::fault::Faults;
use super::kind::Kind;

/// `true`, `false`, or a JSON Pointer (RFC 6901).
pub(super) struct Replaced;

impl Kind for Replaced {
    type Value = Option<Conflate>;
    const NAME: &'static str = "`true`, `false` or JSON Pointer";

    fn from_text(text: &str) -> Result<Option<Conflate>, String> {
        match text {
            "true" => Ok(Some(Conflate::all())),
            "false" => Ok(None),
            "" => {
                Err("a JSON Pointer to the whole tells every message apart: write true, without quotes"
                    .into())
            }
            _ => Pointer::parse(text).map(|pointer| Some(Conflate::by(pointer))).map_err(|error| {
                format!("\"{text}\" is no place in a message, like \"/symbol\" (RFC 6901): {error}")
            }),
        }
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Option<Conflate>, String> {
        match value {
            DeValue::Boolean(all) => Ok(all.then(Conflate::all)),
            DeValue::String(text) if matches!(&**text, "true" | "false") => {
                Err(format!("write {text} without quotes"))
            }
            DeValue::String(text) => Replaced::from_text(text),
            _ => Err("expected true, false, or a place in a message, like \"/symbol\" (RFC 6901)".into()),
        }
    }
}

/// What `rate` makes of it.
pub(super) fn paced(
    channel: &DeTable<'_>,
    conflate: Option<Conflate>,
    rate: usize,
    faults: &mut Faults,
) -> Option<Conflate> {
    let Some(rate) = u32::try_from(rate).ok().filter(|rate| *rate > 0) else { return conflate };
    if conflate.is_none()
        && let Some(item) = channel.get("conflate")
    {
        faults.at(
            item.span(),
            "`rate` leaves out what newer messages replace: `conflate` is true then, or a key",
        );
    }
    Some(conflate.unwrap_or_default().at_most(rate))
}

/// Refuses a state channel of which a reader that gets the newest message only would lose what an older one said, and streams that
/// everybody is to see all of.
pub(super) fn check(channel: &DeTable<'_>, conflate: Option<&Conflate>, messages: bool, faults: &mut Faults) {
    if let (Some(finite), Some(_)) = (channel.get("finite"), conflate)
        && finite.get_ref().as_bool() == Some(true)
    {
        faults.at(
            finite.span(),
            "who comes late to a finite stream is to see all of it, and `conflate`, or `rate`, leaves out what is older",
        );
    }
    if !conflate.is_some_and(Conflate::replaces_all) || channel.get("state").is_none() {
        return;
    }
    let commands = channel.get("command").and_then(|commands| commands.get_ref().as_table());
    for command in commands.into_iter().flatten().filter_map(|(_, command)| command.get_ref().as_table()) {
        if let Some(data) = command.get("data") {
            faults.at(
                data.span(),
                "`data` says a part of the state, and `conflate = true`, or `rate`, leaves out all messages but the newest: leave `data` out, so \
                 that each message is the whole state, or name a key, like `conflate = \"/team\"`",
            );
        }
    }
    if let (true, Some(item)) = (messages, channel.get("messages")) {
        faults.at(
            item.span(),
            "a message would replace the changes of the state before it, as `conflate = true`, or `rate`, leaves out all but the newest",
        );
    }
}
