"""A hub in a model repository of the Hugging Face Hub, through the unmodified huggingface_hub. Knows no adapter.

Reading is pinned to one commit for as long as the object lives. A push is one commit, so readers see all of it or
nothing. Where and as whom (HF_ENDPOINT, HF_TOKEN, a stored login) is the library's business.
"""

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from adaptx.errors import AdaptxError
from adaptx.hub.backend import Item
from adaptx.hub.names import refuse

CONFLICTS = (409, 412)
TRIES = 5


@dataclass(frozen=True)
class HuggingFace:
    """The hub in repository `repo` at the commit `revision` (empty: the repository does not exist yet)."""

    repo: str
    cache: Path
    revision: str
    private: bool
    front_page: bool = True

    @classmethod
    def of(cls, org: str, name: str, cache: Path, revision: str | None, private: bool) -> "HuggingFace":
        """The hub at hf://org/name. Raises AX080 for a malformed address or an unknown revision, AX060 offline."""
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
        from huggingface_hub.utils.tqdm import disable_progress_bars

        if not sys.stderr.isatty():
            disable_progress_bars()
        repo = f"{org}/{name.strip('/')}"
        if not org or repo.count("/") != 1 or repo.endswith("/"):
            raise AdaptxError("AX080", f"hf://{repo}", "expected hf://ORG/NAME.")
        commit = ""
        with _reaching(repo):
            try:
                commit = HfApi().model_info(repo, revision=revision).sha or ""
            except RepositoryNotFoundError:
                if revision:
                    raise
            except HFValidationError:
                raise AdaptxError("AX080", f"hf://{repo}", "not a repository name.") from None
        return cls(repo, cache / "hub", commit, private)

    @property
    def url(self) -> str:
        return f"hf://{self.repo}"

    def tree(self) -> dict[str, int]:
        """Every file's size."""
        return self._sizes

    @cached_property
    def _sizes(self) -> dict[str, int]:
        from huggingface_hub import HfApi
        from huggingface_hub.hf_api import RepoFile

        if not self.revision:
            raise AdaptxError(
                "AX080", self.url, "there is no such repository, or it is private and you may not see it."
            )
        with _reaching(self.repo):
            tree = HfApi().list_repo_tree(self.repo, recursive=True, revision=self.revision)
            return {f.path: f.size for f in tree if isinstance(f, RepoFile)}

    def paths(self, prefix: str) -> list[str]:
        return sorted(p for p in self._sizes if p.startswith(prefix + "/"))

    def read(self, path: str, limit: int) -> bytes:
        if self._sizes.get(path, 0) > limit:
            raise refuse(path, f"more than {limit:,} bytes.")
        return self._downloaded(path).read_bytes()

    def fetch(self, path: str, to: Path, size: int) -> None:
        if self._sizes.get(path, size) != size:
            raise AdaptxError("AX020", path, f"{self._sizes[path]:,} bytes instead of {size:,}.")
        shutil.copyfile(self._downloaded(path), to)

    def _downloaded(self, path: str) -> Path:
        from huggingface_hub import hf_hub_download

        if path not in self._sizes:
            raise AdaptxError("AX081", path, "the hub has no such file.")
        with _reaching(self.repo):
            return Path(hf_hub_download(self.repo, path, revision=self.revision, cache_dir=self.cache))

    def holds(self, items: Sequence[Item]) -> bool:
        return bool(self.revision) and all(self._sizes.get(i.path) == i.size for i in items)

    def put(self, items: Sequence[Item], message: str) -> str:
        from huggingface_hub import CommitOperationAdd, HfApi

        add = [CommitOperationAdd(i.path, i.source if isinstance(i.source, bytes) else str(i.source)) for i in items]
        with _reaching(self.repo):
            if not self.revision:
                HfApi().create_repo(self.repo, private=self.private, exist_ok=True)
            return self._commit(add, message)

    def delete(self, paths: Sequence[str], message: str) -> None:
        from huggingface_hub import CommitOperationDelete

        gone = [CommitOperationDelete(p, is_folder=False) for p in paths if p in self._sizes]
        with _reaching(self.repo):
            if gone:
                self._commit(gone, message)

    def _commit(self, operations: Sequence[object], message: str) -> str:
        """One commit on the main branch; tried again where another writer was faster."""
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError

        for attempt in range(TRIES):
            try:
                return str(HfApi().create_commit(self.repo, operations, commit_message=message).oid)  # type: ignore[arg-type]
            except HfHubHTTPError as error:
                if _status(error) not in CONFLICTS or attempt == TRIES - 1:
                    raise
                time.sleep(0.2 * 2**attempt)
        return ""

    def blob(self, place: str, path: str, sha256: str) -> str:
        return f"{place}/{path}"

    def sweep(self, keep: set[str], older_than_seconds: float) -> int:
        return 0


def _status(error: Any) -> int:
    return int(error.response.status_code) if error.response is not None else 0


@contextlib.contextmanager
def _reaching(repo: str) -> Iterator[None]:
    import requests
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    login = "Log in with `hf auth login` or set HF_TOKEN, and check the name."
    try:
        yield
    except RevisionNotFoundError:
        raise AdaptxError("AX081", f"hf://{repo}", "it has no such revision.") from None
    except (RepositoryNotFoundError, GatedRepoError, LocalTokenNotFoundError):
        raise AdaptxError("AX080", f"hf://{repo}", "it does not exist, or you may not see it.", login) from None
    except OfflineModeIsEnabled:
        raise AdaptxError("AX060", f"hf://{repo}", "HF_HUB_OFFLINE forbids to ask the Hub.", "Unset it.") from None
    except (LocalEntryNotFoundError, requests.ConnectionError, requests.Timeout) as error:
        raise AdaptxError(
            "AX060", f"hf://{repo}", f"the Hub did not answer ({type(error).__name__}).", "Check the connection."
        ) from None
    except HfHubHTTPError as error:
        code = _status(error)
        raise AdaptxError(
            "AX080", f"hf://{repo}", f"the Hub answered {code}.", login if code in (401, 403) else ""
        ) from None
