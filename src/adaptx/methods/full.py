"""Full fine-tuning: every weight is trainable. Knows no task and no store.

Of the word embeddings only the rows that the training data touches are given to the optimiser. Without weight decay
on embeddings this changes nothing (an untouched row has zero gradient and zero moments), and it saves most of the
memory and time: 46 % of XLM-R Large are embeddings.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel


class RowEmbedding(nn.Module):
    """An embedding table of which only some rows are trainable.

    ids [1, T] -> [1, T, H]. `weight` [V, H] is the frozen table, `rows` [R, H] the trainable copy of R rows, `slot` [V]
    the index of a token's row there, -1 for the others.
    """

    def __init__(self, weight: torch.Tensor, ids: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.rows = nn.Parameter(weight[ids].clone())
        slot = torch.full((len(weight),), -1)
        slot[ids] = torch.arange(len(ids))
        self.register_buffer("slot", slot, persistent=False)
        self.register_buffer("ids", ids, persistent=False)
        self.slot: torch.Tensor
        self.ids: torch.Tensor

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        slots = self.slot[ids]
        trained = nn.functional.embedding(slots.clamp(min=0), self.rows)
        return torch.where((slots >= 0)[..., None], trained, nn.functional.embedding(ids, self.weight))

    def trained_rows(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids [R] and their trainable rows [R, H]: an output matrix tied to this table trains them too."""
        return self.ids, self.rows

    def merged(self) -> torch.Tensor:
        """The whole table [V, H] with the trained rows in place."""
        out = self.weight.detach().clone()
        out[self.ids] = self.rows.detach()
        return out


def attach(encoder: PreTrainedModel, name: str, hyper: dict[str, Any]) -> None:
    """Nothing to add. `name` and `hyper` are there for the families' common shape."""


def keep_rows(encoder: PreTrainedModel, ids: torch.Tensor) -> None:
    """Train only the embedding rows `ids`; call before `unfreeze`."""
    embeddings: Any = encoder.embeddings
    embeddings.word_embeddings = RowEmbedding(embeddings.word_embeddings.weight.detach(), ids)


def load(encoder: PreTrainedModel, name: str, folder: Path, hyper: dict[str, Any]) -> None:
    """Replace every weight by the folder's."""
    device = encoder.embeddings.word_embeddings.weight.device
    dtype = encoder.embeddings.word_embeddings.weight.dtype
    state = {k: v.to(device, dtype) for k, v in load_file(folder / "model.safetensors").items()}
    encoder.load_state_dict(state, assign=True)


def activate(encoder: PreTrainedModel, names: list[str]) -> None:
    """One set of weights at a time: a stack of full models does not exist."""
    if len(names) > 1:
        from adaptx.errors import AdaptxError

        raise AdaptxError("AX051", " + ".join(names), "fully fine-tuned models cannot be stacked.")


def unfreeze(encoder: PreTrainedModel, name: str) -> None:
    """Everything but the embedding rows that the data does not touch."""
    encoder.requires_grad_(True)
    table = encoder.embeddings.word_embeddings
    if isinstance(table, RowEmbedding):
        table.weight.requires_grad_(False)


def save(encoder: PreTrainedModel, name: str, folder: Path, backbone_id: str) -> None:
    """config.json and model.safetensors, as `AutoModel.from_pretrained` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().float().contiguous().cpu() for k, v in encoder.state_dict().items()}
    table = encoder.embeddings.word_embeddings
    if isinstance(table, RowEmbedding):
        for part in ("weight", "rows"):
            del state[f"embeddings.word_embeddings.{part}"]
        state["embeddings.word_embeddings.weight"] = table.merged().float().cpu()
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    encoder.config.save_pretrained(str(folder))
