"""A small HTTP stand-in for model repositories of the Hugging Face Hub, for the unmodified `huggingface_hub` client.

Speaks what creating, committing to (regular files and LFS), listing and downloading a model repository needs, with
commits, tokens and private repositories. Everything is kept in memory. Knows no adaptx code.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_" + "t" * 34
NAME = r"([\w.-]+/[\w.-]+)"
Files = dict[str, bytes]


@dataclass
class Repository:
    """`commits`: (sha, files) from the first to the newest; files kept as LFS are named in `large`."""

    private: bool = False
    commits: list[tuple[str, Files]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    large: set[str] = field(default_factory=set)

    def at(self, revision: str) -> tuple[str, Files] | None:
        """The commit that "main" or a sha names."""
        if revision == "main":
            return self.commits[-1]
        return next((c for c in self.commits if c[0] == revision), None)

    def add(self, files: Files, message: str) -> str:
        sha = hashlib.sha1(repr((len(self.commits), sorted(files), message)).encode()).hexdigest()
        self.commits.append((sha, files))
        self.messages.append(message)
        return sha


@dataclass
class Server:
    """A running stand-in. `conflicts`: how many coming commits are answered 412; `asked`: requests so far."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: Files = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    conflicts: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def serve() -> Iterator[Server]:
    """A server on a free local port while the block runs."""
    state = Server()

    class Handler(_Handler):
        served = state

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


def oid(data: bytes) -> str:
    """The git blob id of a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    served: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def handle_one(self, method: str) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(iter(self._chunk, b""))
        path = unquote(urlsplit(self.path).path)
        self.served.asked.append(f"{method} {path}")
        with self.served.lock:
            self._route(method, path, body)

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline(), 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def do_GET(self) -> None:
        self.handle_one("GET")

    def do_HEAD(self) -> None:
        self.handle_one("HEAD")

    def do_POST(self) -> None:
        self.handle_one("POST")

    def do_PUT(self) -> None:
        self.handle_one("PUT")

    def _route(self, method: str, path: str, body: bytes) -> None:
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return self._validate(json.loads(body)["content"])
        if found := re.fullmatch(r"/upload/([0-9a-f]{64})", path):
            good = hashlib.sha256(body).hexdigest() == found[1]
            self.served.objects[found[1]] = body
            return self._answer(200 if good else 422, {})
        for rule, action in (
            (rf"/api/models/{NAME}(?:/revision/(.+))?", self._info),
            (rf"/api/models/{NAME}/tree/([^/]+)(?:/.*)?", self._tree),
            (rf"/api/models/{NAME}/preupload/(.+)", self._preupload),
            (rf"/{NAME}\.git/info/lfs/objects/(batch)", self._batch),
            (rf"/api/models/{NAME}/commit/(.+)", self._commit),
            (rf"/{NAME}/resolve/([^/]+)/(.+)", self._resolve),
        ):
            if found := re.fullmatch(rule, path):
                repository = self._allowed(found[1], method == "POST")
                if repository is not None:
                    action(repository, *found.groups()[1:], body=body)
                return None
        return self._answer(404, {"error": f"no such route: {path}"})

    def _allowed(self, name: str, write: bool) -> Repository | None:
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        repository = self.served.repositories.get(name)
        if repository is None or (repository.private and not known):
            self._refuse(404 if known else 401, "RepoNotFound")
            return None
        if write and not known:
            self._answer(403, {"error": "you may not write here"})
            return None
        return repository

    def _name(self, repository: Repository) -> str:
        return next(n for n, r in self.served.repositories.items() if r is repository)

    def _create(self, asked: dict[str, Any]) -> None:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer(401, {"error": "log in first"})
        name = f"{asked['organization']}/{asked['name']}"
        url = f"{self.served.url}/{name}"
        if name in self.served.repositories:
            return self._answer(409, {"error": "it exists", "url": url})
        repository = Repository(private=bool(asked.get("private")))
        repository.add({".gitattributes": b"*.safetensors filter=lfs\n"}, "initial commit")
        self.served.repositories[name] = repository
        return self._answer(200, {"url": url, "name": name})

    def _validate(self, content: str) -> None:
        """As the Hub does: a card's front matter must be YAML with fields of the right form."""
        front = yaml.safe_load(content.split("---")[1])
        faults = [k for k in ("language", "tags", "datasets") if not isinstance(front.get(k, []), list | str)]
        faults += [] if isinstance(front.get("license", ""), str) else ["license"]
        for model in front.get("model-index", []):
            for result in model["results"]:
                whole = result["task"]["type"] and result["dataset"]["type"] and result["dataset"]["name"]
                faults += [] if whole and all("type" in m for m in result["metrics"]) else ["model-index"]
        return self._answer(400 if faults else 200, {"errors": [{"message": f} for f in faults], "warnings": []})

    def _info(self, repository: Repository, revision: str | None, body: bytes) -> None:
        commit = repository.at(revision or "main")
        if commit is None:
            return self._refuse(404, "RevisionNotFound")
        name = self._name(repository)
        return self._answer(
            200,
            {"id": name, "modelId": name, "sha": commit[0], "private": repository.private, "tags": [], "siblings": []},
        )

    def _tree(self, repository: Repository, revision: str, body: bytes) -> None:
        commit = repository.at(revision)
        if commit is None:
            return self._refuse(404, "RevisionNotFound")
        rows = [{"type": "file", "path": p, "size": len(d), "oid": oid(d)} for p, d in sorted(commit[1].items())]
        folders = {p.rsplit("/", 1)[0] for p in commit[1] if "/" in p}
        return self._answer(200, [*rows, *({"type": "directory", "path": f, "oid": "0" * 40} for f in sorted(folders))])

    def _preupload(self, repository: Repository, revision: str, body: bytes) -> None:
        head = repository.commits[-1][1]
        answer = [
            {
                "path": f["path"],
                "uploadMode": "lfs" if f["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
                "oid": oid(head[f["path"]]) if f["path"] in head else None,
            }
            for f in json.loads(body)["files"]
        ]
        return self._answer(200, {"files": answer})

    def _batch(self, repository: Repository, _: str, body: bytes) -> None:
        answer = []
        for wanted in json.loads(body)["objects"]:
            upload = {"upload": {"href": f"{self.served.url}/upload/{wanted['oid']}", "header": {}}}
            held = wanted["oid"] in self.served.objects
            answer.append({**wanted, **({} if held else {"actions": upload})})
        return self._answer(200, {"transfer": "basic", "objects": answer})

    def _commit(self, repository: Repository, revision: str, body: bytes) -> None:
        if self.served.conflicts:
            self.served.conflicts -= 1
            return self._answer(412, {"error": "A commit has happened since. Please refresh and try again."})
        files, message = dict(repository.commits[-1][1]), ""
        for line in body.splitlines():
            step = json.loads(line)
            value = step["value"]
            if step["key"] == "header":
                message = value["summary"]
            elif step["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif step["key"] == "lfsFile":
                files[value["path"]] = self.served.objects[value["oid"]]
                repository.large.add(value["path"])
            elif step["key"] == "deletedFile":
                del files[value["path"]]
            else:
                return self._answer(400, {"error": f"unknown step {step['key']}"})
        sha = repository.add(files, message)
        url = f"{self.served.url}/{self._name(repository)}/commit/{sha}"
        return self._answer(200, {"success": True, "commitOid": sha, "commitUrl": url})

    def _resolve(self, repository: Repository, revision: str, path: str, body: bytes) -> None:
        commit = repository.at(revision)
        if commit is None:
            return self._refuse(404, "RevisionNotFound")
        if path not in commit[1]:
            return self._refuse(404, "EntryNotFound")
        data = commit[1][path]
        etag = hashlib.sha256(data).hexdigest() if path in repository.large else oid(data)
        return self._answer(200, data, {"ETag": f'"{etag}"', "X-Repo-Commit": commit[0]})

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, {"error": code}, {"X-Error-Code": code, "X-Error-Message": code})

    def _answer(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.send_header("Content-Type", "application/octet-stream" if isinstance(value, bytes) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
