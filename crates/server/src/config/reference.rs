//! `docs/configuration.md`, written from the option table.

use std::fmt::Write as _;

use super::DEV_TOML;
use super::options::{ChannelOptions, Retain, Row};
use super::sections::{SECTIONS, Section};

/// The reference of all options, in Markdown.
pub fn reference() -> String {
    let mut text = String::from(INTRODUCTION);
    for Section { name, about, rows: table, variable, more, .. } in SECTIONS {
        let _ = write!(text, "\n## `{name}`\n\n{about}\n\n");
        rows(&mut text, table, Some(*variable));
        text.push_str(more);
    }
    text.push_str(ALLOW);
    text.push_str(CHANNEL);
    rows(&mut text, ChannelOptions::ROWS, None);
    text.push_str("\n`retain = { count = …, bytes = …, age = … }`: which messages are kept. The state is kept whatever becomes of them.\n\n");
    rows(&mut text, Retain::ROWS, None);
    text.push_str(STATE);
    limits(&mut text);
    let _ =
        write!(text, "\n## An example\n\nWhat `plainwire dev` starts with:\n\n```toml\n{}```\n", DEV_TOML);
    text
}

fn rows(text: &mut String, table: &[Row], variable: Option<fn(&str) -> String>) {
    let head = if variable.is_some() { " environment |" } else { "" };
    let _ = writeln!(text, "| option | kind | default | bounds |{head} purpose |");
    let _ =
        writeln!(text, "| --- | --- | --- | --- |{} --- |", if variable.is_some() { " --- |" } else { "" });
    for row in table {
        let bounds = row.bounds.map_or(String::new(), |(least, most)| format!("{least} to {most}"));
        let variable = variable.map_or(String::new(), |variable| format!(" `{}` |", variable(row.name)));
        let default = if row.default.is_empty() { "none".into() } else { format!("`{}`", row.default) };
        let (name, kind, purpose) = (row.name, row.kind, row.purpose.trim());
        let _ = writeln!(text, "| `{name}` | {kind} | {default} | {bounds} |{variable} {purpose} |");
    }
}

/// Every option beyond which something else happens, and the limits that are none.
fn limits(text: &mut String) {
    text.push_str(LIMITS);
    let sections = SECTIONS.iter().map(|section| (section.name, section.rows));
    let channel = [("[channel]", ChannelOptions::ROWS), ("[channel] retain", Retain::ROWS)];
    for (section, table) in sections.chain(channel) {
        for row in table {
            let (Some(beyond), Some((least, most))) = (row.beyond, row.bounds) else { continue };
            let Row { name, default, .. } = row;
            let purpose = row.purpose.trim();
            let _ = writeln!(
                text,
                "| `{section}` `{name}` | `{default}` | {least} to {most} | {purpose} | {beyond} |"
            );
        }
    }
}

const LIMITS: &str = "
## Limits

Every limit that an option sets, and what happens beyond it: the status and `reason` of an answer, or the close code of a WebSocket. A
refused request has changed nothing; `Retry-After` says when to try again where that is worth it.

| limit | default | bounds | of what | beyond it |
| --- | --- | --- | --- | --- |
";

const INTRODUCTION: &str = "\
# Configuration

<!-- Written from the option table in the source; a test keeps it so. -->

`plainwire serve --config plainwire.toml` reads one TOML file; `plainwire check` says what is wrong with it, and where. An environment
variable wins over the file, a flag of the command line over both. Durations are written `500ms`, `25s`, `10m`, `24h`, `7d`; sizes
`512B`, `64KiB`, `1MiB`, `2GiB`. A key that is not known is an error.
";

pub(super) const REDIS_ABOUT: &str = "\
Where `engine = \"redis\"` keeps everything: Redis 7 or Valkey, which several servers may share. [Many nodes](nodes.md) explains it.";

pub(super) const NATS_ABOUT: &str = "\
Where `engine = \"nats\"` keeps everything: NATS 2.9 or newer with JetStream, which several servers may share. [Many nodes](nodes.md#nats) explains it.";

pub(super) const KAFKA_ABOUT: &str = "\
Where `engine = \"kafka\"` keeps everything: Kafka 3.1 or newer, which several servers may share. It keeps messages only: no `state`, no `presence`, no `inboxes`. [Many nodes](nodes.md#kafka) explains it.";

pub(super) const ABOUT_AUTH: &str = "\
Who a request is from: which tokens (JSON Web Tokens) are taken, and which keys verify them. [Security](security.md) explains it.";

pub(super) const AUTH_KEY: &str = r#"
### `[[auth.key]]`

Further keys, each with one of the first four. Files are read again when they change; one that is broken or gone leaves its earlier keys in force.

| key | what it is |
| --- | --- |
| `secret` | a secret: 32 bytes and up for HS256, 48 for HS384, 64 for HS512 |
| `secret_file` | a file with a secret in it; a line break at its end does not count |
| `public_key` | a public key or certificate in PEM, or a JWK or JWK Set in JSON: RSA (2048 to 4096 bits), EC (P-256, P-384), Ed25519 |
| `file` | a file with one or more of these |
| `kid` | the name by which tokens ask for the key, where it does not have one. Keys without a name are tried for every token, eight at most |
| `alg` | the one algorithm that the key is used for |
"#;

pub(super) const ACME_ABOUT: &str = "\
Instead of files: a certificate that the server orders from an authority (ACME, RFC 8555) and renews by itself, after two thirds of its life. Domains are proved by TLS-ALPN-01 (RFC 8737): within
the handshake, at port 443, and in no other way. [Security](security.md#certificates-that-order-themselves) explains it.";

pub(super) const TLS_ABOUT: &str = "\
Encryption (TLS 1.3 and 1.2) of everything that is listened for; without a certificate there is none. `listen` is then `https://` and `wss://` alone. HTTP/2 is agreed on by ALPN. The
files are looked at every second and read again when they changed, both together: a pair that does not fit, or is half written, is not used, and the one before stays. Connections
that are open go on. `plainwire check` says what is wrong with the files, and until when the certificate is valid.";

const ALLOW: &str = r#"
## `[allow]`

Who may do what without a grant of their own, on all channels; `allow` in a `[channel."PATTERN"]` says it for these, right by right. Where nothing is
said, nobody. See [security](security.md).

| key | what it permits |
| --- | --- |
| `watch` | to read messages and states, by every transport |
| `post` | to publish messages, and to replace and patch states |
| `command` | to send commands |
| `presence` | to see who is there: `/CHANNEL/@presence`. See [presence](presence.md) |
| `all` | all of them, but for those that are said beside it |

Each is `true` (everybody, without a token too), `false` (nobody), or [CEL](#expressions) that is true of those who may. `allow = true`, `allow = "…"` is the
same as `all`. Expressions are over

| variable | what it is |
| --- | --- |
| `token` | the claims of the caller's token, `null` without one |
| `channel` | the channel: `channel.name`, and what the names in the pattern's braces stand for, `channel.user` |
| `command` | the name of the command that is to be sent, else `""` |

What cannot be evaluated permits nothing: a claim that is not there, a comparison that does not fit, loops that visit more than 10,000 values.

```toml
[allow]
watch = "token != null"                                 # who has a token reads, unless a channel says otherwise

[channel."inbox/{user}"]
allow.watch = "token.sub == channel.user"               # to each their own

[channel.counter]
state = { count = 0 }
allow = { watch = true, command = "command == 'increment' || 'admin' in token.roles" }
```
"#;

const CHANNEL: &str = r#"
## `[channel."PATTERN"]`

How channels are kept, and what they take. The key is a name, or a pattern: `*` is one whole segment, `**` at the end is one or more. Where
several match, the most specific one counts, literal before `*` before `**`, segment by segment from the left. A name that none matches
is answered 404. `{user}` is one whole segment like `*`, and gives it a name: in `[channel."inbox/{user}"]` permissions know it as `channel.user`.

"#;

const STATE: &str = r#"
Further keys:

| key | what it is |
| --- | --- |
| `allow` | who may do what, where it differs from `[allow]` |
| `message_schema` | a JSON Schema for the messages that clients publish |
| `state` | the first state, any JSON value; with it the channels have a state |
| `schema` | a JSON Schema that every state fits |
| `command.NAME` | a command: `POST /CHANNEL:NAME` |
| `rule` | a list of rules: `[[channel.NAME.rule]]` |
| `handler` | the `http://` or `https://` URL of an app that decides all other commands; see [commands](commands.md) |

### `[channel.NAME.command.NAME]`

| key | what it is |
| --- | --- |
| `args` | each argument's JSON Schema. All are required, except those with a `default`; others are refused |
| `set` | CEL over `state` and `args`: the next state |
| `event` | the event name of the message that tells of it; none unless given |
| `data` | CEL over `next`, `state` and `args`: the message's payload; the next state unless given |

### `[[channel.NAME.rule]]`

| key | what it is |
| --- | --- |
| `rule` | CEL over `next`, `state` and `args`: what must hold, whatever the change: a command, `PUT` or `PATCH` (then `args` is empty) |
| `message` | what to tell who breaks it |
| `reason` | the word that programs go by; default `rule` |
| `status` | 400 to 499; default 400 |

Rules and schema hold for the first state too, or the server does not start.

### Expressions

[CEL](https://cel.dev), the standard functions and macros, and two functions that update a map: `map.merge(other)` has the members of both,
`other`'s where both have one; `map.without('name')` lacks one. `map[?key].orValue(0)` reads a member that may be missing.

Numbers: an integer has 64 bits and never overflows silently; integers and floats do not mix. Where a schema says `integer`, 5.0 is 5; where it
says `number`, 5 is 5.0; a member of a state without a schema keeps the kind it had. Commands write a state's members in the order of their names.

Bounds: an expression has at most 4,096 bytes, 64 levels and 3 loops within one another; a state, and a body that changes it, at most 1 MiB. All
loops of one request together may visit 200,000 values: a loop counts each value that it walks over, an operation within a loop those that it works on.

## `[alias]`

`"/increment" = "/counter:increment"`: a path that stands for another, query included. It points at a channel or command that there is, at a route
under `/_/`, or at another alias.
"#;
