"""Follows a channel with httpx and httpx-sse: Server-Sent Events. Each connection goes on after the last id."""

import json
import sys
import time

import httpx
from httpx_sse import SSEError, connect_sse

URL = sys.argv[1]
cursor = "0"

with httpx.Client(timeout=httpx.Timeout(10, read=60)) as client:  # the server is heard of every 25 s
    while True:
        try:
            with connect_sse(client, "GET", URL, headers={"Last-Event-ID": cursor}) as source:
                for event in source.iter_sse():
                    cursor = event.id or cursor
                    # `retry:` comes as an event without data; those with an @ are what the server itself has to say.
                    if event.data and not event.event.startswith("@"):
                        print(json.dumps({"cursor": cursor, "data": event.json()}), flush=True)
        except (httpx.TransportError, SSEError):
            pass
        time.sleep(0.3)
