"""Record cases from the real OmniLearn (TensorFlow, Keras), or record stored ones again.

    pip install tensorflow-cpu==2.14.1 scipy scikit-learn
    git clone https://github.com/ViniciusMikuni/OmniLearn CLONE
    python tests/recorders/omnilearn.py --omnilearn CLONE FOLDER [CASE ...]
    python tests/recorders/omnilearn.py --omnilearn CLONE --again FIXTURES [CASE ...]

The first makes weights and inputs from a seed, which the table of the case states. The second takes
weights, inputs, times and noise of stored cases, lets the code compute everything else again,
prints the largest difference of each array, and exits 1 where one is above its bar. Keras 2.14 has
to write the files: 2.13 and 2.15 name their contents otherwise.

A case is ``<name>.json`` (class, constructor arguments, ``h5_to_role``: which tensor is where in
the file), ``<name>.npz`` and, where it has weights of its own, ``<name>.weights.h5`` from Keras.
Arrays of the networks: ``input_*``, ``time_rand``; outputs ``out_<part>_<time>`` of the times t0
(zero) and tr (``time_rand``); ``tap_*`` inside the body; ``predict_*`` from ``model.predict`` with
a mask (B, P); ``padded12_*`` with 12 more padded rows; ``chaos_*`` with few padded rows;
``allmask_*`` with an event without particles. Arrays of trainings: weights ``w0``, ``w1``, … by
role after so many steps, first gradients ``g0``, losses; the noise and times that take the place of
random numbers.
"""

import argparse
import functools
import json
import os
import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}

import numpy as np
import omnilearn_runs as runs
import tensorflow as tf
from compare import gaps, report, summary
from omnilearn_roles import assign, file_contents, places, values, variables

BARS = {"small_nolayerscale": 4e-4}  # without layer scale differences grow
BAR = 2e-5
STEP_BAR = 0.01  # share of the entries of a weight that step otherwise: rounding decides signs
TABLE = ("cls", "kwargs", "pet_override", "h5_to_role", "nparams", "lion", "cosine", "lion_clip",
         "source_checkpoint", "loaded", "skipped")  # fmt: skip
LOGS = ("train_logs", "test_step_logs_after3_with_t0_eps0", "train_step_logs")
STEPS = {"w1": 1, "w3": 3, "w5": 5, "file": 5}
KEY, KEY_BAR = ".attn.key.bias", 1.05  # what training leads to is within so many largest steps
STEPPED = 1e-6  # of the largest entry: a weight that stepped otherwise is farther away

SMALL = dict(num_feat=13, num_jet=4, projection_dim=16, num_layers=2)
FLAGS = dict(local=True, layer_scale=True)
OMNIFOLD = dict(num_feat=13, num_jet=4, num_classes=1, num_layers=2, mode="classifier",
                class_activation=None) | FLAGS  # fmt: skip
LHCO = dict(num_feat=13, num_jet=5, num_classes=2, num_part=30, mode="generator",
            projection_dim=16) | FLAGS  # fmt: skip
# name: (class, constructor arguments, what is computed)
CASES: dict[str, tuple[str, dict, Callable[..., runs.Result]]] = {
    "small_all": ("PET", SMALL | dict(num_classes=10, mode="all"), runs.pet_everywhere),
    "small_nolocal": ("PET", SMALL | dict(num_classes=3, local=False, mode="all"),
                      runs.pet_everywhere),
    "small_simple": ("PET", SMALL | dict(num_classes=2, simple=True, mode="classifier"),
                     runs.pet_everywhere),
    "small_talking": ("PET", SMALL | dict(num_classes=2, talking_head=True, mode="classifier"),
                      runs.pet_everywhere),
    "small_nolayerscale": ("PET", SMALL | dict(num_classes=2, layer_scale=False, mode="all"),
                           runs.pet_everywhere),
    "small_variant": ("PET", dict(num_feat=7, num_jet=5, num_classes=3, projection_dim=24,
                      num_layers=3, num_local=1, K=5, num_class_layers=3, num_gen_layers=1,
                      num_heads=3, class_activation="softmax", mode="generator"),
                      runs.pet_everywhere),
    "train_all_small": ("PET", SMALL | dict(num_classes=10, mode="all"), runs.train_pet),
    "train_classifier_small": ("PET", SMALL | dict(num_classes=3, num_layers=1,
                               mode="classifier"), runs.train_pet),
    "train_generator_small": ("PET", SMALL | dict(num_classes=5, num_layers=1, mode="generator"),
                              runs.train_pet),
    "train_omnifold_small": ("omnifold.Classifier", OMNIFOLD, runs.train_omnifold),
    "omnifold_finetune_from_small_all": ("omnifold.Classifier", OMNIFOLD | dict(fine_tune=True),
                                         runs.finetune),
    "lhco_generator_small": ("PET_lhco.PET_lhco", LHCO | dict(num_layers=2, use_mean=False),
                             runs.lhco_generator),
    "lhco_generator_usemean": ("PET_lhco.PET_lhco", LHCO | dict(num_layers=1, use_mean=True),
                               runs.lhco_generator),
    "lhco_classifier_small": ("PET_lhco.Classifier", dict(num_feat=13, num_jet=5, num_classes=1,
                              projection_dim=16, num_layers=1, mode="classifier",
                              class_activation=None) | FLAGS, runs.lhco_classifier),
    "diffusion_schedule": ("", {}, runs.schedule),
    "lion_cosine": ("", {}, runs.lion),
}  # fmt: skip
TUNED, SOURCE = "omnifold_finetune_from_small_all", "small_all"
TRAINED = "train_omnifold_small"  # its file is of the trained weights, with the optimizers
MULTIPLICITIES = (30, 19, 15, 11, 12, 5, 2, 1)
CHAOS = (29, 28, 27, 25, 24, 22, 21, 20)
EMPTY = (0, 12)

Arrays = runs.Arrays


def fill(found: dict[str, Any], random: np.random.Generator) -> None:
    """Kernels N(0, 1/fan-in), biases and shifts N(0, 0.2²), gains between 0.5 and 1.5."""
    for role, variable in found.items():
        shape = tuple(variable.shape)
        noise = random.normal(size=shape)
        if role.endswith("gamma"):
            value = random.uniform(0.5, 1.5, shape)
        elif role.endswith("kernel"):
            inputs = shape[:-1] if role.endswith("attn.out.kernel") else shape[:1]
            value = noise / np.sqrt(np.prod(inputs))
        else:
            value = 0.2 * noise
        variable.assign(value.astype(np.float32))


def clouds(random: np.random.Generator, kwargs: dict, counts: Any, particles: int) -> Arrays:
    """Inputs of PET: events with so many particles, padded; times; one-hot labels."""
    events, classes = len(counts), kwargs["num_classes"]
    mask = (np.arange(particles) < np.asarray(counts)[:, None])[..., None].astype(np.float32)
    features = random.normal(size=(events, particles, kwargs["num_feat"])).astype(np.float32) * mask
    time = random.uniform(size=(events, 1)).astype(np.float32)
    time[:2] = [[1.0], [0.001]]
    return dict(
        input_features=features,
        input_points=features[:, :, :2],
        input_mask=mask,
        input_jet=random.normal(size=(events, kwargs["num_jet"])).astype(np.float32),
        input_time=np.zeros((events, 1), np.float32),
        input_label=np.eye(classes, dtype=np.float32)[random.integers(classes, size=events)],
        time_rand=time,
    )


def draw(name: str, random: np.random.Generator) -> Arrays:
    """The inputs of a case."""
    cls, kwargs, _ = CASES[name]

    def normal(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    def uniform(*shape: int) -> np.ndarray:
        return random.uniform(size=shape).astype(np.float32)

    if name == "diffusion_schedule":
        ends = [0, 1e-6, 1e-4, 1e-3, 1e-2]
        inside = np.linspace(0.05, 0.95, 19)
        times = np.concatenate([ends, inside, 1 - np.array(ends[:1:-1]), [1.0]])
        return dict(t=np.unique(times.astype(np.float32))[:, None])
    if name == "lion_cosine":
        start = normal(1, 6)
        return dict(step=np.arange(0, 260, 5), grads=normal(12, 6), w=start, w_clipnorm=start)
    if cls.startswith("PET_lhco"):
        counts = random.integers(2, 31, size=(6, 2))
        mask = (np.arange(30) < counts[..., None]).astype(np.float32)
        features = normal(6, 2, 30, 13) * mask[..., None]
        given = dict(input_features=features, input_mask=mask, input_jet=normal(6, 2, 5))
        if cls.endswith("Classifier"):
            y = np.stack([random.integers(2, size=6), 0.5 + uniform(6)], 1).astype(np.float32)
            return given | dict(input_points=features[..., :2], input_mass=normal(6), y=y,
                                input_time=np.zeros((6, 2, 1), np.float32))  # fmt: skip
        y = np.stack([2 * uniform(6) - 1, np.ones(6, np.float32)], 1)
        return given | dict(
            y=y, t_jet=uniform(6, 1), t_part=uniform(12, 1), noise_jet=normal(6, 2, 5),
            noise_part=normal(6, 30, 13), ddpm_mask=mask[:, 0, :, None],
            eps_jet=normal(6, 2, 5), eps_part=normal(12, 30, 13),
        )  # fmt: skip
    if name.startswith("small_"):
        given = clouds(random, kwargs, MULTIPLICITIES, 30)
        for prefix, counts in (("chaos_", CHAOS), ("allmask_", EMPTY)):
            more = clouds(random, kwargs, counts, 30)
            given |= {prefix + key: value for key, value in more.items()}
        return given
    if name == TUNED:
        return clouds(random, kwargs, MULTIPLICITIES, 30)
    events = 32 if cls.startswith("omnifold") else 24
    given = clouds(random, kwargs, random.integers(1, 29, size=events), 28)
    if cls.startswith("omnifold"):
        label, weight = random.integers(2, size=events), 0.5 + uniform(events)
        return given | dict(y=np.stack([label, weight], 1).astype(np.float32))
    return given | dict(t_injected=uniform(3, events, 1), eps_injected=normal(3, events, 28, 13))


def compute(
    peer: Any, name: str, folder: Path, file: Path, start: Callable[[dict[str, Any]], Arrays]
) -> tuple[dict, Arrays]:
    """Table and arrays of a case; ``start`` sets the weights by role and gives the inputs.

    ``folder`` holds the file that fine-tuning starts from; the case's own goes to ``file``.
    """
    cls, kwargs, run = CASES[name]
    table: dict = dict(tf=tf.__version__, keras=version("keras"))
    if not cls:
        given = start({})
        more, made = run(peer, None, given)
        return table | more, given | made
    table |= dict(cls=cls, kwargs=kwargs) | (dict(pet_override=runs.OVERRIDE) if "." in cls else {})
    source = folder / f"{SOURCE}.weights.h5"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the source has in another shape
        model, pet = runs.build(
            peer, cls, kwargs | (dict(model_name=str(source)) if name == TUNED else {})
        )
    found = variables(runs.parts_of(pet if name == TUNED else model))
    init: Arrays = {}
    if name == TUNED:
        places_of = json.loads(source.with_name(f"{SOURCE}.json").read_text())["h5_to_role"]
        contents = file_contents(source)
        before = {role: contents[path] for path, role in places_of.items() if role}
        loaded = [r for r, v in values(found).items() if np.array_equal(v, before.get(r))]
        skipped = [role for role in found if role not in loaded]
        table |= dict(source_checkpoint=source.name, loaded=loaded, skipped=skipped)
    given = start(found)
    if name == TUNED:
        init = {f"init:{role}": found[role].numpy() for role in skipped}
    if cls == "PET_lhco.PET_lhco":  # its file has the optimizers before any step
        runs.compile_lion(model, 1e-5, clipnorm=1.0)
    if name.startswith(("small_", "lhco_")):
        table["h5_to_role"] = places(model, found)
        model.save_weights(file)
    more, made = run(peer, model, given)
    if name == TRAINED:
        table["h5_to_role"] = places(model, found)
        model.save_weights(file)
    return table | more, given | init | made


def record(peer: Any, folder: Path, name: str, seed: int) -> None:
    """Write the files of one case."""
    random = np.random.default_rng(seed)
    tf.random.set_seed(seed)

    def start(found: dict[str, Any]) -> Arrays:
        if name != TUNED:
            fill(found, random)
        return draw(name, random)

    table, arrays = compute(peer, name, folder, folder / f"{name}.weights.h5", start)
    table |= dict(seed=seed, arrays={k: [list(v.shape), str(v.dtype)] for k, v in arrays.items()})
    np.savez_compressed(folder / f"{name}.npz", **arrays)
    (folder / f"{name}.json").write_text(json.dumps(table) + "\n")


def again(peer: Any, folder: Path, name: str) -> list[tuple[str, float, float]]:
    """Let the code compute a stored case again: (array, difference, bar) of each."""
    table = json.loads((folder / f"{name}.json").read_text())
    with np.load(folder / f"{name}.npz") as opened:
        stored = dict(opened)
    path = folder / f"{name}.weights.h5"
    contents = file_contents(path) if path.exists() else {}
    places_of = {p: role for p, role in table.get("h5_to_role", {}).items() if role}

    def start(found: dict[str, Any]) -> Arrays:
        for tag in ("w0:", "init:"):
            assign(found, {k.removeprefix(tag): v for k, v in stored.items() if k.startswith(tag)})
        if name.startswith(("small_", "lhco_")):
            assign(found, {role: contents[p] for p, role in places_of.items()})
        return {k: stored[k] for k in given}

    given = [k for k in draw(name, np.random.default_rng(0)) if k in stored]
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / path.name
        now, made = compute(peer, name, folder, file, start)
        ours = file_contents(file) if file.exists() else {}
    for key in TABLE:
        old, new = table.get(key), now.get(key)
        if key in ("loaded", "skipped") and old is not None:
            old, new = sorted(old), sorted(new)
        if old != new:
            raise SystemExit(f"{name}: the stored {key} is not what the code gives now")
    results = {k: v for k, v in stored.items() if k not in given or k in ("w", "w_clipnorm")}
    for key in LOGS:
        if key in table:
            results[key], made[key] = numbers(table[key]), numbers(now[key])
    for place, value in contents.items():
        if place in places_of or "optimizer" in place:
            array = f"file:{places_of.get(place, place)}"
            results[array] = value
            made |= {array: ours[place]} if place in ours else {}
    rows = gaps(results, made, functools.partial(bar, name), units(results))
    return [steps(row, results, made) for row in rows]


def units(results: Arrays) -> dict[str, float]:
    """What gradients, moments of optimizers, and biases of keys are compared in.

    The largest of all gradients, or moments. The softmax does not depend on the biases of keys:
    their gradient is rounding, and each step of Lion leads up to the learning rate either way.
    """
    found: dict[str, float] = {}
    for start in ("g0:", "file:optimizer", "file:body_optimizer"):
        group = [k for k in results if k.startswith(start) and results[k].ndim]
        largest = max((float(np.abs(results[k]).max(initial=0)) for k in group), default=0.0)
        found |= dict.fromkeys(group, largest)
    for name in results:
        tag = name.split(":")[0]
        if name.endswith(KEY) and tag in STEPS:
            found[name] = 2 * STEPS[tag] * runs.LION["lr_head"]
    return found


def numbers(logs: Any) -> np.ndarray:
    """The numbers of logs, by name."""
    each = logs if isinstance(logs, list) else [logs]
    return np.array([[log[key] for key in sorted(log)] for log in each])


def bar(name: str, array: str, value: np.ndarray) -> float:
    """The bar of an array."""
    if value.dtype.kind != "f":
        return 0.0
    if array.endswith(KEY) and array.split(":")[0] in STEPS:
        return KEY_BAR
    return BARS.get(name, BAR)


def steps(row: tuple[str, float, float], stored: Arrays, made: Arrays) -> tuple[str, float, float]:
    """For trained weights the share of the entries that stepped otherwise, if the row is above."""
    name, gap, bar = row
    if gap <= bar or name.split(":")[0] not in STEPS or gap == float("inf"):
        return row
    far = np.abs(stored[name] - made[name]) > STEPPED * max(np.abs(stored[name]).max(), 1e-30)
    return f"{name} (share of steps)", float(far.mean()), STEP_BAR


def kind(_case: str, array: str) -> str:
    """The kind of an array, told by its name."""
    tag, _, role = array.partition(":")
    if role.endswith(KEY) and tag in STEPS:
        return "key biases"
    if role:
        return tag + (" share" if array.endswith(")") else "")
    return array.split("_")[0]


def main() -> None:
    """Record the cases named, or all; or compute stored ones again and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--omnilearn", type=Path, required=True, help="a clone of the repository")
    parser.add_argument("--again", action="store_true", help="compute the folder's cases again")
    arguments = parser.parse_args()
    if not version("keras").startswith("2.14."):
        raise SystemExit(f"found Keras {version('keras')}, expected 2.14, which wrote the files")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    peer = runs.import_peer(arguments.omnilearn)
    names = list(CASES)
    cases = arguments.cases or names
    if not arguments.again:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        for name in cases:
            record(peer, arguments.folder, name, 100 + names.index(name))
        return
    found = {}
    bad = 0
    for name in cases:
        found[name] = again(peer, arguments.folder, name)
        bad += report(name, found[name])
    summary(found, kind)
    if bad:
        raise SystemExit(f"{bad} arrays are above their bars")


if __name__ == "__main__":
    main()
