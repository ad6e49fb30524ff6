"""A real tracking server on loopback, and a proxy before it that can fail in the ways that networks do."""

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@contextmanager
def tracking_server(folder, store=None, *, name="server"):
    """Run `mlflow server` (or ``name``) before ``store``, by default an SQLite file in ``folder``; yield its port."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", name]
    command += ["--backend-store-uri", store or f"sqlite:///{folder}/server.db"]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--workers", "1"]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            env={
                **os.environ,
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # two processes more, to no use
                # MLflow looks for its web server among the commands.
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            },
            stdout=log,
            stderr=log,
            start_new_session=True,
        ) as process,
    ):
        try:
            deadline = time.monotonic() + 120
            while not _answers(port):
                assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
                time.sleep(0.3)
            yield port
        finally:
            os.killpg(process.pid, 15)


def _answers(port):
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
    except OSError:
        return False
    return True


class Proxy:
    """Passes requests on to the server at ``port``, unless ``fault`` is set.

    - ``down``: hangs up without an answer,
    - ``503``: says so,
    - ``login``: shows a page in place of every answer, as one that wants its users to sign in again,
    - ``small``: says 413 to a request of more than 2000 bytes,
    - ``lost``: passes every request on, and hangs up instead of answering one that is new,
    - ``slow``: takes its time for every answer,
    - ``stuck``: answers only once ``fault`` is something else.
    """

    def __init__(self, port):
        self.port = port
        self.fault = None
        self.seen = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # a client that went away
        self.uri = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self.fault = "down"
        self._server.shutdown()
        self._server.server_close()

    def is_new(self, command, path, body):
        # A file that is written again may hold another time.
        request = (command, path, None if command == "PUT" else body)
        new = command != "GET" and request not in self.seen
        self.seen.add(request)
        return new


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        while proxy.fault == "stuck":
            time.sleep(0.05)
        if proxy.fault == "slow":
            time.sleep(0.05)
        if proxy.fault == "503":
            self.reply(503, [], b"later")
            return
        if proxy.fault == "login":
            self.reply(200, [("Content-Type", "text/html")], b"<html>sign in</html>")
            return
        if proxy.fault == "small" and len(body) > 2000:
            self.reply(413, [], b"<html>too large</html>")
            return
        self.close_connection = proxy.fault == "down"
        if proxy.fault != "down":
            answer = self.passed_on(proxy.port, body)
            self.close_connection = proxy.fault == "lost" and proxy.is_new(self.command, self.path, body)
        if not self.close_connection:
            self.reply(*answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815  # the library's names

    def passed_on(self, port, body):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request(self.command, self.path, body, {**self.headers, "Host": f"127.0.0.1:{port}"})
        with connection.getresponse() as response:
            content = response.read()
        connection.close()
        return response.status, response.getheaders(), content

    def reply(self, status, headers, content):
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in {"content-length", "transfer-encoding", "connection", "date", "server"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass
