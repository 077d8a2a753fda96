"""The published experiments as files: all load, all build, and what may be changed is said."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from everyday import mostly_slow

from npsoftmax import build_model
from npsoftmax.errors import InputError
from npsoftmax.heads import ClassInfo, tree
from npsoftmax.recipes import load_recipe, recipe_names, recipes_called
from npsoftmax.training import TrainConfig
from npsoftmax.training.schedules import make_schedule
from npsoftmax.training.session import prepare
from npsoftmax.tree_of_run import learned_tree

REPORTS = {"e1": 7, "e2": 3, "e6": 16}  # as many rows as the source has
PARAMETERS = {"e1/log_softmax": 6_621_540, "e2/softmax": 6_621_540, "e4/softmax": 53_638, "e4/vit": 3_312_740}


def model_of(config):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the published miswirings say what they are
        classes = ClassInfo(100, coarse=np.arange(100) // 5)
        return build_model(config.model, config.head, classes, model_opts=config.model_opts, head_opts=config.head_opts)


def every_recipe():
    """The first of each report every day, the others in the long tests."""
    names = recipe_names()
    first = {name.partition("/")[0]: name for name in reversed(names)}.values()
    return mostly_slow(names, first)


@pytest.mark.parametrize("name", every_recipe())
def test_a_recipe_can_be_run_as_it_is_written(name):
    recipe = load_recipe(name)
    config = recipe.config
    assert recipe.title and config.recipe == name and config.shortened is None
    assert model_of(config).parameter_count() == PARAMETERS.get(name, model_of(config).parameter_count())
    make_schedule(config.schedule, config.lr, 10, config.epochs, **config.schedule_opts)
    assert set(recipe.published) <= {"accuracy", "loss", "precision", "recall", "f1", "epoch_seconds"}
    assert set(recipe.open) <= {*vars(TrainConfig()), "init"}
    if recipe.expected:
        low, high = recipe.expected["accuracy"]
        assert 0 <= low < high <= 100 and low <= recipe.published["accuracy"] <= high


@pytest.mark.parametrize(("report", "rows"), REPORTS.items())
def test_every_row_of_a_report_is_there(report, rows):
    assert len(recipes_called(report)) == rows


def test_the_rows_of_a_report_differ_only_in_what_their_name_says():
    base = load_recipe("e1/log_softmax").config
    double = load_recipe("e1/softmax").config
    changed = {name for name in vars(base) if getattr(base, name) != getattr(double, name)}
    assert changed == {"head", "recipe"}


def test_the_batch_32_variants_scale_the_learning_rate_with_the_batch():
    for name in recipe_names():
        if name.endswith("_batch32"):
            config, base = load_recipe(name).config, load_recipe("e4/softmax").config
            assert config.lr / base.lr == pytest.approx(config.batch_size / base.batch_size)


def test_a_shorter_run_says_how_it_is_shortened():
    config = load_recipe("e1/softmax").config_with({"epochs": 3, "limit_train": 10_000, "threads": 1})
    assert (config.epochs, config.limit_train, config.threads) == (3, 10_000, 1)
    assert config.shortened == "epochs 3 instead of 100; limit-train 10000 instead of all"
    assert load_recipe("e1/softmax").config_with({"seed": 7, "epochs": 100}).shortened is None


def test_what_makes_it_another_experiment_is_refused():
    with pytest.raises(InputError, match=r"--lr is fixed by the recipe e1/softmax; only --epochs, .* may be given"):
        load_recipe("e1/softmax").config_with({"lr": 0.1})


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(InputError, match="e3/softmax"):
        load_recipe("e3/sofmax")
    with pytest.raises(InputError, match="recipe"):
        recipes_called("e9")


@pytest.mark.cifar
def test_the_tree_of_images_is_the_one_that_is_learned_from_them(cifar):
    session = prepare(load_recipe("trees/softmax").config_with({"data_dir": str(cifar)}))
    text = tree.to_json(learned_tree(session, "pixels").children)
    assert text == load_recipe("trees/pixels").config.head_opts["tree"]
