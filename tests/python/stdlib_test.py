"""Nothing but Python's standard library."""

import json
import unittest
import urllib.request

from harness import DEADLINE, Server


class StandardLibraryTest(unittest.TestCase):
    def setUp(self):
        self.server = Server(self)

    def open(self, path, **headers):
        answer = urllib.request.urlopen(urllib.request.Request(self.server.origin + path, headers=headers), timeout=DEADLINE)
        self.addCleanup(answer.close)
        return answer

    def test_lines_of_ndjson(self):
        stream = self.open("/chat/a", Accept="application/x-ndjson")
        self.assertEqual(stream.headers.get_content_type(), "application/x-ndjson")
        self.assertEqual(json.loads(stream.readline())["event"], "@live")
        for number in range(10):
            _, cursor, _ = self.server.post("/chat/a", {"number": number, "text": "ä€🦀"})
            envelope = json.loads(stream.readline())
            self.assertEqual((envelope["cursor"], envelope["data"]), (cursor, {"number": number, "text": "ä€🦀"}))

    def test_a_long_poll_loop_that_goes_on_over_a_crash(self):
        _, cursor, _ = self.server.post("/chat/a", 1)
        seen = []
        for number in range(2, 8):
            if number == 5:
                self.server.crash()
            self.server.post("/chat/a", number)
            with self.open(f"/chat/a?since={cursor}", Prefer="wait=10") as answer:
                page = json.load(answer)
            cursor = page["cursor"]
            seen += [message["data"] for message in page["messages"]]
        self.assertEqual(seen, [2, 3, 4, 5, 6, 7])


if __name__ == "__main__":
    unittest.main()
