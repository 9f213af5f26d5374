"""An encoder with a head, run over packed batches. Knows no task kind, no file and no optimiser.

T: tokens of the batch, H: hidden size, S: selected tokens, C: head outputs, n: sequences.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from adaptx.backbones import above_attention, attention_modules
from adaptx.engine import compiled, eightbit
from adaptx.engine.attention import packed_attention
from adaptx.engine.lower import LowerStates
from adaptx.engine.packing import Features, Packed, batches
from adaptx.engine.patches import only_rows
from adaptx.errors import AdaptxError
from adaptx.tasks.heads import Dropout, Masks

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass
class Model:
    """`precision`: "fp32", "bf16" for autocast, "int8" for products with frozen weights in 8 bits as well.
    `packable` False: the library's own padded forward is used.

    `checkpointing`: the backward pass computes each layer again from its input (Chen et al. 2016): a fraction of the
    activations, a third more time, the same gradients. `compiled`: what lies between matrix products is fused; in int8
    what surrounds the integer products, since layers that hold weights of their own would each be compiled anew.
    `lower`: keeps what enters the lowest trained layer.
    """

    encoder: "PreTrainedModel"
    heads: nn.ModuleDict  # by task id
    first_position: int
    device: torch.device
    precision: str
    packable: bool = True
    checkpointing: bool = False
    compiled: bool = False
    lower: LowerStates | None = None

    def __post_init__(self) -> None:
        self._borders: Callable[[], AbstractContextManager[None]] = nullcontext
        if self.compiled:
            compiled.check(self.device.type)
        if self.precision == "int8":
            eightbit.replace(self.encoder, eightbit.Kernels.compiled() if self.compiled else eightbit.Kernels())
        elif self.compiled:
            compiled.replace(self.encoder)
        if self.checkpointing:
            keep_layer_inputs(self.encoder, lambda: self._borders)
        for head in self.heads.values():
            bind = getattr(head, "bind", None)
            if callable(bind):
                bind(self.encoder)

    @property
    def buckets(self) -> bool:
        """Whether batches need the CPU's attention buckets."""
        return self.device.type == "cpu"

    def autocast(self) -> torch.autocast:
        """bf16 autocast, or nothing for fp32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision != "fp32")

    def states(self, batch: Packed, every_layer: bool = False, selected: bool = False) -> Any:
        """Last hidden states [T, H], with `selected` those of the batch's selected tokens alone [S, H], or with
        `every_layer` a tuple of all layers' [T, H], embeddings first."""
        # Self-attention must see the same borders when a layer is computed again.
        self._borders = partial(borders, self.encoder, batch, selected) if self.packable else nullcontext
        known = self.lower.around(self.encoder, batch) if self.lower and not every_layer else nullcontext()
        with self.autocast(), known:
            if self.packable:
                return encode_packed(self.encoder, batch, every_layer, selected)
            states = encode_padded(self.encoder, batch, every_layer)
            return states[batch.select] if selected else states

    def __call__(self, task: str, batch: Packed) -> Any:
        """What the task's head gives for the selected tokens: [S, C] in float32, or logits over a vocabulary."""
        self._draw_masks_for(self.heads[task], batch)
        return self.heads[task](self.states(batch, selected=True).float())

    def _draw_masks_for(self, head: nn.Module, batch: Packed) -> None:
        masks = None
        if batch.masks is not None:
            rows, mine = batch.among or (len(batch.select), None)
            masks = Masks(torch.Generator(self.device).manual_seed(batch.masks), rows, mine)
        for module in head.modules():
            if isinstance(module, Dropout):
                module.masks = masks

    def train(self, mode: bool = True) -> None:
        """Dropout on or off, in encoder and head."""
        self.encoder.train(mode)
        self.heads.train(mode)


def keep_layer_inputs(encoder: Any, borders: Callable[[], Callable[[], AbstractContextManager[None]]]) -> None:
    """Let every layer keep its input alone for the backward pass, and run again there within the same `borders()`.

    Raises AX051 where the encoder cannot.
    """
    if not getattr(encoder, "supports_gradient_checkpointing", False):
        raise AdaptxError("AX051", type(encoder).__name__, "it has no gradient checkpointing.")
    encoder.gradient_checkpointing_enable({"use_reentrant": False})

    def within(library: Callable[..., Any], layer: Callable[..., Any], *args: Any) -> Any:
        within_borders = borders()  # now, not when the backward pass comes and `packed_attention` has long ended

        def run(*inputs: Any) -> Any:
            with within_borders():
                return layer(*inputs)

        return library(run, *args)

    for module in encoder.modules():
        if "_gradient_checkpointing_func" in vars(module):
            module._gradient_checkpointing_func = partial(within, module._gradient_checkpointing_func)


@contextmanager
def borders(encoder: "PreTrainedModel", batch: Packed, selected: bool) -> Iterator[None]:
    """Within the block the encoder sees the batch's sequence borders. With `selected` its top layer goes on with the
    selected tokens alone once all have been attended: nothing above that mixes tokens, and nobody reads the others."""
    narrow = only_rows(above_attention(encoder), batch.select) if selected else nullcontext()
    with packed_attention(attention_modules(encoder), batch), narrow:
        yield


def encode_packed(
    encoder: "PreTrainedModel", batch: Packed, every_layer: bool = False, selected: bool = False
) -> Any:
    """Hidden states [T, H] without padding, or of the selected tokens [S, H]. The mask is not used by the packed
    attention; its shape keeps the library from building one of T x T."""
    with borders(encoder, batch, selected):
        out = encoder(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            token_type_ids=batch.token_type_ids,
            attention_mask=torch.ones(1, 1, batch.tokens, device=batch.input_ids.device),
            output_hidden_states=every_layer,
        )
    return tuple(h[0] for h in out.hidden_states) if every_layer else out.last_hidden_state[0]


def encode_padded(encoder: "PreTrainedModel", batch: Packed, every_layer: bool = False) -> Any:
    """The same states [T, H] through the library's padded forward: for what cannot be packed, and to check parity."""
    cu = batch.cu_seqlens.long()
    lengths = cu.diff()
    slots = torch.arange(batch.longest, device=cu.device)[None]
    real = slots < lengths[:, None]
    source = (cu[:-1, None] + slots).clamp(max=batch.tokens - 1)
    padding = encoder.config.pad_token_id or 0
    out = encoder(
        input_ids=batch.input_ids[0][source].masked_fill(~real, padding),
        attention_mask=real.long(),
        position_ids=torch.where(real, batch.position_ids[0][source], batch.position_ids[0, 0]),
        token_type_ids=batch.token_type_ids[0][source],
        output_hidden_states=every_layer,
    )
    return tuple(h[real] for h in out.hidden_states) if every_layer else out.last_hidden_state[real]


@torch.no_grad()
def summarise(
    model: Model, task: str, features: Features, summary: Callable[[torch.Tensor, Packed], torch.Tensor], budget: int
) -> np.ndarray[Any, Any]:
    """`summary` of the head outputs for all selected positions, in the features' order: [S, k] float32."""
    model.train(False)
    out: np.ndarray[Any, Any] | None = None
    for batch in batches(features, budget, model.first_position, model.buckets):
        on_device = batch.to(model.device)
        part = summary(model(task, on_device), on_device).float().cpu().numpy()
        if out is None:
            out = np.zeros((len(features.select), part.shape[1]), np.float32)
        out[batch.selected] = part
    return out if out is not None else np.zeros((0, 1), np.float32)


@torch.no_grad()
def sentence_vectors(model: Model, features: Features, layers: Iterable[int], budget: int) -> dict[int, Any]:
    """Mean-pooled states of each layer (0: embeddings), special tokens included: layer -> [n, H] float32."""
    model.train(False)
    layers = tuple(layers)
    width = model.encoder.config.hidden_size
    out = {layer: np.zeros((features.sequences, width), np.float32) for layer in layers}
    for batch in batches(features, budget, model.first_position, model.buckets):
        states = model.states(batch.to(model.device), every_layer=True)
        lengths = batch.cu_seqlens.diff().long()
        owner = torch.repeat_interleave(torch.arange(len(lengths)), lengths.cpu()).to(model.device)
        for layer in layers:
            total = torch.zeros(len(lengths), width, device=model.device).index_add_(0, owner, states[layer].float())
            out[layer][batch.rows] = (total / lengths[:, None].to(model.device)).cpu().numpy()
    return out
