"""What schemathesis asks about: mostly channels, commands and cursors that there are, and no stream, which would have no end."""

import zlib

import schemathesis

CHANNELS = ["counter", "scores"]
COMMANDS = ["increment", "decrement", "score"]
# The oldest message, the next one, and none at all.
CURSORS = ["0", "*", None]
# Of so many values one stays as it was made up.
ODD_ONE_OUT = 4


def known(value, choices):
    """One of the choices mostly, by what the value is: the same seed asks the same."""
    roll = zlib.crc32(repr(value).encode(errors="replace"))
    return value if roll % ODD_ONE_OUT == 0 else choices[roll // ODD_ONE_OUT % len(choices)]


def with_cursor(values, name):
    """The same with a cursor that is one, or without."""
    if name in values:
        cursor = known(values[name], CURSORS)
        values = {key: value for key, value in values.items() if key != name}
        if cursor is not None:
            values[name] = cursor
    return values


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Channels and commands of the configuration."""
    if not path_parameters:
        return path_parameters
    choices = {"channel": CHANNELS, "command": COMMANDS}
    return {name: known(value, choices[name]) if name in choices else value for name, value in path_parameters.items()}


@schemathesis.hook
def map_query(context, query):
    """Streams are asked for elsewhere."""
    if not query:
        return query
    query = {name: value for name, value in query.items() if name != "live"}
    for name in ["since", "last_event_id", "lastEventId"]:
        query = with_cursor(query, name)
    if isinstance(query.get("channel"), list):
        query["channel"] = known(query["channel"], [["/counter"], ["/counter", "/scores"], ["/chat/a"]])
    return query


@schemathesis.hook
def map_headers(context, headers):
    """Whatever is accepted, an answer that ends is among it."""
    if not headers:
        return headers
    headers = {name: value for name, value in headers.items() if name.lower() != "accept"}
    return with_cursor(headers, "Last-Event-ID")
