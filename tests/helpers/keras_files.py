"""OmniLearn's files in the layouts of other releases of TensorFlow, made from one of 2.14."""

import re

import h5py

INSIDE = "_layer_checkpoint_dependencies"
LAYER = re.compile(rf"^(?P<model>.+)/{INSIDE}/(?P<cls>[a-z_0-9]+?)(_(?P<n>\d+))?/")
STARTS = {"body": 0, "classifier": 26, "generator": 40, "ema_body": 1, "ema_generator_head": 7}
ORDER = {
    "body": 0,
    "classifier": 1,
    "head": 1,
    "generator": 2,
    "ema_body": 3,
    "ema_generator_head": 4,
}


def counted_twice(path):
    """A path as TensorFlow 2.12 and 2.13 number it: with gaps, and not from 0."""

    def renumber(match):
        number = 2 * int(match["n"] or 0) + STARTS.get(match["model"], 3)
        suffix = f"_{number}" if number else ""
        return f"{match['model']}/{INSIDE}/{match['cls']}{suffix}/"

    return LAYER.sub(renumber, path)


def numbered_models(path):
    """A path as TensorFlow 2.15 has it: models and layers below ``layers``."""
    top, _, rest = path.partition("/")
    if top == "_metrics":
        return f"metrics/{rest}"
    if top not in ORDER:
        return path
    model = f"layers/functional_{ORDER[top]}" if ORDER[top] else "layers/functional"
    return f"{model}/{rest.replace(INSIDE, 'layers')}"


def write(path, arrays, rename=lambda name: name):
    """A file of these datasets by path, under other names."""
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            file[rename(name)] = value
    return path


def groups(path):
    """The paths of all groups of a file."""
    found = set()
    with h5py.File(path, "r") as file:
        file.visititems(lambda n, item: found.add(n) if isinstance(item, h5py.Group) else None)
    return found
