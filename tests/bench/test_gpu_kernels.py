"""benchmarks/gpu_kernels.py: how many blocks fit an SM, what a floor is, and that the committed figures are its own."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("gpu_kernels")


@pytest.mark.parametrize(
    ("architecture", "registers", "shared", "threads", "blocks"),
    [
        ("sm_80", 32, 0, 256, 8),  # all 64 warps
        ("sm_80", 33, 0, 256, 6),  # 40 registers: 48 warps
        ("sm_80", 64, 0, 256, 4),
        ("sm_80", 65, 0, 256, 3),  # 72 registers: 7 warps a scheduler, 28 in all
        ("sm_80", 255, 0, 128, 2),
        ("sm_80", 16, 0, 32, 32),  # the most blocks there are
        ("sm_80", 16, 100_000, 128, 1),
        ("sm_90", 16, 100_000, 128, 2),
        ("sm_80", 16, 163 * 1024, 128, 1),  # the most that a block may have
        ("sm_90", 16, 227 * 1024, 128, 1),
    ],
)
def test_how_many_blocks_an_sm_runs(script, architecture, registers, shared, threads, blocks):
    """Known from NVIDIA's occupancy calculator."""
    assert script.blocks_of_an_sm(architecture, registers, shared, threads) == blocks


def test_the_floor_of_a_convolution(script):
    """Deep ones are held by products, wide ones of few channels by memory."""
    floor = sum(script.seconds(work, "tf32") for work in script.convolution("512>512@4", 512))
    assert floor == pytest.approx(6 * 512 * 16 * 9 * 512 * 512 / 310e12)
    thin = script.convolution("4>4@32", 512)
    assert sum(script.seconds(work, "bf16") for work in thin) == pytest.approx(
        3 * 2 * (512 * 1024 * 8 + 9 * 16) / 3.35e12
    )


@pytest.mark.slow
def test_passes_of_a_model_add_up_to_its_products(script):
    model = script.build_model("resnet9", "softmax", script.CLASSES, script.IMAGE)
    work = script.passes(model, 7)
    spared = 3 * 2 * 7 * model.macs() - sum(w.flop for w in work)
    assert spared == 2 * 7 * (32 * 32 * 9 * 3 * 64)  # the gradient of the images


def test_the_committed_page_is_made_of_the_committed_figures(script):
    committed = json.loads((ROOT / "docs/results/gpu-kernels.json").read_text(encoding="utf-8"))
    uses = [script.Use(**{name: row[name] for name in script.Use._fields}) for row in committed["kernels"]]
    assert [use.blocks for use in uses] == [row["blocks"] for row in committed["kernels"]]
    assert not any(use.spilled for use in uses)
    page = script.page(committed["compiler"].removeprefix("NVRTC "), uses, committed["floors"])
    assert page == (ROOT / "docs/results/gpu-kernels.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_committed_floors_are_those_of_the_models(script):
    committed = json.loads((ROOT / "docs/results/gpu-kernels.json").read_text(encoding="utf-8"))["floors"]
    found = script.floors()
    assert found.keys() == committed.keys()
    for key in found:
        assert found[key] == pytest.approx(committed[key])
