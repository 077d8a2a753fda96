"""Small runs to look at: of a network of convolutions, of a transformer and of a tree."""

from __future__ import annotations

import pytest

from npsoftmax.cli.main import main
from npsoftmax.look.answers import Answers
from npsoftmax.look.subject import Subject

WORDS = [
    "--data=digits",
    "--limit-train=200",
    "--limit-test=60",
    "--epochs=2",
    "--quiet",
    "--no-plots",
    "--log-every=1",
]
RUNS = {
    "convnet": ["--model=convnet", "--model-opt=widths=4,6", "--model-opt=fc=10"],
    "tree": ["--model=convnet", "--model-opt=widths=4,6", "--model-opt=fc=10", "--head=hierarchical"],
    "groups": [
        "--model=mlp",
        "--model-opt=hidden=8",
        "--head=hierarchical",
        "--head-opt=tree=[[0, 1, 2], [3, 4, 5, 6], [7, 8, 9]]",
    ],
    "vit": ["--model=vit", "--model-opt=dim=8", "--model-opt=depth=2", "--model-opt=heads=2", "--model-opt=patch=2"],
    "sets": ["--data=digit_sets", "--model=mlp", "--model-opt=hidden=8", "--head=sigmoid"],
    "resnet9": ["--model=resnet9", "--model-opt=widths=4,4,6,6"],
    "whitened": ["--model=whitened_resnet", "--model-opt=widths=4", "--model-opt=inner=3", "--model-opt=kernels=3,1,3"],
}


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """name -> the folder of a run, made when it is first asked for."""
    root = tmp_path_factory.mktemp("looked-at")

    class Made(dict):
        def __missing__(self, name):
            assert main(["train", *WORDS, *RUNS[name], "--out", str(root / name)]) == 0
            self[name] = root / name
            return self[name]

    return Made()


@pytest.fixture(scope="session")
def answers(folders):
    """name -> the answers about a run."""

    class Opened(dict):
        def __missing__(self, name):
            self[name] = Answers([Subject.of_run(folders[name])])
            return self[name]

    return Opened()
