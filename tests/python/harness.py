"""The release binary as a child: started on a free port with data of its own, and never left behind."""

import atexit
import json
import os
import pathlib
import queue
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("PLAINWIRE", ROOT / "target/release/plainwire")).resolve()
# Has the kernel kill a child when its parent dies, however that happens. Part of util-linux.
SETPRIV = shutil.which("setpriv")
# How long anything may take before a test gives up, in seconds: only a failing test waits so long.
DEADLINE = 15

# A signal that ends the tests also runs what `atexit` holds.
signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))


class Server:
    """A server that ends with the test."""

    def __init__(self, test, environment=()):
        self.port = 0
        self._environment = os.environ | dict(environment)
        self._data = tempfile.mkdtemp(prefix="plainwire-test-")
        self._child = None
        atexit.register(self.kill)
        test.addCleanup(shutil.rmtree, self._data, ignore_errors=True)
        test.addCleanup(self.kill)
        self.start()

    @property
    def origin(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_origin(self):
        return f"ws://127.0.0.1:{self.port}"

    def start(self):
        """Starts it, again on the same port if it ran before."""
        guard = [SETPRIV, "--pdeathsig", "KILL", "--"] if SETPRIV else []
        arguments = [BINARY, "dev", "--listen", f"127.0.0.1:{self.port}", "--data", self._data]
        with tempfile.TemporaryFile() as errors:
            self._child = subprocess.Popen(guard + arguments, stdout=subprocess.PIPE, stderr=errors, text=True, env=self._environment)
            said = queue.Queue()
            threading.Thread(target=_listen, args=(self._child.stdout, said), daemon=True).start()
            try:
                self.port = said.get(timeout=DEADLINE)
            except queue.Empty:
                self.port = None
            if self.port is None:
                self.kill()
                errors.seek(0)
                raise AssertionError(f"the server did not say its URL; stderr: {errors.read().decode()}")

    def kill(self):
        """kill -9."""
        if self._child is not None:
            self._child.kill()
            self._child.wait(DEADLINE)

    def stop(self):
        """Asks it to stop, and waits until it has."""
        self._child.terminate()
        self._child.wait(DEADLINE)

    def crash(self):
        """kill -9, and once more on the same port with the same data."""
        self.kill()
        self.start()

    def post(self, path, body, headers=()):
        """POSTs JSON. Returns the status, the cursor and the JSON of the answer."""
        request = urllib.request.Request(self.origin + path, json.dumps(body).encode(), dict(headers), method="POST")
        try:
            answer = urllib.request.urlopen(request, timeout=DEADLINE)
        except urllib.error.HTTPError as refused:
            answer = refused
        with answer:
            return answer.status, answer.headers["Plainwire-Cursor"], json.load(answer)


def _listen(stdout, said):
    """Puts the port into `said`, or None if the output ends before it comes. Reads on, so that no write blocks."""
    found = False
    for line in stdout:
        match = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if match and not found:
            found = True
            said.put(int(match[1]))
    stdout.close()
    if not found:
        said.put(None)
