"""What schemathesis asks about: mostly channels, commands and cursors that there are, and no stream, which would have no end."""

import zlib

import schemathesis

CHANNELS = ["counter", "scores", "lobby"]
# That tell who is there.
ROOMS = ["lobby"]
COMMANDS = ["increment", "decrement", "score"]
# The oldest message, the next one, and none at all.
CURSORS = ["0", "*", None]
BODIES = [{"value": 5}, {"value": 1}, {"team": "red"}, {"red": 3}]
# Of so many values one stays as it was made up.
ODD_ONE_OUT = 4


def known(value, choices):
    """One of the choices mostly, by what the value is: the same seed asks the same."""
    roll = zlib.crc32(repr(value).encode(errors="replace"))
    return value if roll % ODD_ONE_OUT == 0 else choices[roll // ODD_ONE_OUT % len(choices)]


def with_known(values, name, choices):
    """The same with one of the choices, where `None` is to leave it out."""
    if name in values:
        value = known(values[name], choices)
        values = {key: value for key, value in values.items() if key != name}
        if value is not None:
            values[name] = value
    return values


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Channels and commands of the configuration."""
    if not path_parameters:
        return path_parameters
    channels = ROOMS if context.operation.path.endswith("/@presence") else CHANNELS
    choices = {"channel": channels, "command": COMMANDS}
    return {name: known(value, choices[name]) if name in choices else value for name, value in path_parameters.items()}


@schemathesis.hook
def map_query(context, query):
    """Streams are asked for elsewhere."""
    if not query:
        return query
    query = {name: value for name, value in query.items() if name != "live"}
    for name in ["since", "last_event_id", "lastEventId"]:
        query = with_known(query, name, CURSORS)
    query = with_known(query, "event", ["greeting", None])
    if isinstance(query.get("channel"), list):
        query["channel"] = known(query["channel"], [["/counter"], ["/counter", "/scores"], ["/chat/a"]])
    return query


@schemathesis.hook
def map_headers(context, headers):
    """Whatever is accepted, an answer that ends is among it."""
    if not headers:
        return headers
    headers = {name: value for name, value in headers.items() if name.lower() != "accept"}
    headers = with_known(headers, "Last-Event-ID", CURSORS)
    headers = with_known(headers, "Plainwire-Event", ["greeting", None])
    headers = with_known(headers, "If-Match", ["*", None])
    return with_known(headers, "Idempotency-Key", ["one", "two", None])


@schemathesis.hook
def map_body(context, body):
    """Arguments and states that fit some channel."""
    return known(body, BODIES) if isinstance(body, dict) else body
