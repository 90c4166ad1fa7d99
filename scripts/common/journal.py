"""Text files that grow line by line: a kill cuts the last line, and the next process goes on before that."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.common.storage import TABLE_TEXT


def whole_lines(path: Path) -> str:
    """The text of a file up to its last line break; "" if there is no file.

    A cell of a CSV may hold line breaks, and so its last row may still be cut: it has too few cells.
    """
    if not path.exists():
        return ""
    with open(path, **TABLE_TEXT) as file:
        text = file.read()
    return text[: text.rfind("\n") + 1]


@contextmanager
def appending(path: Path) -> Iterator[Callable[[str], None]]:
    """Yield what adds text to the end of a file, at once; a last line that is cut is taken away first."""
    whole = whole_lines(path).encode(TABLE_TEXT["encoding"], TABLE_TEXT["errors"])
    with open(path, "a", **TABLE_TEXT) as file:
        file.truncate(len(whole))

        def append(text: str) -> None:
            file.write(text)
            file.flush()

        yield append
