"""What all commands share: flags, one-line errors, argument types, optional packages."""

import argparse
import difflib
import errno
import functools
import importlib.util
import inspect
import io
import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from scripts.common.errors import ConfigError, ProjectError

RANK_WAIT = 30  # seconds that other processes than the first leave it to say what is wrong


def flags(add: Callable[[argparse.ArgumentParser], None]) -> Callable[[list[str] | None], argparse.Namespace]:
    """Turn a function that adds the flags of the command of its name into one that parses them.

    Its docstring is the text of the command's help; the first line is the command's line in the list of all.
    """

    @functools.wraps(add)
    def parse(argv: list[str] | None = None) -> argparse.Namespace:
        parser = argparse.ArgumentParser(
            prog=f"python -m scripts {add.__name__}",
            description=inspect.cleandoc(add.__doc__ or ""),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add(parser)
        return parser.parse_args(argv)

    return parse


def command(main: Callable[..., None]) -> Callable[..., None]:
    """Turn a user's error into one line on stderr and exit code 2 (130 after Ctrl-C).

    What the terminal cannot show of a file's name is printed as its escape.
    """

    @functools.wraps(main)
    def run(argv: list[str] | None = None) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            main(argv)
        except ProjectError as error:
            stop(2, str(error))
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            stop(1, "the reader of this output has gone")
        except OSError as error:
            stop(2, describe_os_error(error))
        except MemoryError as error:
            stop(2, f"not enough memory ({error}); close other programs, or give smaller settings or fewer files")
        except KeyboardInterrupt:
            stop(130, "stopped; run the same command again to go on")

    return run


def one_line_errors(shell: Any) -> None:
    """Make a notebook show a user's error as one line, too; as after any error, no cell runs after it.

    Parameters
    ----------
    shell : IPython's, as `get_ipython()` gives it.
    """

    def show(
        shell: Any, kind: type, error: ProjectError | OSError, traceback: Any, tb_offset: int | None = None
    ) -> None:
        message = str(error) if isinstance(error, ProjectError) else describe_os_error(error)
        print("error: " + " ".join(message.split()), file=sys.stderr)

    shell.set_custom_exc((ProjectError, OSError), show)


def stop(code: int, message: str) -> None:
    ranked = "TORCHELASTIC_RUN_ID" in os.environ  # started by torchrun, whose ranks as a rule fail alike
    if ranked and os.environ["RANK"] != "0":
        time.sleep(RANK_WAIT)
    print("error: " + " ".join(message.split()), file=sys.stderr)
    if ranked:  # where Python ends, threads of a process group that still stands can abort the process or hold it
        sys.stdout.flush()
        os._exit(code)
    raise SystemExit(code)


def describe_os_error(error: OSError) -> str:
    """One line for a file-system error: the file, what happened, what to do."""
    remedies = {
        "ENOSPC": "free some space or choose another folder; what was finished is kept",
        "EDQUOT": "free some space or choose another folder; what was finished is kept",
        "EACCES": "give yourself the right to it or choose another folder",
        "EPERM": "give yourself the right to it or choose another folder",
        "EROFS": "choose a folder that can be written to",
        "ENOENT": "check the path",
        "ENOTDIR": "check the path: a part of it is a file",
        "EISDIR": "give a file, not a folder",
    }
    name = errno.errorcode.get(error.errno or 0, "")
    return f"{error.filename or 'input/output'}: {error.strerror or error}; {remedies.get(name, 'check the path')}"


def positive_int(text: str) -> int:
    """argparse type: a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def positive_number(text: str) -> float:
    """argparse type: a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def pick(kind: str, name: str, known: Iterable[str]) -> str:
    """`name` if it is known; else a ConfigError that suggests the nearest known one."""
    known = list(known)
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"unknown {kind} {name!r}; {hint}known: {', '.join(known)}")


def require(*packages: str, what: str) -> None:
    """Raise a ConfigError if one of `packages`, which `what` needs, is missing; it gives the command to install it."""
    for package in packages:
        if importlib.util.find_spec(package.replace("-", "_")) is None:
            raise ConfigError(f"{what} needs the package {package}; install it: pip install {package}")
