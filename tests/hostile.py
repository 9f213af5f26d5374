"""A corpus of adapter folders that mean harm: each case is a name and what it does to a good folder or a hub.

`CASES` maps a name to a function that plants the case on a folder hub. Run as a program, it pulls every case with an
audit hook in place and prints, as JSON, each case's error code and everything that should not have happened.
"""

import json
import os
import pickle
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import hub_toy
import toy
from adaptx.config import Settings
from adaptx.hub.backend import content_address
from adaptx.store import Stored

Case = Callable[[Stored, Path, Path], object]
WEIGHTS, HEAD, CONFIG = "adapter/adapter.safetensors", "head.safetensors", "adapter/adapter_config.json"
CASES: dict[str, Case] = {}


class Exploit:
    """Runs a command when unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("echo executed > executed.txt",)


def safetensors(table: Any, data: bytes, length: int | None = None) -> bytes:
    """A safetensors file with any header at all; `length`: what it claims its header's length to be."""
    header = table if isinstance(table, bytes) else json.dumps(table).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def tensor(begin: Any, end: Any, shape: Any = (1,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape) if isinstance(shape, tuple) else shape, "data_offsets": [begin, end]}


def edited(edit: Callable[[Path], object], tensors: bool = True) -> Case:
    """The case of a folder that `edit` changed, whose manifest and entry agree with the change."""

    def plant(good: Stored, scratch: Path, hub: Path) -> None:
        folder = hub_toy.copied(good, scratch / "folder", edit)
        hub_toy.redescribed(folder, tensors)
        hub_toy.plant(hub, folder)

    return plant


def replaced(path: str, data: bytes) -> Case:
    def edit(folder: Path) -> None:
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(data)

    return edited(edit)


def configured(**fields: Any) -> Case:
    """The adapter's config with more fields."""

    def edit(folder: Path) -> None:
        raw = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps({**raw, **fields}))

    return edited(edit)


def manifested(change: Callable[[dict[str, Any]], object]) -> Case:
    """The manifest changed on disk and in the entry."""

    def plant(good: Stored, scratch: Path, hub: Path) -> None:
        def edit(folder: Path) -> None:
            raw = json.loads((folder / "manifest.json").read_text())
            change(raw)
            (folder / "manifest.json").write_text(json.dumps(raw))

        hub_toy.plant(hub, hub_toy.copied(good, scratch / "folder", edit), path=entry_path(good))

    return plant


def entry_path(good: Stored) -> str:
    """A path under which the good adapter's reference finds whatever lies there."""
    r = good.recipe
    return f"entries/{r.backbone.name}/{r.lang}/{r.task}/{r.method}/{good.manifest.run}.{'0' * 16}.json"


def entered(change: Callable[[dict[str, Any]], object]) -> Case:
    """A good folder under an entry that lies; the entry is consistent with its own path."""
    return lambda good, scratch, hub: hub_toy.plant(hub, hub_toy.copied(good, scratch / "folder"), change=change)


def listed(path: str) -> Case:
    """An entry that lists one more file, called `path`."""
    return entered(lambda raw: raw["files"].append({"path": path, "bytes": 1, "sha256": "0" * 64}))


def delivered(path: str, data: Callable[[bytes], bytes]) -> Case:
    """A good entry over a hub that delivers other bytes for one file."""

    def plant(good: Stored, scratch: Path, hub: Path) -> None:
        folder = hub_toy.copied(good, scratch / "folder")
        hub_toy.plant(hub, folder, blobs={path: data((folder / path).read_bytes())})

    return plant


def weights(value: float, dtype: str = "<f4") -> Case:
    """The last weight of the adapter is `value`."""

    def edit(folder: Path) -> None:
        data = (folder / WEIGHTS).read_bytes()
        last = np.array([value], dtype).tobytes()
        (folder / WEIGHTS).write_bytes(data[: -len(last)] + last)

    return edited(edit)


def blob_link(target: str) -> Case:
    """The hub's file is a link to something on the victim's disk."""

    def plant(good: Stored, scratch: Path, hub: Path) -> None:
        folder = hub_toy.copied(good, scratch / "folder")
        hub_toy.plant(hub, folder)
        digest = hub_toy.file_entry(folder, folder / "head.safetensors")["sha256"]
        blob = hub / content_address("head.safetensors", digest)
        blob.unlink()
        blob.symlink_to(target)

    return plant


def blob_pipe(good: Stored, scratch: Path, hub: Path) -> None:
    """The hub's file is a pipe that nobody ever writes to."""
    folder = hub_toy.copied(good, scratch / "folder")
    hub_toy.plant(hub, folder)
    blob = hub / content_address("head.safetensors", hub_toy.file_entry(folder, folder / HEAD)["sha256"])
    blob.unlink()
    os.mkfifo(blob)


def renamed(old: str, new: str) -> Case:
    """A look-alike: the manifest and its recipe call a language, task or method by another name."""

    def change(raw: dict[str, Any]) -> None:
        text = json.dumps(raw["recipe"], ensure_ascii=False).replace(f'"{old}"', f'"{new}"')
        raw["recipe"] = json.loads(text)

    return manifested(change)


def grown(data: bytes) -> bytes:
    return data + b"\0" * 5_000_000


PICKLED = pickle.dumps(Exploit(), protocol=2)
CODE = {"auto_map": {"AutoModel": "evil/repo--modeling.Evil"}}
CASES |= {
    # what is not safetensors
    "pickle renamed to safetensors": replaced(WEIGHTS, PICKLED),
    "protocol 0 pickle renamed to safetensors": replaced(WEIGHTS, pickle.dumps(Exploit(), protocol=0)),
    "zip archive renamed to safetensors": replaced(HEAD, b"PK\x03\x04" + b"\0" * 400),
    "pickle beside the weights": replaced("adapter/pytorch_adapter.bin", PICKLED),
    "python module beside the weights": replaced("adapter/modeling.py", b"import os"),
    "shared library beside the weights": replaced("adapter/hook.so", b"\x7fELF"),
    "pickle in the card's place": replaced("README.md", PICKLED),
    # headers
    "empty safetensors": replaced(WEIGHTS, b""),
    "header longer than the file": replaced(WEIGHTS, safetensors({}, b"", 4096)),
    "header that claims 10 GB": replaced(WEIGHTS, safetensors({}, b"\0" * 64, 10 * 10**9)),
    "header that claims 2**64 - 1": replaced(WEIGHTS, safetensors({}, b"", 2**64 - 1)),
    "oversized header": replaced(WEIGHTS, safetensors(b"{}" + b" " * 100_000_001, b"")),
    "header that is no JSON": replaced(WEIGHTS, safetensors(b"{not json}", b"")),
    "header that is a list": replaced(WEIGHTS, safetensors([], b"")),
    "header nested without end": replaced(WEIGHTS, safetensors(b'{"a":' + b"[" * 500_000, b"")),
    "header with a name twice": replaced(
        WEIGHTS, safetensors(b'{"a":%b,"a":%b}' % ((json.dumps(tensor(0, 4)).encode(),) * 2), b"\0" * 4)
    ),
    "overlapping offsets": replaced(
        WEIGHTS, safetensors({"a": tensor(0, 8, (2,)), "b": tensor(4, 12, (2,))}, b"\0" * 12)
    ),
    "a hole between tensors": replaced(WEIGHTS, safetensors({"a": tensor(0, 4), "b": tensor(8, 12)}, b"\0" * 12)),
    "offsets beyond the file": replaced(WEIGHTS, safetensors({"a": tensor(0, 4000, (1000,))}, b"\0" * 4)),
    "negative offsets": replaced(WEIGHTS, safetensors({"a": tensor(-4, 0)}, b"")),
    "offsets that are words": replaced(WEIGHTS, safetensors({"a": tensor("0", "4")}, b"\0" * 4)),
    "shape whose product overflows": replaced(WEIGHTS, safetensors({"a": tensor(0, 4, (2**33, 2**33))}, b"\0" * 4)),
    "shape of booleans": replaced(WEIGHTS, safetensors({"a": tensor(0, 4, [True])}, b"\0" * 4)),
    "unknown data type": replaced(WEIGHTS, safetensors({"a": tensor(0, 4, (1,), "OBJ")}, b"\0" * 4)),
    "tensor name with a NUL": replaced(WEIGHTS, safetensors({"a\0b": tensor(0, 4)}, b"\0" * 4)),
    "metadata that is a program": replaced(WEIGHTS, safetensors({"__metadata__": {"x": {"y": 1}}}, b"")),
    "other tensors than the manifest's": replaced(HEAD, safetensors({"a": tensor(0, 4)}, b"\0" * 4)),
    # weights
    "weights that are not numbers": weights(float("nan")),
    "infinite weights": weights(float("-inf")),
    # names
    "climbing name": listed("../../climbed.json"),
    "climbing name inside": listed("adapter/../../climbed.json"),
    "absolute name": listed("/tmp/absolute.json"),
    "name with a NUL": listed("adapter/a\0.json"),
    "name with a backslash": listed("adapter\\a.json"),
    "drive letter": listed("C:/a.json"),
    "case collision": listed("adapter/Adapter_Config.json"),
    "hidden name": listed("adapter/.bashrc"),
    "device name": listed("adapter/con.json"),
    "look-alike file name": listed("adapter/аdapter_config.json"),  # the first а is Cyrillic
    "a thousand names": entered(
        lambda raw: raw["files"].extend(
            {"path": f"adapter/{i}.json", "bytes": 0, "sha256": "0" * 64} for i in range(1000)
        )
    ),
    "look-alike task": renamed("anli", "аnli"),
    "full-width method": renamed("pfeiffer", "ｐfeiffer"),
    "climbing method": renamed("pfeiffer", "../../../../climbed"),
    "climbing backbone": renamed("bert", ".."),
    "absolute language": renamed("sv", "/tmp/absolute"),
    "text that turns its direction": manifested(lambda raw: raw.update(notes=["good \u202eevil"])),
    "text that moves the cursor": manifested(lambda raw: raw.update(notes=["\x1b[2Jcleared"])),
    # configs
    "remote attention kernel": configured(attn_implementation="evil/kernel"),
    "hidden remote attention kernel": configured(config={"_attn_implementation_internal": "evil/kernel"}),
    "kernels switched on": configured(use_kernels=True),
    "automatic class": configured(**CODE),
    "automatic class inside": configured(config={"a": {"b": CODE}}),
    "module to import": configured(megatron_config={"x": 1}, megatron_core="os"),
    "parent library to import": configured(auto_mapping={"base_model_class": "system", "parent_library": "os"}),
    "remote code allowed": configured(trust_remote_code=True),
    "address in a config": configured(model_name="https://example.org/model"),
    "path in a config": configured(model_name="../../secret"),
    "pattern that never ends": configured(rank_pattern={"(a+)+$": 4}),
    "rank of a billion": configured(r=10**9),
    "rank without end": replaced(CONFIG, b'{"config": {}, "r": 1e999}'),
    "config nested without end": replaced(CONFIG, b'{"config":' + b"[" * 200_000),
    "config with a field twice": replaced(CONFIG, b'{"config": {}, "config": {}}'),
    "config of two megabytes": replaced(CONFIG, b'{"config": {}, "a": [' + b"0," * 1_000_000 + b"0]}"),
    "config that is a list": replaced(CONFIG, b"[]"),
    "config file of another library": replaced("adapter/tokenizer_config.json", b"{}"),
    # manifests and entries
    "another backbone's weights": entered(lambda raw: raw),  # made below, with a recipe of its own
    "run id of something else": manifested(lambda raw: raw["recipe"].update(seed=99)),
    "manifest with an unknown field": manifested(lambda raw: raw.update(on_load="import os")),
    "entry that hides a file": entered(lambda raw: raw["files"].pop(0)),
    "entry that lists a file twice": entered(lambda raw: raw["files"].append(raw["files"][0])),
    "entry that shows another manifest": entered(lambda raw: raw["manifest"].update(notes=["friendly"])),
    "negative size": entered(lambda raw: raw["files"][0].update(bytes=-1)),
    "hash that is a path": entered(lambda raw: raw["files"][0].update(sha256="../" * 21 + "a")),
    "entry under another adapter's path": lambda good, scratch, hub: hub_toy.plant(
        hub, hub_toy.copied(good, scratch / "folder"), path=entry_path(good)
    ),
    # deliveries
    "more bytes than promised": delivered(HEAD, grown),
    "fewer bytes than promised": delivered(HEAD, lambda data: data[:-1]),
    "one other bit": delivered(WEIGHTS, lambda data: data[:-1] + bytes([data[-1] ^ 1])),
    "link to a file of the victim": blob_link("/etc/passwd"),
    "link to an endless device": blob_link("/dev/zero"),
    "pipe that never ends": blob_pipe,
}


def foreign_backbone(good: Stored, scratch: Path, hub: Path) -> None:
    """An honest adapter, but for other weights that have the same name."""
    sha = "f" * 64
    other = hub_toy.small(SETTINGS[0], backbone=good.recipe.backbone.model_copy(update={"weights_sha256": sha}), seed=5)
    hub_toy.plant(hub, hub_toy.copied(other, scratch / "folder"))


def foreign_method(good: Stored, scratch: Path, hub: Path) -> None:
    """A bottleneck adapter that calls itself lora, so that another library would be given it."""
    other = hub_toy.small(SETTINGS[0], method="lora", family="bottleneck", seed=6)

    def edit(folder: Path) -> None:
        shutil.rmtree(folder / "adapter")
        shutil.copytree(good.adapter, folder / "adapter")
        raw = json.loads((folder / "manifest.json").read_text())
        taken = [json.loads(t.model_dump_json()) for t in good.manifest.tensors if t.file == WEIGHTS]
        raw["tensors"] = [*taken, *(t for t in raw["tensors"] if t["file"] == HEAD)]
        (folder / "manifest.json").write_text(json.dumps(raw))
        hub_toy.redescribed(folder)

    hub_toy.plant(hub, hub_toy.copied(other, scratch / "folder", edit))


def whole_model(**fields: Any) -> Case:
    """A fully fine-tuned model whose config.json, which transformers is given, has more fields."""

    def plant(good: Stored, scratch: Path, hub: Path) -> None:
        def edit(folder: Path) -> None:
            path = folder / "adapter" / "config.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

        folder = hub_toy.copied(hub_toy.small(SETTINGS[0], method="full", seed=7), scratch / "folder", edit)
        hub_toy.redescribed(folder)
        hub_toy.plant(hub, folder)

    return plant


SETTINGS: list[Settings] = []
CASES["config.json with a remote attention kernel"] = whole_model(attn_implementation="evil/kernel")
CASES["config.json with a remote kernel under its inner name"] = whole_model(_attn_implementation_internal="a/b")
CASES["config.json with an automatic class"] = whole_model(**CODE)
CASES["config.json with an address"] = whole_model(_name_or_path="https://example.org/model")
CASES["a method that is not its own"] = foreign_method
CASES["another backbone's weights"] = foreign_backbone

# Audited events that must not happen while a hostile adapter is pulled.
FORBIDDEN = ("exec", "compile", "import", "pickle.find_class", "marshal.loads", "os.system", "os.exec", "os.fork",
             "os.posix_spawn", "subprocess.Popen", "socket.connect", "ctypes.dlopen", "os.symlink", "os.link",
             "os.chown")  # fmt: skip
WRITES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "os.utime", "shutil.rmtree")


def located(event: str, arguments: tuple[Any, ...]) -> str:
    """The absolute path that an event is about; deletions of trees name files below an open folder."""
    at = arguments[-1] if event in ("os.remove", "os.rmdir", "os.mkdir") else -1
    here = os.readlink(f"/proc/self/fd/{at}") if isinstance(at, int) and at >= 0 else os.getcwd()
    return os.path.normpath(os.path.join(here, os.fsdecode(arguments[0])))


def main(root: Path, world: Path) -> None:
    """Pull every case below `root`; what each refused with, and what happened that must not."""
    from adaptx import hub
    from adaptx.errors import AdaptxError

    found: dict[str, dict[str, Any]] = {}
    victim = toy.settings(toy.World(world), root / "victim", cache=root / "cache")
    makers = toy.settings(toy.World(world), root / "maker", cache=root / "cache")
    SETTINGS.append(makers)
    good = hub_toy.small(makers)
    hub_toy.plant(root / "good", hub_toy.copied(good, root / "copy"))
    hub.pull(victim, hub_toy.ref_of(good), str(root / "good"))  # everything that is imported is imported now
    shutil.rmtree(victim.store)
    allowed = (str(victim.store), str(victim.cache))
    events: list[str] = []
    armed = [False]

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if not armed[0]:
            return
        if event in FORBIDDEN:
            events.append(f"{event} {arguments[:1]!r}")
        if event in WRITES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & 3):
            path = located(event, arguments)
            if not path.startswith(allowed):
                events.append(f"{event} {path}")

    sys.addaudithook(audit)
    for number, (name, case) in enumerate(CASES.items()):
        place = root / f"hub{number}"
        case(good, root / f"scratch{number}", place)
        events.clear()
        armed[0] = True
        try:
            hub.pull(victim, hub_toy.Ref(good.recipe.lang, good.recipe.task), str(place), replace=True)
            code = "accepted"
        except AdaptxError as error:
            code = error.code
        except Exception as error:
            code = repr(error)
        armed[0] = False
        left = sorted(str(p) for p in victim.store.rglob("*") if p.is_file() or p.name.startswith("."))
        shutil.rmtree(victim.store, ignore_errors=True)
        found[name] = {"code": code, "events": list(events), "left": left}
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
