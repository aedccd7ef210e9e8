"""What ``make faults`` says at its end: how often it tried, and what was lost."""

from collections import Counter
from typing import Any

# By folder or file; in the order of the page docs/reliability.md.
KINDS = {
    "tests/faults/input/": "bad input: one line, exit code 2, nothing else changed",
    "tests/faults/readers/": "readers of files, most against 150 random or changed files each",
    "tests/faults/security/": "foreign code: refused, none of it executed",
    "tests/faults/test_": "processes killed, files damaged, disks full or read-only, by sweep",
}


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print cases and failures of each kind."""
    counts: Counter[tuple[str, str]] = Counter()
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            for beginning, kind in KINDS.items():
                if report.nodeid.startswith(beginning):
                    counts[kind, outcome] += 1
    terminalreporter.section("faults")
    for kind in KINDS.values():
        broken = counts[kind, "failed"] + counts[kind, "error"]
        tried = counts[kind, "passed"] + broken
        skipped = f", {counts[kind, 'skipped']} skipped" if counts[kind, "skipped"] else ""
        terminalreporter.write_line(f"{kind}: {tried} cases, {broken} not survived{skipped}")
    if not any(outcome in ("failed", "error") and count for (_, outcome), count in counts.items()):
        terminalreporter.write_line(
            "Bytes lost: 0 (compared after each case of bad input, and after each fault of a sweep)"
        )
