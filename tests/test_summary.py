"""What a test run says on its last lines."""

from types import SimpleNamespace

import pytest

from tests.conftest import NO_BROWSER, pytest_terminal_summary


@pytest.mark.parametrize(
    ("reasons", "lines"),
    [([f"Skipped: {NO_BROWSER}: it is not there"] * 2 + ["Skipped: no GPU"], 1), (["Skipped: no GPU"], 0), ([], 0)],
)
def test_browser_tests_that_were_skipped_are_told_of(reasons: list[str], lines: int) -> None:
    said = []
    reports = [SimpleNamespace(longrepr=("tests/browser.py", 1, reason)) for reason in reasons]
    pytest_terminal_summary(
        SimpleNamespace(getreports=lambda kind: reports, write_line=lambda line, **how: said.append(line))
    )
    assert said == ["2 browser tests skipped: no Chromium; install it and run again"][:lines]
