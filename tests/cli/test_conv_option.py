"""`--conv`: which algorithm convolutions run on, chosen and explained on the command line."""

from __future__ import annotations

import json

import pytest

from npsoftmax.cli.main import main
from npsoftmax.models import build_model

TINY = ["train", "--data", "digits", "--limit-train", "60", "--limit-test", "20", "--epochs", "1", "--no-plots"]
NET = ["--model", "convnet", "--model-opt", "widths=16,16", "--model-opt", "fc=8", "--quiet"]


def test_info_names_the_algorithm_of_every_convolution_and_why(capsys):
    assert main(["info", "--model", "resnet9", "--conv"]) == 0
    lines = capsys.readouterr().out.partition("\n\n")[2].splitlines()
    assert len(lines) == 8
    assert lines[0].split()[:2] == ["block1.conv", "direct"] and "16 channels" in lines[0]
    assert all(line.split()[1] == "winograd" and "25%" in line for line in lines[1:])


def test_info_of_an_algorithm_by_name(capsys):
    assert main(["info", "--model", "tinyvgg", "--conv", "im2col"]) == 0
    lines = capsys.readouterr().out.partition("\n\n")[2].splitlines()
    assert len(lines) == 4 and all("im2col" in line and "asked for" in line for line in lines)
    assert main(["info", "--model", "mlp", "--conv"]) == 0
    assert "mlp has no convolution" in capsys.readouterr().out


@pytest.mark.parametrize("algorithm", ["im2col", "direct", "winograd"])
def test_a_run_by_any_algorithm_ends_alike(algorithm, tmp_path):
    losses = []
    for name in ("tiled", algorithm):
        out = tmp_path / name
        assert main([*TINY, *NET, "--conv", name, "--out", str(out)]) == 0
        losses.append(json.loads((out / "summary.json").read_text())["test"]["nll"])
        assert f'conv = "{name}"' in (out / "config.toml").read_text()
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_an_unknown_algorithm_is_refused_by_name(capsys, tmp_path):
    assert main([*TINY, *NET, "--conv", "winogrand", "--out", str(tmp_path / "run")]) != 0
    assert "Did you mean 'winograd'" in capsys.readouterr().err


def test_the_choice_reaches_every_convolution():
    model = build_model("resnet9", model_opts={"widths": (4, 4, 4, 4)}).use_convolution("naive")
    assert model.trunk.layers["block1"].layers["conv"].algorithm == "naive"
    assert model.trunk.layers["residual2"].branch.layers["block1"].layers["conv"].algorithm == "naive"
