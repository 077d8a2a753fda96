"""From settings to the objects of a run (data, model, optimiser, step, schedule): to train, resume and evaluate."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from npsoftmax.backend import Backend, get_backend
from npsoftmax.data import Batches, Dataset, fit_normalization, load_dataset, training_split
from npsoftmax.data.own import is_own
from npsoftmax.data.sizes import Growth, smaller
from npsoftmax.data.split import choosing_calibration_split
from npsoftmax.data.stdlib_tokens import NAME as STDLIB_TOKENS
from npsoftmax.errors import InputError, unknown_name
from npsoftmax.heads import ClassInfo
from npsoftmax.host import available_cpus, set_threads
from npsoftmax.models import OF_TOKENS, Model, build_model
from npsoftmax.models.trunks import NOT_WEIGHTS
from npsoftmax.params import leaves
from npsoftmax.random import Rng
from npsoftmax.training.checkpoint import load_saved, restore_model
from npsoftmax.training.config import TrainConfig
from npsoftmax.training.group import ALONE, Group
from npsoftmax.training.optimizers import OPTIMIZERS, Muon, Optimizer
from npsoftmax.training.optimizers.base import at_least_0, below_1
from npsoftmax.training.optimizers.muon import few_steps
from npsoftmax.training.run_directory import RunDirectory
from npsoftmax.training.schedules import Schedule, make_schedule
from npsoftmax.training.step import TrainingStep

EVALUATION_BATCH = 250
MOST_THREADS = 64  # that may be asked for on any machine


@dataclass
class Session:
    """What a run works with. `config` is resolved: its data set has a definite name.

    group: who trains with it; chosen: the checkpoint that its parameters are from, None for new ones.
    calibration: images held out that choose nothing, None where there are none. prepare_seconds: what `prepare` took,
    from reading the data on. by_hand: why steps on a device are not one CUDA graph each; "" where they are.
    """

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
    chosen: Chosen | None = None
    calibration: Batches | None = None
    prepare_seconds: float = 0.0
    by_hand: str = ""
    pool: Any = None  # the memory that graphs work in


@dataclass(frozen=True)
class Chosen:
    """A checkpoint of a run: its name, the epochs trained until then (None: not said there), and a remark."""

    name: str
    path: Path
    epoch: int | None = None
    note: str = ""

    def __str__(self) -> str:
        remarks = [f"epoch {self.epoch}"] * (self.epoch is not None) + [self.note] * bool(self.note)
        return f"checkpoint {self.name}" + (f" ({'; '.join(remarks)})" if remarks else "")


def prepare(config: TrainConfig, group: Group = ALONE) -> Session:
    """Load the data and build the model that `config` describes, for this process of `group`."""
    started = time.perf_counter()
    most = max(MOST_THREADS, 4 * available_cpus())
    if config.threads is not None and config.threads > most:
        raise InputError(
            f"--threads is {config.threads}, but this machine has {available_cpus()} CPUs, and more threads than those "
            f"wait for each other. Give at most {most}, or leave it out."
        )
    set_threads(group.threads() if config.threads is None else config.threads)
    device = config.device if config.backend == "numpy" else group.device(config.device)
    backend = get_backend(config.backend, device, config.precision)
    dataset = load_dataset(
        config.data,
        config.data_dir,
        download=config.data.startswith("cifar") and config.data_dir is None,
        limit_train=config.limit_train,
        limit_test=config.limit_test,
        image_size=config.image_size,
        vocabulary=config.vocabulary,
    )
    refuse_on_tokens(config)
    config = replace(config, data=dataset.name)
    kept, held_out = training_split(dataset, config.val_split, config.seed)
    held_out, aside = choosing_calibration_split(dataset.y_train, held_out, config.calibration_split, config.seed)
    classes = ClassInfo.from_labels(dataset.y_train[kept], dataset.n_classes, dataset.coarse)
    model = model_of(config, classes, dataset.input_shape, dataset.words).to(backend)
    model.use_convolution(config.conv)
    if dataset.multi_label:
        check_takes_sets(model, config.data)
    if model.head.mixes_samples and group.size > 1:
        raise InputError(
            f"head {config.head!r} computes with all samples of a batch at once, so no processes can share one. "
            "Train it in one process: without mpiexec and --distributed."
        )
    if config.sync_batch_norm and group.shared_batch is not None:
        model.share_batch_norm(group.shared_batch)
    rng = Rng(config.seed)
    normalization = None if dataset.words else fit_normalization(config.normalize, dataset.x_train[kept])

    def batches(x: np.ndarray, y: np.ndarray, **options: Any) -> Batches:
        return Batches(x, y, rng=rng, normalize=normalization, backend=backend, **options)

    if model.prepares_from and normalization is not None:
        chosen = np.linspace(0, len(kept), min(model.prepares_from, len(kept)), endpoint=False).astype(int)
        model.prepare(normalization.apply(dataset.x_train[kept[chosen]]))

    train = batches(
        dataset.x_train[kept],
        dataset.y_train[kept],
        batch_size=config.batch_size,
        augment=config.augment,
        shift=config.shift,
        growth=growth_of(config, model, dataset.input_shape, -(-len(kept) // config.batch_size)),
        shuffle=True,
    )
    evaluation: dict[str, Any] = {"batch_size": EVALUATION_BATCH, "augment": "none", "shuffle": False}

    def of_training_images(chosen: np.ndarray) -> Batches | None:
        return batches(dataset.x_train[chosen], dataset.y_train[chosen], **evaluation) if len(chosen) else None

    validation, calibration = of_training_images(held_out), of_training_images(aside)
    test = batches(dataset.x_test, dataset.y_test, **evaluation)
    session = Session(
        config, dataset, model, backend, train, len(kept), validation, test, rng, group, calibration=calibration
    )
    return replace(session, prepare_seconds=time.perf_counter() - started)


def check_takes_sets(model: Model, data: str) -> None:
    """InputError unless the head takes the sets of labels that the images of `data` have."""
    if not model.head.multi_label:
        single = "; where each set is of one label, store y.argmax(axis=1)" if is_own(data) else ""
        raise InputError(
            f"head {model.head_name!r} gives an image one label, but those of {data} have sets of labels; type --head "
            f"sigmoid (docs/multi-label.md){single}."
        )


def model_of(config: TrainConfig, classes: ClassInfo, input_shape: tuple[int, ...], words: int | None) -> Model:
    """The model that `config` names, for data with so many words, or (None) for images.

    InputError where the model takes the other kind.
    """
    check_kind(config, words is not None)
    if words is not None and config.model_opts.get("words", words) != words:
        raise InputError(f"option words of {config.model} is what the data has, {words}; leave it out.")
    return build_model(
        config.model,
        config.head,
        classes,
        input_shape,
        seed=config.seed,
        model_opts=config.model_opts if words is None else config.model_opts | {"words": words},
        head_opts=config.head_opts,
    )


def growth_of(config: TrainConfig, model: Model, input_shape: tuple[int, ...], steps_per_epoch: int) -> Growth | None:
    """The sizes of the images over the run; None where they stay as they are.

    InputError where the model does not take them, or makes another number of features of them.
    """
    if config.image_sizes is None:
        return None
    what = f"--image-sizes {config.image_sizes}: --model {config.model}"
    growth = Growth.of(config.image_sizes, input_shape[0], config.epochs * steps_per_epoch)
    features = model.trunk.output_shape(input_shape)
    for height, _ in growth.stages:
        shape = smaller(input_shape, height)
        other = "Take larger images, or a model that ends in a maximum or mean over the whole image."
        try:
            found = model.trunk.output_shape(shape)
        except InputError as error:
            raise InputError(f"{what} does not take images of {shape}: {error} {other}") from error
        if found != features:
            raise InputError(f"{what} makes {found[0]} features of {shape} and {features[0]} of {input_shape}. {other}")
    return growth


def check_kind(config: TrainConfig, has_words: bool) -> None:
    """InputError where the model takes data of the other kind."""
    if has_words != (config.model in OF_TOKENS):
        kind = "windows of words" if has_words else "images"
        fitting = f"--model {', '.join(OF_TOKENS)}" if has_words else "--data stdlib_tokens"
        raise InputError(f"{config.data} has {kind}, which --model {config.model} does not take; try {fitting}.")


def refuse_on_tokens(config: TrainConfig) -> None:
    """InputError for what changes images, where the data has none."""
    changes = {
        "augment": config.augment != "none",
        "image-sizes": config.image_sizes,
        "mixup": config.mixup,
        "cutmix": config.cutmix,
    }
    for name, is_set in changes.items():
        if is_set and config.data == STDLIB_TOKENS:
            raise InputError(f"--{name} is for images, but {config.data} has words. Leave it out.")


def optimizer_options(config: TrainConfig) -> dict[str, Any]:
    """What the optimiser that `config` names is given, but for what depends on the model. InputError for bad values."""
    if config.optimizer not in OPTIMIZERS:
        raise unknown_name("optimizer", config.optimizer, OPTIMIZERS)
    options: dict[str, Any] = {"weight_decay": at_least_0("--weight-decay", config.weight_decay)}
    if config.optimizer in ("sgd", "muon"):
        options["momentum"] = below_1("--momentum", config.momentum)
    if config.optimizer == "sgd":
        options["nesterov"] = config.nesterov
    if config.optimizer == "muon":
        options |= {
            "ratio": at_least_0("--muon-lr", config.muon_lr) / config.lr,
            "filter_momentum": below_1("--muon-momentum", config.muon_momentum),
            "steps": few_steps("--muon-steps", config.muon_steps),
            "unit_filters": config.muon_unit_filters,
            "matrices": config.muon_matrices,
        }
    return options


def make_optimizer(config: TrainConfig, model: Model) -> Optimizer:
    """The optimiser that `config` names, over the parameters of trunk and head."""
    options = optimizer_options(config)
    optimizer = OPTIMIZERS[config.optimizer](model.params, **options, no_decay=undecayed(config.decay, model))
    if isinstance(optimizer, Muon) and not (optimizer.filters or config.muon_matrices):
        raise InputError(
            f"--optimizer muon moves filters of convolutions, but --model {config.model} has none. Add --muon-matrices "
            "for its weight matrices, or type --optimizer sgd --nesterov."
        )
    return optimizer


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


# ---------------------------------------------------------------- an earlier run
def load_run(path: str | Path, checkpoint: str = "best", **changes: Any) -> Session:
    """The session of an earlier run with the parameters of one of its checkpoints ("best", "last" or "previous").

    `changes` replace settings, such as data_dir, where the data now lies. Where no epoch was validated there is no
    "best", and "last" is taken. InputError where "best" was there and is missing.
    """
    run = RunDirectory.existing(path)
    chosen = choose_checkpoint(run, checkpoint)
    session = prepare(TrainConfig.load(run.config_file).moved(**changes))
    run.check_data(session.dataset)
    return replace(session, chosen=_fill(session.model, chosen))


def load_model(path: str | Path, checkpoint: str = "best", **changes: Any) -> tuple[Model, Chosen]:
    """As `load_run`, but the model alone, on the host and without its data; and which checkpoint it is from.

    A run of an older version does not say how many images each class has: there the data is read after all.
    """
    run = RunDirectory.existing(path)
    classes, input_shape = run.classes()
    if classes is None:
        session = load_run(path, checkpoint, **changes)
        assert session.chosen is not None
        return session.model, session.chosen
    chosen = choose_checkpoint(run, checkpoint)
    model = model_of(TrainConfig.load(run.config_file), classes, input_shape, run.words())
    return model, _fill(model, chosen)


def choose_checkpoint(run: RunDirectory, name: str) -> Chosen:
    """Which checkpoint `name` means, as `load_run` says it."""
    best, last = run.checkpoint_file("best"), run.checkpoint_file("last")
    if name != "best" or best.is_file() or not last.is_file():
        return Chosen(name, run.checkpoint_file(name))
    state = load_saved(last).state
    if not isinstance(state, dict) or state.get("best_epoch") is not None:
        raise InputError(
            f"{best} is missing. For the parameters of the last epoch instead, give the checkpoint last: "
            "--checkpoint last."
        )
    return Chosen("last", last, note="no epoch was validated, so there is no best")


def _fill(model: Model, chosen: Chosen) -> Chosen:
    """Copy the checkpoint into the model; returns it with its epoch."""
    state = restore_model(model, chosen.path)
    epoch = state.get("epoch") if isinstance(state, dict) else None
    return replace(chosen, epoch=epoch if isinstance(epoch, int) else None)
