"""The console command `jaxpriors`."""

import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from jaxpriors import processes
from jaxpriors.commands import data, port, setup
from jaxpriors.commands.anomaly import anomaly, template
from jaxpriors.commands.export import export
from jaxpriors.commands.generate import generate
from jaxpriors.commands.pretrain import pretrain
from jaxpriors.commands.report import report
from jaxpriors.commands.reweight import ratio, reweight
from jaxpriors.commands.tune import tune
from jaxpriors.commands.unfold import apply, unfold
from jaxpriors.errors import InputError
from jaxpriors.training import preemption
from jaxpriors.training.distributed import OPTIONS


def _data() -> None:
    """Public data sets; prepare, check, simulate and convert samples."""


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
        "list": data.data_list,
        "info": data.data_info,
        "prepare": data.data_prepare,
        "check": data.data_check,
        "simulate": data.data_simulate,
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
LAUNCH = """Commands that train also take --devices (a number, or all) and, for a run of several
processes that neither srun nor mpirun tells of each other, --coordinator HOST:PORT, --processes and
--process: docs/scaling.md."""
ALONE = (["data"], ["port"], ["tune"])  # they do not share their work out
INNER: dict[tuple[str, ...], Callable[..., int]] = {
    ("unfold", "apply"): apply,
    ("anomaly", "template"): template,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit.

    The code is 0, 1 (it failed), 2 (bad input), 75 (ended by SIGTERM, it can go on) or 130
    (interrupted).
    """
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run one command and give its exit code."""
    try:
        if arguments[:1] != ["data"]:  # whose --processes are its own
            arguments = with_launch(arguments)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    commands, program, alone = COMMANDS, "jaxpriors", arguments[:1] in ALONE
    if (command := INNER.get(tuple(arguments[:2]))) is not None:
        commands, program = {arguments[1]: command}, f"jaxpriors {arguments[0]}"
        arguments = arguments[1:]
    elif len(arguments) > 0 and arguments[0] in GROUPS:
        commands, program = GROUPS[arguments[0]], f"jaxpriors {arguments[0]}"
        arguments = arguments[1:]
    return guarded(
        lambda: tyro.extras.subcommand_cli_from_dict(
            commands,
            prog=program,
            description=LAUNCH if commands is COMMANDS else None,
            args=arguments or ["--help"],
        ),
        alone,
    )


def with_launch(arguments: list[str]) -> list[str]:
    """The arguments without the options of `training.distributed`, whose variables are set.

    Raises InputError for such an option without a value.
    """
    rest, left = [], iter(arguments)
    for argument in left:
        name, given, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or name not in OPTIONS:
            rest.append(argument)
            continue
        found = value if given else next(left, None)
        if found is None:
            raise InputError(f"{argument}: found nothing behind it, expected a value")
        os.environ[f"JAXPRIORS_{name.upper()}"] = found
    return rest


def guarded(command: Callable[[], int | None], alone: bool = False) -> int:
    """Run a command; errors that are the input's become one line, others keep their traceback.

    In a run of several processes, what ends one of them ends all. alone: refuse such a run.
    """
    watch, failed = None, False
    try:
        with preemption.heeded():
            watch = setup.begin(alone)
            code, message = command() or 0, ""
    except (InputError, OSError) as error:
        code, message, failed = 2, str(error), True
    except preemption.Preempted as notice:
        how = "the same command" if alone else "--resume"
        code, message = preemption.EXIT_CODE, f"ended by SIGTERM: {notice}; go on with {how}"
    except KeyboardInterrupt:
        code, message, failed = 130, "interrupted", True
    except SystemExit as error:  # of what cannot be parsed, by all processes alike
        if watch is None:
            raise
        code, message = int(error.code or 0), ""
    except BaseException as error:
        expected = isinstance(error, (FloatingPointError, RuntimeError))
        if watch is None and not expected:
            raise
        if watch is not None:
            time.sleep(3)  # what another one's end did to this one is told by the watch
        traceback.print_exc()
        code, message, failed = 1, str(error) if expected else repr(error), True
    if watch is not None and failed:
        watch.end(code, message)
    if message and (watch is None or processes.is_first()):
        print(f"error: {message}" if code in (1, 2) else message, file=sys.stderr)
    if watch is not None:
        watch.leave()
    return code
