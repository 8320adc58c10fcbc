"""The OpenAPI document, by schemathesis against the running server."""

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.request

from harness import DEADLINE, Server

HOOKS = pathlib.Path(__file__).parent / "openapi_hooks.py"
# Examples of each operation, in each phase: a minute on a slow machine.
EXAMPLES = 40
# How long all of it may take, in seconds.
PATIENCE = 240
# Those that hold of every answer. What is left out judges requests: here any JSON is a message, and unknown parameters are ignored.
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
]
# Long polls end soon, so that each of them may be asked.
ENVIRONMENT = {"PLAINWIRE_LONG_POLL_MAX": "1s", "PLAINWIRE_PUBLIC_METRICS": "true"}


class OpenApiTest(unittest.TestCase):
    def setUp(self):
        self.server = Server(self, ENVIRONMENT)

    def test_the_server_does_what_the_document_says(self):
        seed = int(os.environ.get("PLAINWIRE_SEED") or random.randrange(2**32))
        print(f"PLAINWIRE_SEED={seed}")
        self.server.post("/counter:increment", {"value": 5})
        arguments = ["run", f"{self.server.origin}/_/openapi.json", "--checks", ",".join(CHECKS)]
        arguments += ["--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--seed", str(seed)]
        arguments += ["--request-timeout", str(DEADLINE), "--no-color"]
        # It leaves a cache where it runs.
        folder = tempfile.mkdtemp(prefix="plainwire-test-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        run = subprocess.run(
            [pathlib.Path(sys.executable).with_name("schemathesis"), *arguments],
            env=os.environ | {"SCHEMATHESIS_HOOKS": HOOKS.stem, "PYTHONPATH": str(HOOKS.parent)},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        self.assertEqual(run.returncode, 0, f"PLAINWIRE_SEED={seed}\n{run.stdout[-20000:]}\n{run.stderr[-2000:]}")

    def test_streams_have_the_media_types_of_the_document(self):
        """Schemathesis waits for the end of an answer, so streams are asked for here."""
        with urllib.request.urlopen(self.server.origin + "/_/openapi.json", timeout=DEADLINE) as answer:
            document = json.load(answer)
        for path, asked in [("/{channel}", "/counter"), ("/{channel}/@presence", "/lobby/@presence"), ("/_/live", "/_/live?channel=/counter")]:
            told = document["paths"][path]["get"]["responses"]["200"]["content"]
            for media_type in ["text/event-stream", "application/x-ndjson"]:
                request = urllib.request.Request(self.server.origin + asked, headers={"Accept": media_type})
                with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
                    self.assertEqual(answer.headers.get_content_type(), media_type)
                    self.assertIn(media_type, told)
                    self.assertTrue(answer.readline())


if __name__ == "__main__":
    unittest.main()
