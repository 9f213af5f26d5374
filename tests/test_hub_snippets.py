"""The code on a card runs as it stands, without adaptx, and gives our logits: for every family, kind and stack."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import hub_logits
import shop
import toy
from adaptx import cards, snippets
from adaptx.config import Settings
from adaptx.stack import Stack
from adaptx.store import Stored
from hub_logits import ours


@pytest.fixture(scope="module")
def place(world: toy.World, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A store over an XLM-R backbone, in a registry with a task of every kind."""
    return hub_logits.settings(world, tmp_path_factory.mktemp("snippets"), "xlm-roberta")


def blocks(stored: Stored) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (stored.folder / "README.md").read_text(), re.DOTALL)


def run(stored: Stored, backbone: Path, *below: Stored) -> dict[str, Any]:
    """The names that the card's code leaves when it is run from top to bottom, its placeholders filled in."""
    code = "\n".join(blocks(stored))
    assert "adaptx" not in code
    code = code.replace(snippets.FOLDER, str(stored.folder)).replace(f"path/to/{backbone.name}", str(backbone))
    for parent in below:
        code = code.replace(f"path/to/{parent.recipe.lang}-{parent.recipe.task}", str(parent.folder))
    assert "path/to" not in code
    names: dict[str, Any] = {}
    exec(code, names)
    return names


@pytest.mark.parametrize("method", ["pfeiffer", "houlsby", "parallel", "prefix", "lora", "dora", "ia3", "full"])
def test_the_cards_code_gives_our_logits_with_every_method(place: Settings, method: str) -> None:
    stored = toy.made(place, method)
    found = run(stored, Path(place.backbone))["logits"]
    torch.testing.assert_close(found, ours(place, stored)[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("task", ["toypos", "toyspan", "toychoice"])
def test_the_cards_code_gives_our_logits_for_every_kind_of_head(place: Settings, task: str) -> None:
    stored = toy.made(place, "pfeiffer", name=task)
    logits, batch = ours(place, stored)
    found = run(stored, Path(place.backbone))["logits"]
    if task == "toyspan":  # the card's code reads every token, ours the first and the context's
        found = found[batch.select]
    torch.testing.assert_close(found, logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", ["pfeiffer", "lora"])
def test_the_cards_code_puts_an_adapter_on_what_it_was_trained_on(place: Settings, method: str) -> None:
    under = toy.made(place, method, lang="qaa", name="toytext")
    above = toy.made(place, method, stack=Stack((under,)), seed=5)
    found = run(above, Path(place.backbone), under)["logits"]
    torch.testing.assert_close(found, ours(place, above, under)[0], atol=1e-5, rtol=0)
    assert (found - ours(place, above)[0]).abs().max() > 1e-3, "what is below matters"


def test_a_card_names_the_outputs_of_its_head_and_commands_that_exist(place: Settings) -> None:
    stored = toy.made(place, "pfeiffer")
    card = cards.render(stored.manifest)
    assert f"Outputs in order: {', '.join(toy.LABELS)}." in card
    commands = re.search(r"```\n(adaptx .*?)```", card, re.DOTALL)
    assert commands
    for line in commands[1].splitlines():
        asked = shop.call(*line.split()[1:3] if line.startswith("adaptx hub") else line.split()[1:2], "--help")
        assert asked.code == 0
        assert all(flag in asked.out for flag in re.findall(r"--[a-z]+", line)), line
    language = cards.render(toy.made(place, "pfeiffer", lang="qaa", name="toytext").manifest)
    assert "--stack qaa/toytext:pfeiffer" in language and "logits" not in language
