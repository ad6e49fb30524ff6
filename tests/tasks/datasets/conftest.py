"""Fixtures of the dataset tests: a server on loopback, an openml.org of one's own, CIFAR-10 with made-up pixels."""

from __future__ import annotations

import hashlib
import json
import pickle
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files`; `server.ranges` and `server.cut` say how well."""

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.requests.append((self.path, wanted))
        content = self.server.files.get(self.path)
        if content is None:
            self._answer(self.server.missing, b"{}")
        elif wanted is None or not self.server.ranges:
            self._answer(200, content)
        else:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self._answer(416, b"")
            else:
                self._answer(
                    206, content[start:], {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
                )

    def _answer(self, status, body, headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.server.cut is None else body[: self.server.cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    """Return a running HTTP server with the attributes files, ranges, cut, missing, requests and url."""
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.files, httpd.requests, httpd.ranges, httpd.cut, httpd.missing = {}, [], True, None, 404
    httpd.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield httpd
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture
def openml(server, monkeypatch):
    """Return a function that puts a data set on an openml.org of one's own, asked by scikit-learn's real fetcher."""
    api = f"{server.url}/api/v1/json/data"
    edge = "sklearn.datasets._openml"
    monkeypatch.setattr(f"{edge}._SEARCH_NAME", api + "/list/data_name/{}/limit/2")
    monkeypatch.setattr(f"{edge}._DATA_INFO", api + "/{}")
    monkeypatch.setattr(f"{edge}._DATA_FEATURES", api + "/features/{}")
    monkeypatch.setattr(f"{edge}._DATA_QUALITIES", api + "/qualities/{}")
    server.missing = 412  # what openml.org answers where nothing is found

    def publish(name, pixels, labels, kind=None):
        kind = kind or "{" + ",".join(sorted(set(labels))) + "}"
        lines = [f"@RELATION {name}", *(f"@ATTRIBUTE p{i} NUMERIC" for i in range(len(pixels[0])))]
        lines += [f"@ATTRIBUTE class {kind}", "@DATA"]
        lines += [",".join([*map(str, row), label]) for row, label in zip(pixels, labels, strict=True)]
        arff = ("\n".join(lines) + "\n").encode()
        features = [
            {"index": str(i), "name": f"p{i}", "data_type": "numeric", "is_target": "false"}
            for i in range(len(pixels[0]))
        ]
        data_type = "nominal" if kind.startswith("{") else "numeric"
        features.append({"index": str(len(features)), "name": "class", "data_type": data_type, "is_target": "true"})
        for feature in features:
            feature |= {"is_ignore": "false", "is_row_identifier": "false", "number_of_missing_values": "0"}
        about = {"id": "1", "name": name, "version": "1", "status": "active", "format": "ARFF", "description": ""}
        about |= {"url": f"{server.url}/{name}.arff", "md5_checksum": hashlib.md5(arff).hexdigest()}
        found = {"data": {"dataset": [{"did": 1, "name": name, "version": 1, "status": "active"}]}}
        prefix = "/api/v1/json/data"
        answers = {
            f"{prefix}/list/data_name/{name.lower()}/limit/2/data_version/1": found,
            f"{prefix}/1": {"data_set_description": about},
            f"{prefix}/features/1": {"data_features": {"feature": features}},
            f"{prefix}/qualities/1": {
                "data_qualities": {"quality": [{"name": "NumberOfInstances", "value": str(len(labels))}]}
            },
        }
        server.files = {path: json.dumps(answer).encode() for path, answer in answers.items()}
        server.files[f"/{name}.arff"] = arff

    return publish


@pytest.fixture(scope="session")
def made_up_records():
    """Return one published file's worth of records, uint8 (10000, 3073): ten fit the window of gzip, and compress."""
    few = np.random.default_rng(0).integers(0, 256, (10, 3073), dtype=np.uint8)
    few[:, 0] = np.arange(10)
    return np.tile(few, (1000, 1))


@pytest.fixture(scope="session")
def binary_folder(made_up_records, tmp_path_factory):
    """Return a folder of the binary version."""
    folder = tmp_path_factory.mktemp("binary") / "cifar-10-batches-bin"
    folder.mkdir()
    (folder / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n\n")
    for name in BATCHES:
        made_up_records.tofile(folder / f"{name}.bin")
    return folder


@pytest.fixture(scope="session")
def python_folder(made_up_records, tmp_path_factory):
    """Return a folder of the python version with the same records."""
    folder = tmp_path_factory.mktemp("python") / "cifar-10-batches-py"
    folder.mkdir()
    meta = {b"label_names": [name.encode() for name in CLASSES], b"num_vis": 3072}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    batch = {b"labels": made_up_records[:, 0].tolist(), b"data": made_up_records[:, 1:].copy(), b"filenames": []}
    content = pickle.dumps(batch, protocol=2)
    for name in BATCHES:
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def archive(binary_folder, tmp_path_factory):
    """Return the archive of the binary version, named as it is published."""
    file = tmp_path_factory.mktemp("archive") / "cifar-10-binary.tar.gz"
    with tarfile.open(file, "w:gz", compresslevel=1) as tar:
        tar.add(binary_folder, arcname=binary_folder.name)
    return file
