"""A stand-in for the model repositories of the Hugging Face Hub, for the unmodified `huggingface_hub` client.

Repositories are plain values in memory: commits of files, and branches that point at commits. It speaks what reading a
repository needs (file metadata and content, repository information) and knows no adaptx code.
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
from urllib.parse import unquote, urlsplit

FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")
INFO = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)(/revision/(?P<revision>[^/]+))?")


@dataclass
class Repository:
    """`commits`: 40 hex digits -> path -> content. `branches`: name -> commit."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Put `files` on the branch as a commit of their own, which is returned."""
        digest = hashlib.sha1()
        for name in sorted(files):
            digest.update(name.encode() + hashlib.sha256(files[name]).digest())
        sha = digest.hexdigest()
        self.commits[sha] = files
        self.branches[branch] = sha
        return sha


@dataclass
class HubServer:
    """A running server. `asked`: method and path of every request so far. `failing`: everything is answered by 503.

    `advance`: after so many answered files the branch main of every repository moves to the newest of its commits.
    """

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    failing: bool = False
    advance: int | None = None

    def files_asked(self) -> set[str]:
        """Names of the files that were asked for."""
        return {m["file"] for line in self.asked if (m := FILE.fullmatch(line.partition(" ")[2]))}


def folder_files(folder: Path) -> dict[str, bytes]:
    """The files below `folder` as a commit's content."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@contextmanager
def serve() -> Iterator[HubServer]:
    """A server on a free local port while the block runs."""
    state = HubServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            state.asked.append(f"{self.command} {path}")
            if state.failing:
                return self._send(503, b"")
            match = FILE.fullmatch(path) or INFO.fullmatch(path)
            repository = state.repositories.get(match["repo"]) if match else None
            if match is None or repository is None:
                return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
            named = match["revision"] or "main"
            sha = repository.branches.get(named, named)
            files = repository.commits.get(sha)
            if files is None:
                return self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
            if "file" not in match.groupdict():
                listed = [{"rfilename": name} for name in sorted(files)]
                return self._send(200, json.dumps({"id": match["repo"], "sha": sha, "siblings": listed}).encode())
            if match["file"] not in files:
                return self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha})
            content = files[match["file"]]
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            self._send(200, content, {"ETag": etag, "X-Repo-Commit": sha})
            if self.command == "GET" and state.advance is not None:
                state.advance -= 1
                if state.advance == 0:
                    for each in state.repositories.values():
                        each.branches["main"] = list(each.commits)[-1]
            return None

        def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
