//! `[channel."pattern"]`: how the channels of a name are kept, and what they take.

use std::fmt;
use std::sync::Arc;

use plainwire_hub::Conflate;
use plainwire_hub::access::{Allow, Bearer, Question, Right};
use plainwire_hub::finite;
use plainwire_hub::machine::Reducer;
use plainwire_log::Policy;
use plainwire_protocol::{ChannelName, Json, Pattern, Problem};
use toml::de::DeTable;

use super::allow::Said;
use super::conflate;
use super::ephemeral;
use super::fault::Faults;
use super::inbox;
use super::machine;
use super::options::{ChannelOptions, Retain};
use super::presence::Presence;
use super::table::{Item, Table, json, table_of};
use crate::handler::Handler;

/// What a configuration says of the channels that match a pattern.
#[derive(Clone)]
#[non_exhaustive]
pub struct Channel {
    /// Their names.
    pub pattern: Pattern,
    /// How their messages are kept.
    pub policy: Arc<Policy>,
    /// What decides on their state. Without it they have none.
    pub machine: Option<Arc<dyn Reducer>>,
    /// What the messages that clients publish look like.
    pub message_schema: Option<MessageSchema>,
    /// Whether `PUT` replaces the state.
    pub replace: bool,
    /// Whether `PATCH` changes the state.
    pub patch: bool,
    /// Whether a plain `POST` publishes.
    pub messages: bool,
    /// The names of the commands that the configuration has.
    pub commands: Vec<String>,
    /// The app that decides all other commands.
    pub handler: Option<Arc<Handler>>,
    /// Who may do what without a grant.
    pub allow: Allow,
    /// Whether it is told who is there.
    pub presence: Option<Presence>,
    /// How the inboxes of members are kept, where they have some.
    pub(super) inbox: Option<Arc<Channel>>,
    /// Whether they are finite streams: `complete` and `fail` end them for good.
    pub finite: bool,
    /// What readers that lag are spared.
    pub conflate: Option<Arc<Conflate>>,
    /// Whether messages may be bytes.
    pub binary: bool,
}

/// A JSON Schema for messages.
#[derive(Clone)]
pub struct MessageSchema(Arc<jsonschema::Validator>);

impl Channel {
    /// Channels that take messages and have no state, kept as the defaults say. Over the network nobody may do anything with them but
    /// by a grant, until [`Channel::with_allow`] says otherwise.
    pub fn new(pattern: Pattern) -> Channel {
        let (options, retain) = (ChannelOptions::default(), Retain::default());
        Channel {
            pattern,
            policy: policy(&options, &retain),
            machine: None,
            message_schema: None,
            replace: false,
            patch: false,
            messages: true,
            commands: Vec::new(),
            handler: None,
            allow: Allow::nothing(),
            presence: None,
            inbox: None,
            finite: false,
            conflate: None,
            binary: false,
        }
    }

    /// Has them take bytes as messages too.
    #[must_use]
    pub fn with_bytes(mut self) -> Channel {
        self.binary = true;
        self
    }

    /// Says who may do what without a grant: [`Allow::everything`] opens them to everybody.
    #[must_use]
    pub fn with_allow(mut self, allow: Allow) -> Channel {
        self.allow = allow;
        self
    }

    /// Tells who is there, at `/CHANNEL/@presence`.
    #[must_use]
    pub fn with_presence(mut self, presence: Presence) -> Channel {
        self.presence = Some(presence);
        self
    }

    /// Gives each member an inbox, at `/CHANNEL/@to/MEMBER`.
    #[must_use]
    pub fn with_inboxes(mut self) -> Channel {
        self.inbox = Some(inbox::channel());
        self
    }

    /// Whether each member has an inbox.
    pub fn has_inboxes(&self) -> bool {
        self.inbox.is_some()
    }

    /// Makes them finite streams, which take messages until `complete` or `fail` ends them for good. They have no state.
    #[must_use]
    pub fn with_end(mut self) -> Channel {
        (self.finite, self.machine, self.messages) = (true, None, true);
        self
    }

    /// Spares readers that lag what newer messages replace.
    #[must_use]
    pub fn with_conflation(mut self, conflate: Conflate) -> Channel {
        self.conflate = Some(Arc::new(conflate));
        self
    }

    /// Gives them a state that `reducer` decides on. They take commands only, until further fields say otherwise.
    #[must_use]
    pub fn with_state(mut self, reducer: Arc<dyn Reducer>) -> Channel {
        (self.machine, self.finite) = (Some(reducer), false);
        self.messages = false;
        self
    }

    /// Whether something is stored beside the messages, on which writes are decided.
    pub(crate) fn keeps_state(&self) -> bool {
        self.machine.is_some() || self.finite
    }

    /// What is stored beside the messages before anybody wrote, if anything is.
    pub(crate) fn initial_state(&self) -> Option<Json> {
        match &self.machine {
            Some(machine) => Some(machine.initial()),
            None => self.finite.then(finite::initial),
        }
    }

    /// Refuses a message that is not as the schema says.
    pub fn check_message(&self, data: &Json) -> Result<(), Problem> {
        match &self.message_schema {
            Some(schema) => schema.check(data),
            None => Ok(()),
        }
    }

    /// Whether who bears this token, or none, has a right on one of the channels, or may send it a command.
    pub fn allows(
        &self,
        right: Right,
        bearer: Option<&Bearer>,
        channel: &ChannelName,
        command: Option<&str>,
    ) -> bool {
        self.allow.allows(right, &Question { bearer, channel, pattern: &self.pattern, command })
    }

    /// The methods that the channels' own URL takes: the `Allow` header.
    pub fn allowed_methods(&self) -> String {
        let mut allowed = "GET, HEAD, OPTIONS".to_owned();
        for (method, taken) in [
            ("POST", self.messages || self.machine.is_none()),
            ("PUT", self.replace && self.machine.is_some()),
            ("PATCH", self.patch && self.machine.is_some()),
        ] {
            if taken {
                allowed.push_str(", ");
                allowed.push_str(method);
            }
        }
        allowed
    }

    /// Reads one `[channel."pattern"]`; `default` is what `[allow]` says.
    pub(super) fn read(
        pattern: Pattern,
        item: &Item<'_>,
        default: &Said,
        file: &str,
        faults: &mut Faults,
    ) -> Option<Channel> {
        let table: &DeTable<'_> = table_of(pattern.as_str(), item, faults)?;
        let whole = table;
        let mut table = Table::new(table);
        let mut options = ChannelOptions::read(&mut table, faults);
        options.conflate = conflate::paced(whole, options.conflate, options.rate, faults);
        conflate::check(whole, options.conflate.as_ref(), options.messages, faults);
        let mut retain = match table.take_table("retain", faults) {
            Some(retain) => {
                let mut retain = Table::new(retain);
                let read = Retain::read(&mut retain, faults);
                retain.finish(faults);
                read
            }
            None => Retain::default(),
        };
        ephemeral::apply(whole, &mut options, &mut retain, faults);
        let message_schema = table.take("message_schema").and_then(|item| MessageSchema::read(item, faults));
        if let (true, Some(_), Some(item)) = (options.binary, &message_schema, table.take("binary")) {
            faults.at(item.span(), "bytes fit no `message_schema`: a channel has the one or the other");
        }
        let handler = table.take("handler").and_then(|item| {
            let url = item.get_ref().as_str().unwrap_or_default();
            let handler = Handler::new(url, options.handler_timeout);
            handler
                .map_err(|message| faults.at(item.span(), format!("`handler`: {message}")))
                .ok()
                .zip(Some(item.span()))
        });
        let own =
            table.take("allow").map(|item| Said::read(item, std::slice::from_ref(&pattern), file, faults));
        let machine = machine::read(&mut table, file, faults);
        let has_state = machine.is_some();
        if let (false, Some((_, span))) = (has_state, &handler) {
            faults.at(span.clone(), "`handler` needs a `state`, and this channel has none");
        }
        if let (true, Some(item)) = (has_state && options.finite, table.take("finite")) {
            faults
                .at(item.span(), "a finite stream has no `state` of its own: give that a channel beside it");
        }
        if !has_state {
            refuse_without_state(&mut table, faults);
        }
        table.finish(faults);
        let (machine, commands) = machine.flatten().unzip();
        Some(Channel {
            pattern,
            policy: policy(&options, &retain),
            machine,
            message_schema,
            replace: options.replace,
            patch: options.patch,
            messages: options.messages || !has_state,
            commands: commands.unwrap_or_default(),
            handler: handler.map(|(handler, _)| Arc::new(handler)),
            allow: default.resolve(&own.unwrap_or_default()),
            presence: Presence::read(&options),
            inbox: options.inboxes.then(inbox::channel),
            finite: options.finite,
            conflate: options.conflate.map(Arc::new),
            binary: options.binary,
        })
    }
}

/// What only a state gives a meaning.
fn refuse_without_state(table: &mut Table<'_>, faults: &mut Faults) {
    for key in ["schema", "command", "rule", "replace", "patch"] {
        if let Some(item) = table.take(key)
            && item.get_ref().as_bool() != Some(false)
        {
            faults.at(item.span(), format!("`{key}` needs a `state`, and this channel has none"));
        }
    }
    if let Some(item) = table.take("messages")
        && item.get_ref().as_bool() == Some(false)
    {
        faults.at(item.span(), "a channel with neither a `state` nor messages could hold nothing");
    }
}

fn policy(options: &ChannelOptions, retain: &Retain) -> Arc<Policy> {
    Arc::new(Policy {
        durability: options.durability,
        max_count: retain.count as u64,
        max_bytes: retain.bytes as u64,
        max_age: retain.age,
        ephemeral: options.ephemeral,
        key_window: options.key_window,
        key_count: options.key_count as u64,
        key_bytes: options.key_bytes as u64,
    })
}

impl MessageSchema {
    /// Compiles a schema: draft 2020-12, `$ref` within the schema only, patterns in linear time.
    pub fn compile(schema: &serde_json::Value) -> Result<MessageSchema, String> {
        let options =
            jsonschema::options().offline().with_pattern_options(jsonschema::PatternOptions::regex());
        options
            .build(schema)
            .map(|validator| MessageSchema(Arc::new(validator)))
            .map_err(|error| error.to_string())
    }

    fn read(item: &Item<'_>, faults: &mut Faults) -> Option<MessageSchema> {
        let compiled = MessageSchema::compile(&json(item, faults));
        compiled.map_err(|message| faults.at(item.span(), format!("`message_schema`: {message}"))).ok()
    }

    fn check(&self, data: &Json) -> Result<(), Problem> {
        let value = data.to().map_err(|error| Problem::new(400, "body_json", error))?;
        self.0.validate(&value).map_err(|error| {
            let at = error.instance_path().to_string();
            Problem::new(400, "schema", format!("the message, at \"{at}\": {}", error.masked()))
                .with("at", at)
        })
    }
}

impl fmt::Debug for MessageSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MessageSchema")
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("pattern", &self.pattern)
            .field("policy", &self.policy)
            .field("state", &self.machine.as_ref().map(|machine| machine.initial()))
            .field("commands", &self.commands)
            .field("allow", &self.allow)
            .finish_non_exhaustive()
    }
}
