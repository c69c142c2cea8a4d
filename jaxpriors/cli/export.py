"""`jaxpriors export`."""

from __future__ import annotations

from pathlib import Path

NETWORKS = "network*.safetensors"  # an ensemble has several


def export(run: Path, /, out: Path, model: str | None = None, overwrite: bool = False) -> int:
    """Write a trained network as a program that needs only JAX, not this package.

    Its arguments are arrays: p4 (b, n, 4) float32 (E, px, py, pz) in GeV, pid (b, n) int32, length
    (b,) int32, jet_p4 (b, 4) float32 and jet_mass (b,) float32; its result is log p_data /
    p_simulation (b,).

    For an ensemble, the result is the mean of the log ratios of its networks.

    Args:
        run: folder of a reweighting, or of one of its networks.
        out: file of the program.
        model: which of the networks, where the run has several.
        overwrite: replace an existing file.
    """
    from jaxpriors.ratio.export import PLATFORMS, write_program
    from jaxpriors.ratio.model import RatioModel
    from jaxpriors.run.storage import check_output

    folder = network_folder(run, model)
    check_output(out, *folder.iterdir())
    write_program(out, RatioModel.load(folder), overwrite=overwrite)
    size = out.stat().st_size / 1e6
    print(f"{out}: log likelihood ratio of {folder.name}, {size:.1f} MB, {' and '.join(PLATFORMS)}")
    return 0


def network_folder(run: Path, model: str | None) -> Path:
    """Find the network of a run; raise InputError unless there is exactly one, or a choice."""
    from jaxpriors.errors import InputError

    if model is None and any(run.glob(NETWORKS)):
        return run
    found = {p.parent.name: p.parent for p in run.glob(f"model/*/{NETWORKS}")}
    names = ", ".join(sorted(found))
    if not found:
        what = "has no trained network in model/" if run.is_dir() else "is no folder"
        raise InputError(f"{run}: {what}, expected the folder of a run of `jaxpriors reweight`")
    if model is None and len(found) > 1:
        raise InputError(f"{run}: holds {names}; choose one with --model")
    if model is not None and model not in found:
        raise InputError(f"model: found {model!r}, expected one of this run: {names}")
    return found[model] if model is not None else next(iter(found.values()))
