"""From settings to the objects of a run (data, model, optimiser, step, schedule): to train, resume and evaluate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from npsoftmax.backend import Backend, get_backend
from npsoftmax.data import Batches, Dataset, fit_normalization, load_dataset, train_validation_split
from npsoftmax.errors import InputError, unknown_name
from npsoftmax.heads import ClassInfo
from npsoftmax.host import set_threads
from npsoftmax.models import Model, build_model
from npsoftmax.models.trunks import NOT_WEIGHTS
from npsoftmax.params import leaves
from npsoftmax.random import Rng
from npsoftmax.training.checkpoint import restore_model
from npsoftmax.training.config import TrainConfig
from npsoftmax.training.group import ALONE, Group
from npsoftmax.training.optimizers import OPTIMIZERS, Optimizer
from npsoftmax.training.run_directory import RunDirectory
from npsoftmax.training.schedules import Schedule, make_schedule
from npsoftmax.training.step import TrainingStep

EVALUATION_BATCH = 250


@dataclass
class Session:
    """What a run works with. `config` is resolved: its data set has a definite name. group: who trains with it."""

    config: TrainConfig
    dataset: Dataset
    model: Model
    backend: Backend
    train: Batches
    train_images: int
    validation: Batches | None
    test: Batches
    rng: Rng
    group: Group = ALONE


def prepare(config: TrainConfig, group: Group = ALONE) -> Session:
    """Load the data and build the model that `config` describes, for this process of `group`."""
    set_threads(group.threads() if config.threads is None else config.threads)
    device = config.device if config.backend == "numpy" else group.device(config.device)
    backend = get_backend(config.backend, device, config.precision)
    dataset = load_dataset(
        config.data,
        config.data_dir,
        download=config.data.startswith("cifar") and config.data_dir is None,
        limit_train=config.limit_train,
        limit_test=config.limit_test,
    )
    config = replace(config, data=dataset.name)
    kept, held_out = train_validation_split(dataset.y_train, config.val_split, seed=config.seed)
    classes = ClassInfo.from_labels(dataset.y_train[kept], dataset.n_classes, dataset.coarse)
    model = build_model(
        config.model,
        config.head,
        classes,
        dataset.input_shape,
        seed=config.seed,
        model_opts=config.model_opts,
        head_opts=config.head_opts,
    ).to(backend)
    model.use_convolution(config.conv)
    if model.head.mixes_samples and group.size > 1:
        raise InputError(
            f"head {config.head!r} computes with all samples of a batch at once, so no processes can share one. "
            "Train it in one process: without mpiexec and --distributed."
        )
    if config.sync_batch_norm and group.shared_batch is not None:
        model.share_batch_norm(group.shared_batch)
    rng = Rng(config.seed)
    normalization = fit_normalization(config.normalize, dataset.x_train[kept])

    def batches(x: np.ndarray, y: np.ndarray, **options: Any) -> Batches:
        return Batches(x, y, rng=rng, normalize=normalization, backend=backend, **options)

    train = batches(
        dataset.x_train[kept], dataset.y_train[kept], batch_size=config.batch_size, augment=config.augment, shuffle=True
    )
    evaluation: dict[str, Any] = {"batch_size": EVALUATION_BATCH, "augment": "none", "shuffle": False}
    validation = batches(dataset.x_train[held_out], dataset.y_train[held_out], **evaluation) if len(held_out) else None
    test = batches(dataset.x_test, dataset.y_test, **evaluation)
    return Session(config, dataset, model, backend, train, len(kept), validation, test, rng, group)


def make_optimizer(config: TrainConfig, model: Model) -> Optimizer:
    """The optimiser that `config` names, over the parameters of trunk and head."""
    if config.optimizer not in OPTIMIZERS:
        raise unknown_name("optimizer", config.optimizer, OPTIMIZERS)
    options: dict[str, Any] = {"weight_decay": config.weight_decay, "no_decay": undecayed(config.decay, model)}
    if config.optimizer == "sgd":
        options |= {"momentum": config.momentum, "nesterov": config.nesterov}
    return OPTIMIZERS[config.optimizer](model.params, **options)


def undecayed(decay: str, model: Model) -> tuple[str, ...]:
    """Leaf names of the parameters that weight decay leaves alone, those that the model has.

    decay: "all" for none; "weights" for norms, biases, positions and the class token; "auto" for what the model's trunk
    says in `no_decay`: transformers exempt what "weights" does, the other networks nothing.
    """
    names = {"all": (), "weights": NOT_WEIGHTS}.get(decay, getattr(model.trunk, "no_decay", ()))
    present = {name.rpartition(".")[2] for name, _ in leaves(model.params)}
    return tuple(name for name in names if name in present)


def make_step(session: Session, optimizer: Optimizer) -> TrainingStep:
    """The training step of the run, by `optimizer`."""
    config = session.config
    return TrainingStep(
        session.model,
        optimizer,
        session.backend,
        session.rng,
        session.group,
        mixup=config.mixup,
        cutmix=config.cutmix,
        clip_value=config.clip_value,
        clip_norm=config.clip_norm,
    )


def run_schedule(session: Session) -> Schedule:
    """The learning rate over all steps of the run."""
    return schedule_of(session.config, len(session.train))


def schedule_of(config: TrainConfig, steps_per_epoch: int) -> Schedule:
    """The schedule that `config` names, over all its epochs."""
    options = dict(config.schedule_opts)
    if config.schedule == "one_cycle" and config.optimizer == "sgd" and config.momentum == 0:
        options.setdefault("cycle_momentum", False)  # there is no momentum to cycle
    return make_schedule(config.schedule, config.lr, steps_per_epoch, config.epochs, **options)


def load_run(path: str | Path, checkpoint: str = "best", **changes: Any) -> Session:
    """The session of an earlier run with the parameters of one of its checkpoints ("best", "last" or "previous").

    `changes` replace settings, such as data_dir, where the data now lies. Without validation there is no "best", and
    "last" is taken.
    """
    run = RunDirectory.existing(path)
    session = prepare(TrainConfig.load(run.config_file).moved(**changes))
    if checkpoint == "best" and not run.checkpoint_file("best").is_file():
        checkpoint = "last"
    source = run.checkpoint_file(checkpoint)
    restore_model(session.model, source)
    return session
