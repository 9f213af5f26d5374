"""What enters the lowest layer that is trained, computed once a batch. Knows batches by their content, no method.

With nothing to train below layer k and no dropout there, the states that enter it are a constant of the batch. They are
kept the first time and given to it from then on: layers below do not run again, and every number stays what it was.
T: tokens, H: hidden size.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from adaptx.engine.packing import Packed
from adaptx.engine.patches import forwards, inputs
from adaptx.errors import AdaptxError


def constant_layers(encoder: Any) -> int:
    """How many layers from the bottom have nothing to train and no dropout; the top one is never counted."""
    layers = encoder.encoder.layer
    inside = {id(p) for layer in layers for p in layer.parameters()}
    if any(p.requires_grad and id(p) not in inside for p in encoder.parameters()) or _drops(encoder.embeddings):
        return 0
    for number, layer in enumerate(layers):
        if _drops(layer) or any(p.requires_grad for p in layer.parameters()):
            return number
    return len(layers) - 1


def _drops(module: nn.Module) -> bool:
    return any(isinstance(m, nn.Dropout) and m.p > 0 for m in module.modules())


@dataclass
class LowerStates:
    """The states [T, H] that enter layer `layers`, by the batch's content, in the dtype they were computed in.

    At most `memory_bytes` are held, then at most `disk_bytes` written into `folder` and checked when read; what fits
    into neither is computed again. Raises AX043 where a file no longer is what was written.
    """

    layers: int
    memory_bytes: int
    folder: Path | None = None
    disk_bytes: int = 0
    held_bytes: int = 0
    written_bytes: int = 0
    held: dict[bytes, torch.Tensor] = field(default_factory=dict)
    written: dict[bytes, str] = field(default_factory=dict)  # sha256 of the file

    def around(self, encoder: Any, batch: Packed) -> AbstractContextManager[None]:
        """Within the block the encoder runs from layer `layers` on for a known batch, and is watched for another."""
        states = self.get(batch.key, batch.input_ids.device)
        if states is not None:
            return _from_layer(encoder, self.layers, states)
        return inputs(encoder.encoder.layer[self.layers], lambda given: self.put(batch.key, given[0]))

    def get(self, key: bytes, device: torch.device) -> torch.Tensor | None:
        """The states of a batch, or None."""
        if key in self.held:
            return self.held[key]
        if key not in self.written:
            return None
        from safetensors.torch import load

        path = self._path(key)
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != self.written[key]:
            raise AdaptxError("AX043", path.name, "it is not what was written.")
        return load(data)["states"].to(device)

    def put(self, key: bytes, states: torch.Tensor) -> None:
        """Keep the states of a batch where there is room for them."""
        size = states.numel() * states.element_size()
        if key in self.held or key in self.written:
            return
        if self.held_bytes + size <= self.memory_bytes:
            self.held[key] = states.detach().clone()
            self.held_bytes += size
        elif self.folder is not None and self.written_bytes + size <= self.disk_bytes:
            from safetensors.torch import save

            data = save({"states": states.detach().cpu().contiguous()})
            self.folder.mkdir(parents=True, exist_ok=True)
            self._path(key).write_bytes(data)
            self.written[key] = hashlib.sha256(data).hexdigest()
            self.written_bytes += size

    def _path(self, key: bytes) -> Path:
        assert self.folder is not None
        return self.folder / f"{key.hex()}.safetensors"


@contextmanager
def _from_layer(encoder: Any, number: int, states: torch.Tensor) -> Iterator[None]:
    """Within the block layer `number` is given `states`, and nothing below it does any work."""
    layers = encoder.encoder.layer
    idle: list[tuple[nn.Module, Callable[..., Any]]] = [(encoder.embeddings, lambda *_, **__: states)]
    idle += [(layer, lambda hidden_states, *_, **__: (hidden_states,)) for layer in layers[:number]]
    # Not by way of the embeddings alone: an invertible adapter above them would change the states once more.
    with forwards(idle), inputs(layers[number], lambda given: (states, *given[1:])):
        yield
