"""What schemathesis should not ask: streams, which have no end."""

import schemathesis


@schemathesis.hook
def map_query(context, query):
    """Streams are asked for elsewhere."""
    return {name: value for name, value in query.items() if name != "live"} if query else query


@schemathesis.hook
def map_headers(context, headers):
    """Whatever is accepted, an answer that ends is among it."""
    return {name: value for name, value in headers.items() if name.lower() != "accept"} if headers else headers
