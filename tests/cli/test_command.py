from __future__ import annotations

from .conftest import Run


def test_examples_are_shown_as_they_are_typed(run: Run) -> None:
    shown = run("completion", "--help").output
    assert (
        '\nExamples:\n  source <(bgproxy completion bash)\n  bgproxy completion zsh > "${fpath[1]}/_bgproxy"\n'
        in shown
    )
