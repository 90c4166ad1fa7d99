"""Tables in Markdown, and what stands in their cells."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def markdown_table(rows: list[dict[str, str]]) -> str:
    """Rows of the same columns, aligned."""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines
    )


def mean_and_deviation(values: Sequence[float]) -> str:
    """Their mean and, of two or more, their standard deviation (n - 1), such as "0.812 ± 0.010"."""
    deviation = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{deviation}"


def with_interval(row: pd.Series, score: str, form: str = ".3f") -> str:
    """A score and, where the row has them, <score>_low and <score>_high, such as "0.812 (0.790-0.833)"."""
    if f"{score}_low" not in row:
        return f"{row[score]:{form}}"
    between = " to " if "+" in form else "-"
    return f"{row[score]:{form}} ({row[f'{score}_low']:{form}}{between}{row[f'{score}_high']:{form}})"
