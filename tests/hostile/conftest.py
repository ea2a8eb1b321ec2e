"""Counts the generated hostile inputs, and says at the end how many there were."""

from __future__ import annotations

from collections import Counter

import pytest

_TRIED = pytest.StashKey[Counter[str]]()


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Counter[str]:
    """Outcomes of all generated inputs of the session, to be added to."""
    return request.config.stash.setdefault(_TRIED, Counter())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    counts = config.stash.get(_TRIED, None)
    if counts:
        told = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
        terminalreporter.write_line(f"{counts.total()} generated hostile inputs: {told}")
