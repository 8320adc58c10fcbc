"""Python's `websockets`."""

import asyncio
import json
import unittest

from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from harness import DEADLINE, Server


def is_control(envelope):
    return envelope.get("event", "").startswith("@")


def receive_until(socket, matches, what):
    """Receives up to the first frame that matches. Returns all of them."""
    received = []
    while not (received and matches(received[-1])):
        try:
            received.append(json.loads(socket.recv(timeout=DEADLINE)))
        except (TimeoutError, ConnectionClosed) as reason:
            raise AssertionError(f"waited in vain for {what} ({reason!r}); {len(received)} came: {received[-3:]}") from reason
    return received


class WebSocketsTest(unittest.TestCase):
    def setUp(self):
        self.server = Server(self)

    def assert_dense(self, envelopes):
        """The cursors follow one another from 1 in one epoch."""
        positions = [envelope["cursor"].split(".") for envelope in envelopes]
        self.assertEqual([int(offset) for _, offset in positions], list(range(1, len(positions) + 1)))
        self.assertLessEqual(len({epoch for epoch, _ in positions}), 1)

    def test_deflate_is_negotiated_and_a_watched_state_is_pushed(self):
        with connect(f"{self.server.ws_origin}/counter") as socket:
            self.assertIn("permessage-deflate", socket.response.headers["Sec-WebSocket-Extensions"])
            opening = receive_until(socket, lambda frame: frame.get("event") == "@live", "@live")
            self.assertEqual((opening[0]["event"], opening[0]["data"]), ("@state", {"count": 0}))
            for _ in range(50):
                self.assertEqual(self.server.post("/counter:increment", {"value": 2})[0], 200)
            pushed = receive_until(socket, lambda frame: frame["data"] == {"count": 100}, "the last push")
            self.assertEqual([frame["data"]["count"] for frame in pushed], list(range(2, 101, 2)))
            self.assert_dense(pushed)

    def test_requests_have_one_reply_each(self):
        with connect(f"{self.server.ws_origin}/counter", compression=None) as socket:
            self.assertNotIn("Sec-WebSocket-Extensions", socket.response.headers)
            receive_until(socket, lambda frame: frame.get("event") == "@live", "@live")
            socket.send(json.dumps({"id": "a", "post": "/counter:increment", "body": {"value": 5}}))
            socket.send(json.dumps({"id": "b", "post": "/counter:decrement", "body": {"value": 6}}))
            socket.send(json.dumps({"id": "c", "get": "/counter"}))
            replies = {}
            while len(replies) < 3:
                frame = json.loads(socket.recv(timeout=DEADLINE))
                if "id" in frame:
                    replies[frame["id"]] = frame
            self.assertEqual((replies["a"]["status"], replies["a"]["body"]), (200, {"count": 5}))
            self.assertEqual((replies["b"]["status"], replies["b"]["body"]["reason"]), (400, "count_negative"))
            self.assertEqual(replies["c"]["status"], 200)

    def test_fragments_and_pings(self):
        with connect(f"{self.server.ws_origin}/counter") as socket:
            self.assertTrue(socket.ping().wait(DEADLINE), "no pong")
            socket.send(['{"id":1,', '"get":', '"/counter"}'])
            frames = receive_until(socket, lambda frame: frame.get("id") == 1, "a reply")
            self.assertEqual(frames[-1]["body"], {"count": 0})

    def test_a_binary_message_is_closed_with_1003(self):
        with connect(f"{self.server.ws_origin}/counter") as socket:
            socket.send(b"\x01\x02")
            with self.assertRaises(ConnectionClosed) as closed:
                while True:
                    socket.recv(timeout=DEADLINE)
            self.assertEqual(closed.exception.rcvd.code, 1003)

    def test_the_reconnecting_client_resumes_from_its_cursor(self):
        received = asyncio.run(asyncio.wait_for(self.follow_over_a_crash(), 4 * DEADLINE))
        self.assertEqual([frame["data"] for frame in received], list(range(1, 11)))
        self.assert_dense(received)

    async def follow_over_a_crash(self):
        """Reads ten messages with a connection that the server's death cuts after the fifth."""
        received, since = [], None
        while len(received) < 10:
            query = f"?since={since}" if since else ""
            try:
                async with connect_async(f"{self.server.ws_origin}/chat/a{query}") as socket:
                    async for text in socket:
                        frame = json.loads(text)
                        since = frame["cursor"]
                        if not is_control(frame):
                            received.append(frame)
                        elif frame["event"] == "@live" and not received:
                            await asyncio.to_thread(self.publish, 1, 5)
                        if len(received) == 5 and frame["data"] == 5:
                            await asyncio.to_thread(self.server.crash)
                            await asyncio.to_thread(self.publish, 6, 10)
                        if len(received) == 10:
                            break
            except ConnectionClosed:
                pass
        return received

    def publish(self, first, last):
        for number in range(first, last + 1):
            self.assertEqual(self.server.post("/chat/a", number)[0], 201)


if __name__ == "__main__":
    unittest.main()
