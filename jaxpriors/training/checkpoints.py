"""Checkpoints with Orbax: atomic, asynchronous, resumable, self-describing."""

import json
import logging
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from operator import itemgetter
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
import tensorstore
from jax import Array

from jaxpriors.errors import InputError
from jaxpriors.run import processes

for name in ("absl", "asyncio"):  # Orbax tells its every move, and each fault of every array
    logging.getLogger(name).setLevel(logging.CRITICAL)


def flatten(tree: Any) -> dict[str, Array]:
    """Return the arrays of a tree by the path that leads to them, ``blocks/mlp/weight``."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


DECAY = "/hyperparams/decay"
RENAMED = {"NumbersConfig(": "ColumnsConfig("}  # in the identities of the first versions


def rename_schedule(arrays: dict[str, Array]) -> dict[str, Array]:
    """Return a state's arrays by today's names.

    Checkpoints of the first versions have the learning rate's schedule under ``course``, where
    optax has it under ``hyperparams``, and one count of updates where optax has two.
    """
    found = {name.replace("/course/", "/hyperparams/"): x for name, x in arrays.items()}
    for name in arrays:
        if name.endswith("/course/peak"):
            stage = name.removesuffix("/course/peak")
            found[f"{stage}/inner_state/count"] = jnp.copy(arrays[f"{stage}/count"])
    return found


class DamagedCheckpoint(InputError):
    """A checkpoint that cannot be read, or not all of it."""


STORAGE_FAULT = re.compile("[A-Z_]+: ")  # such as RESOURCE_EXHAUSTED, of tensorstore
FAULTS = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError)  # of reading one


class Checkpoints(AbstractContextManager["Checkpoints"]):
    """The checkpoints of one run: the last one, to go on from, and the best one, to use.

    Each holds the training state's arrays by name and a JSON document (``progress``). Saving
    returns at once and is complete or absent after a kill. Several processes save one checkpoint
    together, in a folder that all of them see; any number of them can restore it.

    ``latest()`` and ``best()`` give the step of the last one and of the one with the least
    validation loss, None where there is none; ``wait()`` waits until all is on disk.

    Raises InputError where the validation loss of a checkpoint cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        _check_losses(folder.absolute())
        policies = ocp.checkpoint_managers.preservation_policy
        validation_loss = itemgetter("validation_loss")
        self.folder = folder.absolute()
        self._manager = ocp.CheckpointManager(
            self.folder,
            item_handlers={
                "state": ocp.StandardCheckpointHandler(),
                "progress": ocp.JsonCheckpointHandler(),
            },
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy(
                    [
                        policies.LatestN(1),
                        policies.BestN(n=1, get_metric_fn=validation_loss, reverse=True),
                    ]
                ),
                best_fn=validation_loss,
                best_mode="min",
                enable_async_checkpointing=True,
            ),
        )
        self.latest, self.best = self._manager.latest_step, self._manager.best_step

    def save(self, step: int, state: Any, progress: dict[str, Any], validation_loss: float) -> None:
        """Save a copy in the background, so that the state's own memory may be given away.

        Steps that end no epoch have a validation loss of infinity. Raises InputError where this
        checkpoint, or the one before, cannot be written.
        """
        with self._writing():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(flatten(jax.tree.map(jnp.copy, state))),
                    progress=ocp.args.JsonSave(progress),
                ),
                metrics={"validation_loss": min(validation_loss, 1e30)},
                force=True,
            )

    def wait(self) -> None:
        """Wait until all is on disk; raise InputError where it cannot be written."""
        with self._writing():
            self._manager.wait_until_finished()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn what Orbax and its storage say of a full disk into one line."""
        try:
            yield
        except (OSError, ValueError) as error:
            if not isinstance(error, OSError) and not STORAGE_FAULT.match(str(error)):
                raise
            raise InputError(
                f"{self.folder}: a checkpoint cannot be written ({_short(error)}); the one before "
                "stays"
            ) from None

    def restore(self, step: int, template: Any) -> tuple[Any, dict[str, Any]]:
        """Return state and progress of a step; the arrays lie where the template's do.

        Raises InputError naming an array that is missing, unknown, or of another shape or dtype,
        DamagedCheckpoint where the files cannot be read.
        """
        leaves, structure = jax.tree.flatten(template)
        try:
            arrays, progress = self._read(step, leaves[0].sharding)
        except FAULTS as error:
            raise DamagedCheckpoint(
                f"checkpoint {self.folder / str(step)}: damaged ({_short(error)})"
            ) from None
        if any("/course/" in name for name in arrays):
            arrays = rename_schedule(arrays)
        where, wanted = f"checkpoint {self.folder / str(step)}", flatten(template)
        # those of the first versions lack the weight decay, a setting that the identity holds
        arrays |= {n: x for n, x in wanted.items() if n.endswith(DECAY) and n not in arrays}
        unknown, missing = sorted(set(arrays) - set(wanted)), sorted(set(wanted) - set(arrays))
        if unknown or missing:
            raise InputError(
                f"{where}: missing arrays {missing}, unknown arrays {unknown}; expected exactly "
                f"those of the configured network and optimizer ({len(wanted)})"
            )
        for name, leaf in wanted.items():
            found = arrays[name]
            if found.shape != leaf.shape or found.dtype != leaf.dtype:
                raise InputError(
                    f"{where}: array {name} is {found.dtype}{list(found.shape)}, expected "
                    f"{leaf.dtype}{list(leaf.shape)}"
                )
        return jax.tree.unflatten(structure, [arrays[name] for name in wanted]), progress

    def __enter__(self) -> "Checkpoints":
        """Drop what Orbax's threads say of a loop that a fault has closed; that fault is told."""
        self._hook = hook = sys.unraisablehook

        def on_dropped(found: Any) -> None:
            if str(found.exc_value) != "Event loop is closed":
                hook(found)

        sys.unraisablehook = on_dropped
        return self

    def _read(self, step: int, sharding: Any) -> tuple[dict[str, Array], dict[str, Any]]:
        """Read the arrays of a checkpoint and its progress."""
        read = ocp.args.Composite(progress=ocp.args.JsonRestore())
        progress = self._manager.restore(step, args=read)["progress"]
        for old, new in RENAMED.items():
            progress["identity"] = progress["identity"].replace(old, new)
        for record in progress["history"]:
            float(record["validation_loss"])
        sum(progress["seconds"].values())
        _check_arrays(self.folder / str(step) / "state")
        known = self._manager.item_metadata(step)["state"]
        if known is None:
            raise FileNotFoundError("the list of its arrays is missing")
        target = {
            name: jax.ShapeDtypeStruct(m.shape, m.dtype, sharding=sharding)
            for name, m in known.items()
        }
        read = ocp.args.Composite(state=ocp.args.StandardRestore(target))
        return self._manager.restore(step, args=read)["state"], progress

    def restore_last(
        self, template: Any, progress: Callable[[dict[str, Any]], None]
    ) -> tuple[Any, dict[str, Any]] | None:
        """Return state and progress of the last checkpoint that can be read; None if there is none.

        Those after it are renamed to ``damaged-STEP``, and ``progress`` is told. Raises InputError
        as ``restore`` does, and where none can be read.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step, before in zip(steps, [*steps, None][1:], strict=True):
            try:
                return self.restore(step, template)
            except DamagedCheckpoint as error:
                if before is None:
                    raise InputError(f"{error}; delete {self.folder} to train anew") from None
                progress({"stage": f"  {error}; going on from that of step {before}"})
            if processes.index() == 0:
                (self.folder / str(step)).rename(self.folder / f"damaged-{step}")
            processes.wait()
            self._manager.reload()
        return None

    def restore_best(self, template: Any, history: Sequence[dict[str, Any]]) -> Any:
        """Return the state of a history's best epoch; raise InputError where it cannot be read."""
        step, losses = self.best(), {r["step"]: r["validation_loss"] for r in history}
        if step is None or losses.get(step) != min(losses.values()):
            raise InputError(
                f"{self.folder}: the checkpoint of the best epoch is not there; delete the folder "
                "to train anew"
            )
        try:
            return self.restore(step, template)[0]
        except DamagedCheckpoint as error:
            raise InputError(
                f"{error}; it is that of the best epoch: delete {self.folder} to train anew"
            ) from None

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        """Close, but for a process that fails alone: it would wait for others who wait for it."""
        try:
            if kind is None:
                self.wait()
                self._manager.close()
            elif processes.count() == 1:
                with suppress(*FAULTS):  # the first error is the one to tell
                    self._manager.close()
        finally:
            sys.unraisablehook = self._hook


def _check_losses(folder: Path) -> None:
    """Raise InputError for a checkpoint whose validation loss cannot be read, as Orbax does it."""
    for path in sorted(folder.glob("[0-9]*/metrics/metrics")):
        try:
            float(json.loads(path.read_text())["validation_loss"])
        except FAULTS as error:
            raise InputError(
                f"checkpoint {path.parents[1]}: damaged ({_short(error)}); delete this folder to "
                "go on from another checkpoint, if there is one"
            ) from None


def _check_arrays(folder: Path) -> None:
    """Read all arrays once: Orbax reads them side by side, where one fault leaves many messages."""
    base = {"driver": "file", "path": f"{folder}/"}
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
    names = store.list().result()
    if not names:
        raise FileNotFoundError("its arrays are missing")
    for name in names:
        store.read(name).result()


def _short(error: BaseException) -> str:
    """Give the first line of an error's message, not too long."""
    line = (str(error).splitlines() or [""])[0]
    return textwrap.shorten(line, 160, placeholder=" …") or type(error).__name__
