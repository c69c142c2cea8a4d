"""The console command `jaxpriors`."""

import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from jaxpriors.commands import data, port
from jaxpriors.commands.anomaly import anomaly, template
from jaxpriors.commands.export import export
from jaxpriors.commands.generate import generate
from jaxpriors.commands.pretrain import pretrain
from jaxpriors.commands.report import report
from jaxpriors.commands.reweight import ratio, reweight
from jaxpriors.commands.tune import tune
from jaxpriors.commands.unfold import apply, unfold
from jaxpriors.errors import InputError


def _data() -> None:
    """Simulate, inspect and convert samples."""


def _port() -> None:
    """Import, inspect, export and verify weights of other packages."""


COMMANDS: dict[str, Callable[..., Any]] = {
    "anomaly": anomaly,
    "data": _data,
    "export": export,
    "generate": generate,
    "port": _port,
    "pretrain": pretrain,
    "ratio": ratio,
    "report": report,
    "reweight": reweight,
    "tune": tune,
    "unfold": unfold,
}
GROUPS: dict[str, dict[str, Callable[..., int]]] = {
    "data": {
        "simulate": data.data_simulate,
        "inspect": data.data_inspect,
        "convert": data.data_convert,
    },
    "port": {
        "lgatr": port.port_lgatr,
        "omnilearn": port.port_omnilearn,
        "inspect": port.port_inspect,
        "export": port.port_export,
        "verify": port.port_verify,
    },
}
INNER: dict[tuple[str, ...], Callable[..., int]] = {
    ("unfold", "apply"): apply,
    ("anomaly", "template"): template,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exits with 0, 1 (it failed), 2 (bad input) or 130 (interrupted)."""
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run one command and give its exit code."""
    commands, program = COMMANDS, "jaxpriors"
    if (command := INNER.get(tuple(arguments[:2]))) is not None:
        commands, program = {arguments[1]: command}, f"jaxpriors {arguments[0]}"
        arguments = arguments[1:]
    elif len(arguments) > 0 and arguments[0] in GROUPS:
        commands, program = GROUPS[arguments[0]], f"jaxpriors {arguments[0]}"
        arguments = arguments[1:]
    return guarded(
        lambda: tyro.extras.subcommand_cli_from_dict(
            commands, prog=program, args=arguments or ["--help"]
        )
    )


def guarded(command: Callable[[], int | None]) -> int:
    """Run a command; errors that are the input's become one line, others keep their traceback."""
    try:
        return command() or 0
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (FloatingPointError, RuntimeError) as error:
        traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return 1
