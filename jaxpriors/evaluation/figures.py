"""Figures: training curves, calibration, convergence, rejection and improvement.

Only matplotlib's objects are used: no pyplot, no global settings. Functions return a Figure;
`save_figure` writes it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxpriors.errors import InputError
from jaxpriors.evaluation.likelihood_ratio import Reliability
from jaxpriors.evaluation.observables import OBSERVABLES
from jaxpriors.run import preemption, processes
from jaxpriors.run.storage import written_whole

# Okabe and Ito's colours, which colour-blind readers can tell apart, with line styles that
# survive a black-and-white print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
LINE_STYLES = ("-", "--", "-.", ":")


def training_figure(history: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Draw losses against the epoch: model → {"train": losses, "validation": losses}.

    Each epoch has one. A cross marks the smallest validation loss of each model. Raises InputError
    if no model has an epoch.
    """
    if not any(len(losses) for curves in history.values() for losses in curves.values()):
        raise InputError(f"training figure: the history of {sorted(history)} holds no epoch")
    figure = Figure(figsize=(5.6, 4.0), layout="constrained")
    axes = figure.add_subplot()
    for number, (model, curves) in enumerate(history.items()):
        colour = COLOURS[number % len(COLOURS)]
        for kind, style in (("train", ":"), ("validation", "-")):
            losses = np.asarray(curves.get(kind, ()), dtype=np.float64)
            if not len(losses):
                continue
            epochs = np.arange(1, len(losses) + 1)
            axes.plot(epochs, losses, style, color=colour, linewidth=1.5, label=f"{model}, {kind}")
            if kind == "validation" and np.isfinite(losses).any():
                best = int(np.nanargmin(losses))
                axes.plot(epochs[best], losses[best], "x", color=colour, markersize=8)
    axes.set_xlabel("Epoch", fontsize=11)
    axes.set_ylabel("Loss", fontsize=11)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.legend(frameon=False, fontsize=9)
    ticks(axes)
    return figure


def seeds_figure(histories: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """Draw validation losses against the epoch: model → one list of losses for each seed.

    Thin lines are the seeds, all of as many epochs; the thick one is their mean.
    """
    figure = Figure(figsize=(5.6, 4.0), layout="constrained")
    axes = figure.add_subplot()
    for number, (model, seeds) in enumerate(histories.items()):
        losses = np.asarray(seeds, dtype=np.float64)
        epochs = np.arange(1, losses.shape[1] + 1)
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(epochs, losses.T, "-", color=colour, linewidth=0.7, alpha=0.6)
        thick = LINE_STYLES[number % len(LINE_STYLES)]
        label = f"{model}, mean of {len(losses)} seeds"
        axes.plot(epochs, losses.mean(0), thick, color=colour, linewidth=2.2, label=label)
    axes.set_xlabel("Epoch", fontsize=11)
    axes.set_ylabel("Validation loss", fontsize=11)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.legend(frameon=False, fontsize=9)
    ticks(axes)
    return figure


def calibration_figure(diagrams: Mapping[str, Reliability]) -> Figure:
    """Draw observed against predicted shares of data, their difference below, for each model."""
    figure = Figure(figsize=(5.0, 5.6), layout="constrained")
    main, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.6, 1))
    for number, (model, found) in enumerate(diagrams.items()):
        colour = COLOURS[number % len(COLOURS)]
        error = f"{100 * found.expected_error():.2f} %"
        for axes, values in ((main, found.observed), (below, found.observed - found.predicted)):
            axes.errorbar(
                found.predicted, values, yerr=found.error, fmt="o-", color=colour, markersize=3.5,
                linewidth=1.2, label=f"{model}, error {error}",
            )  # fmt: skip
    main.axline((0.5, 0.5), slope=1, color="black", linewidth=0.8)
    below.axhline(0.0, color="black", linewidth=0.8)
    main.set_ylabel("Observed share of data", fontsize=11)
    below.set_ylabel("Difference", fontsize=11)
    below.set_xlabel("Predicted share of data", fontsize=11)
    main.legend(frameon=False, fontsize=9)
    ticks(main, below)
    return figure


def convergence_figure(
    reports: Mapping[str, Sequence[Mapping[str, Any]]],
    discriminators: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
) -> Figure:
    """Draw how an unfolding settles: effective sample size and change of weights by iteration.

    reports: method → the reports of its steps (`unfolding.omnifold`). discriminators: method →
    observable → triangular discriminators × 1000 to the truth from iteration 0 on, one more panel
    for each observable. Full lines are push weights, dotted ones pull weights.
    """
    names = list(next(iter(discriminators.values()))) if discriminators else []
    columns = min(4, 2 + len(names))
    rows = -(-(2 + len(names)) // columns)
    figure = Figure(figsize=(3.6 * columns, 3.2 * rows), layout="constrained")
    panels = [figure.add_subplot(rows, columns, k + 1) for k in range(2 + len(names))]
    for number, (method, steps) in enumerate(reports.items()):
        colour = COLOURS[number % len(COLOURS)]
        for weights, style in (("push", "-"), ("pull", ":")):
            of_kind = [r for r in steps if r["weights"] == weights]
            iterations = [r["iteration"] for r in of_kind]
            shares = [r["effective_size"] / r["effective_size_before"] for r in of_kind]
            changes = [r["change"] for r in of_kind]
            for axes, values in zip(panels, (shares, changes), strict=False):
                axes.plot(iterations, values, style, color=colour, marker="o", markersize=3,
                          label=f"{method}, {weights}")  # fmt: skip
    for number, found in enumerate((discriminators or {}).values()):
        colour = COLOURS[number % len(COLOURS)]
        for axes, name in zip(panels[2:], names, strict=True):
            axes.plot(range(len(found[name])), found[name], "o-", color=colour, markersize=3)
    titles = ["Effective sample size / simulation's", "Change of log weights (rms)"]
    titles += [OBSERVABLES[n].label if n in OBSERVABLES else n for n in names]
    for axes, title in zip(panels, titles, strict=True):
        axes.set_xlabel("Iteration", fontsize=10)
        axes.set_title(title, fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(0, 1.08 * axes.dataLim.ymax if axes.dataLim.ymax > 0 else None)
        ticks(axes)
    for axes in panels[2:]:
        axes.set_ylabel("Discriminator × 1000", fontsize=10)
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> list[Path]:
    """Write `path`.pdf and `path`.png (150 dpi); the files appear whole or not at all."""
    preemption.obey()
    written = []
    for suffix, metadata in ((".pdf", {"CreationDate": None}), (".png", None)):
        if processes.index() > 0:
            continue
        target = Path(f"{os.fspath(path)}{suffix}")
        with (
            written_whole(target, overwrite=True) as partial,
            matplotlib.rc_context({"pdf.fonttype": 42}),
        ):
            figure.savefig(partial, format=suffix[1:], dpi=150, metadata=metadata)
        written.append(target)
    return written


def ticks(*axes: Axes) -> None:
    """Draw ticks on all sides, inwards."""
    for each in axes:
        each.tick_params(direction="in", top=True, right=True, which="both", labelsize=9.5)
        each.minorticks_on()


def improvement_figure(
    curves: Mapping[str, Sequence[np.ndarray]],
    maxima: Mapping[str, Mapping[int, Mapping[str, float]]],
    supervised: Mapping[str, Mapping[str, float]],
    efficiencies: np.ndarray,
    background: int,
    center: Literal["median", "mean"] = "median",
) -> Figure:
    """Draw the significance improvement of several models, as 2603.08802, Figure 4.

    Left: curves, model → (center, low, high) at the signal efficiencies. Right: maxima, model →
    number of injected events → {"median" and "mean", "low", "high"}, with those of the supervised
    trainings as lines. background: events in the data. center: which of the two is drawn.
    """
    figure = Figure(figsize=(9.4, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, (model, (median, low, high)) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        style = LINE_STYLES[number % len(LINE_STYLES)]
        left.fill_between(efficiencies, low, high, color=colour, alpha=0.25, linewidth=0)
        left.plot(efficiencies, median, style, color=colour, linewidth=1.6, label=model)
    for number, (model, points) in enumerate(maxima.items()):
        colour = COLOURS[number % len(COLOURS)]
        style = LINE_STYLES[number % len(LINE_STYLES)]
        found = [[p[name] for p in points.values()] for name in (center, "low", "high")]
        right.fill_between(list(points), found[1], found[2], color=colour, alpha=0.25, linewidth=0)
        right.plot(list(points), found[0], style, marker="o", markersize=3.5, color=colour,
                   linewidth=1.6, label=model)  # fmt: skip
        if model in supervised:
            right.axhline(supervised[model][center], color=colour, linestyle=":", linewidth=1.0)
    left.plot(efficiencies, np.sqrt(efficiencies), color="black", linewidth=0.8, label="random")
    left.set_xlabel(r"Signal efficiency $\varepsilon_S$", fontsize=11)
    left.set_ylabel(r"$\varepsilon_S / \sqrt{\varepsilon_B}$", fontsize=11)
    right.set_xlabel(f"Signal events among {background} of background", fontsize=11)
    right.set_ylabel(r"Maximum of $\varepsilon_S / \sqrt{\varepsilon_B}$", fontsize=11)
    left.set_ylim(bottom=0)
    right.set_ylim(bottom=0)
    left.legend(frameon=False, fontsize=9)
    if supervised:
        right.plot([], [], ":", color="black", linewidth=1.0, label="labelled signal")
        handles, names = right.get_legend_handles_labels()
        right.legend(handles[-1:], names[-1:], frameon=False, fontsize=9, loc="center left")
    ticks(left, right)
    return figure


def roc_figure(rejections: Mapping[str, Sequence[np.ndarray]], efficiencies: np.ndarray) -> Figure:
    """Draw background rejection 1 / ε_B against signal efficiency: model → (median, low, high)."""
    figure = Figure(figsize=(5.0, 4.0), layout="constrained")
    axes = figure.add_subplot()
    for number, (model, (median, low, high)) in enumerate(rejections.items()):
        colour = COLOURS[number % len(COLOURS)]
        style = LINE_STYLES[number % len(LINE_STYLES)]
        axes.fill_between(efficiencies, low, high, color=colour, alpha=0.25, linewidth=0)
        axes.plot(efficiencies, median, style, color=colour, linewidth=1.6, label=model)
    axes.plot(efficiencies, 1 / efficiencies, color="black", linewidth=0.8, label="random")
    axes.set_yscale("log")
    axes.set_xlabel(r"Signal efficiency $\varepsilon_S$", fontsize=11)
    axes.set_ylabel(r"Background rejection $1 / \varepsilon_B$", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    ticks(axes)
    return figure
