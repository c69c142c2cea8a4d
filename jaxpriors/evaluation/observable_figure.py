"""The figure of observables in data, simulation and reweighted simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxpriors.errors import InputError
from jaxpriors.evaluation.figures import COLOURS, LINE_STYLES, ticks
from jaxpriors.evaluation.histograms import Histogram, binned, outside
from jaxpriors.evaluation.observables import OBSERVABLES, Observable

SIMULATION_FILL, SIMULATION_EDGE, BAND = "#DDDDDD", "#888888", "#BBBBBB"
RATIO_SPANS = (0.1, 0.2, 0.4, 0.8)  # half the height of a ratio panel
RATIO_PRECISION = 0.2  # ratios are drawn where the relative error of the data is below this
TITLE = 0.12  # height of the titles of the first row, inches


def observable_figure(
    data: Mapping[str, np.ndarray],
    simulation: Mapping[str, np.ndarray],
    models: Mapping[str, np.ndarray | Mapping[str, np.ndarray]],
    *,
    data_weights: np.ndarray | None = None,
    simulation_weights: np.ndarray | None = None,
    observables: Sequence[Observable] = tuple(OBSERVABLES.values()),
    trainings: Mapping[str, np.ndarray] | None = None,
    data_label: str = "Data",
    simulation_label: str = "Simulation",
) -> Figure:
    """Draw observables in data, simulation and reweighted simulation, as 2603.08802, Figure 1.

    data and simulation: observable → values (n,), (m,); models: name → the complete weights (m,)
    of the simulation's events, or observable → such weights. Each panel holds the densities over a
    ratio to the data: points and band are the data's statistical error, the bars of a model are
    sqrt(Σw²) of its weights. Ratios are left out where the data's relative error exceeds
    RATIO_PRECISION. A panel's title tells the shares of data and simulation, by their own weights,
    that lie outside of it. A sample whose weights within the range have no positive sum is not
    drawn there; a panel says so where it is the data. trainings: model → (k, m) such weights by
    each of its k trainings, whose spread (the standard deviation of the densities) is a band around
    the model's ratio.

    Raises InputError for an observable that is missing and for values that are not finite.
    """
    missing = [o.name for o in observables if o.name not in data or o.name not in simulation]
    if missing:
        raise InputError(
            f"figure of observables: {missing} not found; data has {sorted(data)}, simulation has "
            f"{sorted(simulation)}"
        )
    columns = 2 if len(observables) == 4 else min(3, len(observables))
    rows = -(-len(observables) // columns)
    entries = 2 * columns  # in a line of the legend
    head = 0.25 + 0.25 * -(-(len(models) + 2) // entries)  # inches
    figure = Figure(figsize=(3.9 * columns, 3.7 * rows + head + TITLE - 0.1))
    top = 1 - (head + TITLE) / figure.get_figheight()
    outer = figure.add_gridspec(
        rows,
        columns,
        left=0.7 / figure.get_figwidth(),
        right=1 - 0.12 / figure.get_figwidth(),
        bottom=0.55 / figure.get_figheight(),
        top=top,
        wspace=0.26,
        hspace=0.2,
    )
    for place, observable in enumerate(observables):
        inner = outer[place // columns, place % columns].subgridspec(
            2, 1, height_ratios=(2.6, 1), hspace=0.06
        )
        main = figure.add_subplot(inner[0])
        ratio = figure.add_subplot(inner[1], sharex=main)
        name, edges = observable.name, observable.edges
        filled = {
            label: binned(
                simulation[name],
                edges,
                weights[name] if isinstance(weights, Mapping) else weights,
            )
            for label, weights in ((simulation_label, simulation_weights), *models.items())
        }
        of_data = binned(data[name], edges, data_weights)
        each = {
            label: [binned(simulation[name], edges, weights) for weights in some]
            for label, some in (trainings or {}).items()
        }
        spreads = {
            label: np.std([h.density(edges)[0] for h in some], axis=0, ddof=1)
            for label, some in each.items()
            if len(some) > 1 and all(h.usable for h in some)
        }
        _panel(main, ratio, observable, of_data, filled, data_label, spreads)
        shares = {
            data_label: outside(data[name], edges, data_weights),
            simulation_label: outside(simulation[name], edges, simulation_weights),
        }
        main.set_title(_told(shares), fontsize=7, loc="right", pad=2)
        if place % columns == 0:
            ratio.set_ylabel("Ratio", fontsize=11)
    handles: dict[str, Any] = {}
    for axes in figure.axes[::2]:
        handles = dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True)) | handles
    labels = [x for x in (data_label, simulation_label, *models) if x in handles]
    if not labels:
        return figure
    figure.legend(
        [handles[label] for label in labels],
        labels,
        loc="lower center",
        bbox_to_anchor=(0.5, 1 - head / figure.get_figheight()),
        ncols=min(len(labels), entries),
        frameon=False,
        fontsize=11,
    )
    return figure


def _panel(
    main: Axes,
    ratio: Axes,
    observable: Observable,
    data: Histogram,
    samples: Mapping[str, Histogram],
    data_label: str,
    spreads: Mapping[str, np.ndarray],
) -> None:
    """Draw densities in `main` and ratios in `ratio`; the first sample is the unweighted one."""
    edges = observable.edges
    if data.content.sum() > 0:
        _curves(main, ratio, edges, data, samples, data_label, spreads)
    else:
        main.text(0.5, 0.5, f"{data_label}: none here", ha="center", transform=main.transAxes)
    unit = f" [{observable.unit}]" if observable.unit else ""
    ratio.set_xlabel(f"{observable.label}{unit}", fontsize=11)
    main.set_ylabel(f"Density{f' [1/{observable.unit}]' if unit else ''}", fontsize=11)
    main.set_xlim(edges[0], edges[-1])
    main.tick_params(labelbottom=False)
    ticks(main, ratio)
    for axes in (main, ratio):
        axes.yaxis.set_label_coords(-0.165, 0.5)


def _curves(
    main: Axes,
    ratio: Axes,
    edges: np.ndarray,
    data: Histogram,
    samples: Mapping[str, Histogram],
    data_label: str,
    spreads: Mapping[str, np.ndarray],
) -> None:
    """Draw densities and ratios of what has a positive sum, and choose the heights."""
    centres, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
    density, error = data.density(edges)
    filled = density > 0
    main.errorbar(
        centres[filled],
        density[filled],
        yerr=error[filled],
        fmt="o",
        color="black",
        markersize=3.5,
        linewidth=1.0,
        label=data_label,
        zorder=10,
    )
    relative = _divide(error, density)
    ratio.stairs(1 + relative, edges, baseline=1 - relative, fill=True, color=BAND)
    ratio.axhline(1.0, color="black", linewidth=0.8)
    known = np.where(relative < RATIO_PRECISION, density, 0.0)
    ratios = []
    for number, (label, sample) in enumerate(samples.items()):
        if not sample.content.sum() > 0:
            continue
        sample_density, sample_error = sample.density(edges)
        to_data, to_data_error = _divide(sample_density, known), _divide(sample_error, known)
        if number == 0:
            main.stairs(
                sample_density, edges, fill=True, facecolor=SIMULATION_FILL,
                edgecolor=SIMULATION_EDGE, linewidth=1.2, label=label,
            )  # fmt: skip
            colour, style = SIMULATION_EDGE, "-"
        else:
            colour = COLOURS[(number - 1) % len(COLOURS)]
            style = LINE_STYLES[(number - 1) % len(LINE_STYLES)]
            main.stairs(
                sample_density, edges, color=colour, linestyle=style, linewidth=1.6, label=label,
                zorder=5 + number / len(samples),
            )  # fmt: skip
        ratio.stairs(to_data, edges, baseline=None, color=colour, linestyle=style, linewidth=1.3)
        if label in spreads:
            half_band = _divide(spreads[label], known)
            ratio.stairs(to_data + half_band, edges, baseline=to_data - half_band, fill=True,
                         color=colour, alpha=0.25, linewidth=0)  # fmt: skip
        # The bars of the samples stand side by side within the bin.
        shift = half * 0.9 * ((number + 0.5) / len(samples) - 0.5)
        ratio.errorbar(
            centres + shift, to_data, yerr=to_data_error, fmt="none", ecolor=colour, linewidth=1.0
        )
        ratios.append(to_data[relative < 0.1])
    main.set_ylim(0, 1.12 * main.dataLim.ymax)
    found = np.concatenate([np.zeros(0), *ratios])
    deviations = np.abs(found[np.isfinite(found)] - 1)
    wanted = np.quantile(deviations, 0.95) if len(deviations) else 0.0  # all but a twentieth
    span = next((span for span in RATIO_SPANS if span > wanted), RATIO_SPANS[-1])
    ratio.set_ylim(1 - span, 1 + span)
    ratio.set_yticks([1 - span / 2, 1, 1 + span / 2])


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Divide a by b; NaN, which is not drawn, where the data's b is empty."""
    return np.divide(a, b, out=np.full_like(a, np.nan), where=b > 0)


def _told(shares: Mapping[str, tuple[float, float]]) -> str:
    """Say which shares of the samples, (below, above), are outside; nothing where none is."""
    if not any(map(any, shares.values())):
        return ""
    each = [f"{sample} {low:.1%}, {high:.1%}" for sample, (low, high) in shares.items()]
    return f"below, above: {'; '.join(each)}"
