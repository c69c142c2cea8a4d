"""The one exception that names a fault in what the user gave, and its one line."""


class InputError(ValueError):
    """Bad input: a file, column, argument or weight that cannot be used.

    The message names what was looked at, what was found and what is expected. The command line
    prints it without a traceback and exits with 2.

    >>> from jaxpriors import Events, InputError
    >>> try:
    ...     Events.from_columns({})
    ... except InputError as error:
    ...     print(error)
    columns: found none, expected at least one
    """


def one_line(error: BaseException, most: int = 300) -> str:
    """Write the message of another package's error in one line, of at most so many letters.

    >>> one_line(OSError("truncated" + chr(10) + "  file"))
    'truncated file'
    """
    return " ".join(str(error).split())[:most]
