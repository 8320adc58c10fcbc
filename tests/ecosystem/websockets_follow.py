"""Follows a channel with websockets. Each connection goes on from the last cursor."""

import asyncio
import json
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

URL = sys.argv[1].replace("http", "ws", 1)


async def follow():
    cursor = "0"
    while True:
        try:
            async with connect(f"{URL}?since={cursor}", subprotocols=["plainwire"]) as socket:
                async for text in socket:
                    envelope = json.loads(text)
                    cursor = envelope.get("cursor", cursor)
                    if not envelope.get("event", "").startswith("@"):
                        print(json.dumps({"cursor": cursor, "data": envelope["data"]}), flush=True)
        except (OSError, WebSocketException):
            pass
        await asyncio.sleep(0.3)


asyncio.run(follow())
