"""How much sooner a fine-tuned PET learns than one from scratch (arXiv:2404.16091, Section 4).

    python -m experiments.finetuning quick --out runs/finetuning

For each seed, both networks are trained on the same events, in the same order, for the same number
of epochs. What counts is after how many epochs the fine-tuned network's validation loss is at or
below the smallest one that the network from scratch ever has.
"""

import dataclasses
from pathlib import Path
from typing import Any

import tyro

from jaxpriors.cli import guarded
from jaxpriors.commands.reweight import classifier

MODELS = ("pet", "pet-finetuned")


def quick(
    out: Path,
    seeds: int = 5,
    epochs: int = 6,
    pretrained: Path | None = None,
    resume: bool = False,
) -> int:
    """Small networks on the sample inside the package, two settings of Pythia, for two cores.

    Args:
        out: folder of the run; must not exist, unless --resume.
        seeds: trainings of each network: other weights and another order of events.
        epochs: of every training.
        pretrained: weights to start from; otherwise those in this package.
        resume: go on with the run in the folder.
    """
    from jaxpriors.commands.chunks import begun, multiplicity, with_chunks
    from jaxpriors.commands.progress import Display
    from jaxpriors.commands.setup import use_all_cores, use_compilation_cache
    from jaxpriors.data.samples import zjets
    from jaxpriors.errors import InputError
    from jaxpriors.evaluation.plots import save_figure, seeds_figure
    from jaxpriors.methods.reweighting import Reweighting, prepare
    from jaxpriors.training.runs import environment, open_run, write_json

    if seeds < 1:
        raise InputError(f"seeds: found {seeds}, expected at least 1")
    use_all_cores()
    use_compilation_cache()
    classifiers = {
        (model, seed): classifier(
            model,
            "small",
            seed,
            pretrained=pretrained if model == "pet-finetuned" else None,
            epochs=epochs,
        )
        for seed in range(seeds)
        for model in MODELS
    }
    losses: dict[tuple[str, int], list[float]] = {}
    with Display() as display:
        simulation, data = zjets("simulation", "detector"), zjets("data", "detector")
        prepared = prepare(simulation, data, Reweighting((classifiers["pet", 0],)))
        lengths = multiplicity(*prepared.part("train"))
        classifiers = {
            which: with_chunks(one, lengths, begun(out, "trainings", i, "training"), display)
            for i, (which, one) in enumerate(classifiers.items())
        }
        config = {"trainings": [dataclasses.asdict(c) for c in classifiers.values()]}
        open_run(out, config, resume)
        for (model, seed), one in classifiers.items():
            name = f"{model}-{seed}"
            display({"stage": f"training {name}"})

            def show(record: dict[str, Any], name: str = name) -> None:
                display({"model": name, **record})

            _, trained = one.fit_with_history(
                *prepared.part("train"),
                prepared.part("validation"),
                out / "checkpoints" / name,
                show,
            )
            losses[model, seed] = [r["validation_loss"] for r in trained.history]
    rows = [compare(seed, *(losses[model, seed] for model in MODELS)) for seed in range(seeds)]
    (out / "figures").mkdir(exist_ok=True)
    curves = {m: [losses[m, seed] for seed in range(seeds)] for m in MODELS}
    save_figure(seeds_figure(curves), out / "figures" / "training")
    write_json(out / "metrics.json", {"finetuning": rows, "environment": environment()})
    print(table(rows))
    return 0


def compare(seed: int, scratch: list[float], finetuned: list[float]) -> dict[str, Any]:
    """One row of the comparison of validation losses after each epoch.

    ``reached``: the first epoch at which the fine-tuned network is at or below the best loss from
    scratch, None if it never is. Epochs count from 1.
    """
    reached = [i for i, loss in enumerate(finetuned, 1) if loss <= min(scratch)]
    return {
        "seed": seed,
        "scratch": scratch,
        "finetuned": finetuned,
        "scratch_best_epoch": 1 + scratch.index(min(scratch)),
        "finetuned_best_epoch": 1 + finetuned.index(min(finetuned)),
        "reached": reached[0] if reached else None,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text: the best losses with their epochs, and when the first was reached."""
    lines = ["seed  from scratch (epoch)  fine-tuned (epoch)  reached after epoch"]
    for row in rows:
        best = [
            f"{min(row[name]):.5f} ({row[f'{name}_best_epoch']})"
            for name in ("scratch", "finetuned")
        ]
        reached = row["reached"] or "never"
        lines.append(f"{row['seed']:>4}  {best[0]:>20}  {best[1]:>18}  {reached:>19}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(guarded(lambda: tyro.extras.subcommand_cli_from_dict({"quick": quick})))
