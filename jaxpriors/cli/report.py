"""`jaxpriors report`."""

from pathlib import Path


def report(run: Path, /) -> int:
    """Print the tables of a finished run of any command, or of a study of `experiments`.

    Args:
        run: folder of the run.
    """
    from jaxpriors.errors import InputError
    from jaxpriors.report.tables import tables
    from jaxpriors.run.storage import read_json

    path = run / "metrics.json"
    metrics = read_json(path)
    try:
        text = tables(metrics)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    print(text)
    return 0
