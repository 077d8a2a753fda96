"""What the command line knows of transformers: --attention, --mixup, --decay, and the picture of what is looked at."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest

from npsoftmax import plots
from npsoftmax.cli.main import main
from npsoftmax.plots.attention import attention_figure

VIT = ["--data", "digits", "--limit-train", "200", "--limit-test", "100", "--epochs", "1", "--model", "vit"]
VIT += [word for pair in ("patch=4", "dim=8", "depth=1", "heads=2", "mlp=8") for word in ("--model-opt", pair)]


def train(tmp_path, *words):
    return main(["train", *VIT, "--quiet", "--no-plots", "--out", str(tmp_path / "run"), *words])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vit")
    words = ["--attention", "gumbel_softmax", "--attention-opt", "tau=0.5", "--mixup", "0.8", "--cutmix", "1"]
    assert train(folder, *words, "--optimizer", "adamw", "--weight-decay", "0.05", "--decay", "weights") == 0
    return folder / "run"


def test_the_options_are_kept_with_the_run(run):
    config = tomllib.loads((run / "config.toml").read_text())
    assert config["model_opts"]["attention"] == "gumbel_softmax"
    assert config["model_opts"]["attention_opts"] == {"tau": 0.5}
    assert (config["mixup"], config["cutmix"], config["decay"]) == (0.8, 1.0, "weights")


def test_a_run_with_attention_can_be_evaluated_and_resumed(run, capsys):
    assert main(["eval", str(run)]) == 0
    assert "accuracy" in capsys.readouterr().out
    assert main(["train", "--resume", str(run), "--no-plots", "--quiet"]) == 0


def test_plot_attention(run, capsys):
    assert main(["plot", str(run), "--attention"]) == 0
    assert str(run / "plots" / "attention.png") in capsys.readouterr().out
    assert (run / "plots" / "attention.png").stat().st_size > 20_000


def test_plot_attention_of_a_network_without(tmp_path, capsys):
    words = ["--data", "digits", "--limit-train", "200", "--limit-test", "100", "--epochs", "1", "--model", "mlp"]
    assert main(["train", *words, "--quiet", "--no-plots", "--out", str(tmp_path / "run")]) == 0
    assert main(["plot", str(tmp_path / "run"), "--attention"]) == 2
    assert "is a run of mlp; train one with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--attention", "sparsmax"], "Did you mean 'sparsemax'"),
        (["--attention", "log_sum_exp"], "gives a statistic"),
        (["--attention-opt", "tau=2"], "takes no options, but tau=2"),
        (["--attention", "gumbel_softmax", "--attention-opt", "tau=0"], "tau is 0"),
        (["--attention", "sparsemax", "--model", "convnet"], "convnet has no attention; choose --model vit"),
        (["--mixup", "-1"], "--mixup is -1.0"),
        (["--decay", "some"], "unknown --decay 'some'"),
    ],
)
def test_what_cannot_be_is_one_clear_line(words, message, tmp_path, capsys):
    assert train(tmp_path, *words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("error")
def test_the_figure_has_a_column_for_each_head_and_scales_each_map(run):
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    maps = np.random.default_rng(1).random((2, 3, 4, 4)) / 16
    figure = attention_figure(plots.read_run(run), images, maps, ["a_b", "cat"], ["a_b", "dog"])
    *axes, bar = figure.axes
    axes = np.array(axes).reshape(2, 5)
    assert bar.get_xlabel() == "weight, as a share of the map's largest" and bar.get_xlim() == (0, 1)
    assert [ax.get_title() for ax in axes[0]] == ["image", "mean of heads", "head 1", "head 2", "head 3"]
    assert [row[0].get_xlabel() for row in axes] == ["a b\npredicted so", "cat\npredicted: dog"]
    np.testing.assert_allclose(axes[1, 3].images[1].get_array(), maps[1, 1])
    assert axes[1, 3].get_xlabel() == f"peak {maps[1, 1].max() * 17:.1f} × mean"
    np.testing.assert_allclose(axes[0, 1].images[1].get_array(), maps[0].mean(axis=0))
