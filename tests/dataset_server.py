"""A small HTTP stand-in for the data sets of the Hugging Face Hub, for unmodified `datasets` and `huggingface_hub`.

Serves folders `root/ORG/NAME/COMMIT/...`; `branches` says which commit a branch of a repository points at. It knows
only what reading a data set needs, and no adaptx code.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

API = re.compile(r"/api/datasets/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/(.+))?$")
FILE = re.compile(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+|refs%2F[^/]+)/(.+)$")


@dataclass
class Hub:
    """A running server. `asked`: the paths requested so far; `failing`: answer everything with 503."""

    root: Path
    url: str = ""
    branches: dict[tuple[str, str], str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    failing: bool = False

    def commit(self, name: str, revision: str) -> str | None:
        """The commit that a revision of the data set names, None where there is none."""
        commit = self.branches.get((name, unquote(revision)), unquote(revision))
        return commit if (self.root / name / commit).is_dir() else None


@contextmanager
def serve(root: Path, branches: dict[tuple[str, str], str]) -> Iterator[Hub]:
    """A server on a free local port while the block runs."""
    hub = Hub(root, branches=branches)

    class Handler(_Handler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    served: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        self.served.asked.append(path)
        if self.served.failing:
            return self._send(503, b"")
        if found := API.match(path):
            return self._api(found[1], found[2], found[3] or "main", body)
        if found := FILE.match(path):
            return self._file(found[1], found[2], unquote(found[3]))
        return self._send(404, b"")

    def _api(self, name: str, what: str | None, rest: str, body: bytes) -> None:
        if not (self.served.root / name).is_dir():
            return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        revision, _, below = rest.partition("/")
        commit = self.served.commit(name, revision)
        if commit is None:
            return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        top = self.served.root / name / commit
        if what in (None, "revision"):
            return self._json({"id": name, "sha": commit, "private": False, "siblings": [], "tags": []})
        if what == "tree":
            start = top / unquote(below)
            if not start.is_dir():
                return self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            recursive = "recursive=True" in self.path or "recursive=true" in self.path
            paths = sorted(start.rglob("*") if recursive else start.iterdir())
            return self._json([_entry(top, p) for p in paths])
        wanted = json.loads(body)["paths"] if body.startswith(b"{") else parse_qs(body.decode()).get("paths", [])
        return self._json([_entry(top, top / p) for p in wanted if (top / p).exists()])

    def _file(self, name: str, revision: str, path: str) -> None:
        commit = self.served.commit(name, revision)
        file = self.served.root / name / (commit or "") / path
        if commit is None or not file.is_file():
            code = "EntryNotFound" if commit else "RevisionNotFound"
            known = (self.served.root / name).is_dir()
            return self._send(
                404, b"", {"X-Error-Code": code if known else "RepoNotFound", "X-Repo-Commit": commit or ""}
            )
        data = file.read_bytes()
        return self._send(200, data, {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": commit})

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _entry(top: Path, path: Path) -> dict[str, object]:
    where = path.relative_to(top).as_posix()
    if path.is_dir():
        return {"type": "directory", "oid": "0" * 40, "size": 0, "path": where}
    data = path.read_bytes()
    return {"type": "file", "oid": hashlib.sha1(data).hexdigest(), "size": len(data), "path": where}
