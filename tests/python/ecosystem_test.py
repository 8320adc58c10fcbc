"""The programs of tests/ecosystem: Python clients follow a channel through a crash and a stop of the server."""

import json
import pathlib
import queue
import subprocess
import sys
import threading
import unittest

from harness import DEADLINE, Server

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "ecosystem"


class EcosystemTest(unittest.TestCase):
    def test_httpx_sse(self):
        self.follows("httpx_sse_follow.py")

    def test_websockets(self):
        self.follows("websockets_follow.py")

    def follows(self, program):
        server = Server(self)
        sent = 0

        def send():
            nonlocal sent
            for _ in range(3):
                sent += 1
                self.assertEqual(server.post("/chat/followed", {"n": sent})[0], 201)

        send()
        child = subprocess.Popen([sys.executable, FOLDER / program, f"{server.origin}/chat/followed"], stdout=subprocess.PIPE, text=True)
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        printed, told = queue.Queue(), []
        threading.Thread(target=lambda: [printed.put(line) for line in child.stdout], daemon=True).start()

        def until(last):
            while not told or told[-1]["data"]["n"] != last:
                try:
                    told.append(json.loads(printed.get(timeout=DEADLINE)))
                except queue.Empty:
                    raise AssertionError(f"{program} did not print message {last}, but {told}") from None

        until(sent)
        for end in (server.kill, server.stop):
            end()
            server.start()
            send()
            until(sent)
        self.assertEqual([message["data"]["n"] for message in told], list(range(1, sent + 1)))
        positions = [message["cursor"].split(".") for message in told]
        self.assertEqual([int(offset) for _, offset in positions], list(range(1, sent + 1)))
        self.assertEqual(len({epoch for epoch, _ in positions}), 1)


if __name__ == "__main__":
    unittest.main()
