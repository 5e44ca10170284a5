"""What a person sees of a run: a bar while it goes on, and the sum of the replies."""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ingest.replaying.sending import Outcome, Sender

#: Refusals that are shown in full.
_EXAMPLES = 3


class Tally:
    """Counts the answers, and keeps the first refusals."""

    def __init__(self) -> None:
        self.words: Counter[str] = Counter()
        self.refused = 0
        self.examples: list[Outcome] = []

    def add(self, outcome: Outcome) -> None:
        """Count one answer."""
        self.words[outcome.word] += 1
        if not outcome.is_taken:
            self.refused += 1
            if len(self.examples) < _EXAMPLES:
                self.examples.append(outcome)

    def summary(self, *, retries: int, elapsed_s: float) -> dict[str, Any]:
        """Return the counts as they are printed."""
        sent = self.words.total()
        others = {
            word: count
            for word, count in sorted(self.words.items())
            if word not in ("accepted", "duplicate")
        }
        return {
            "sent": sent,
            "accepted": self.words["accepted"],
            "duplicate": self.words["duplicate"],
            "refused": others,
            "retried": retries,
            "seconds": round(elapsed_s, 2),
            "per_second": round(sent / elapsed_s, 1) if elapsed_s else 0.0,
        }


def follow(
    outcomes: Iterable[Outcome], sender: Sender, *, total: int | None, title: str
) -> Tally:
    """Count the answers as they come, behind a bar on standard error."""
    tally = Tally()
    with _bar() as bar:
        task = bar.add_task(title, total=total, note="")
        try:
            for outcome in outcomes:
                tally.add(outcome)
                bar.update(task, advance=1, note=_note(tally, sender))
        except KeyboardInterrupt:
            bar.update(task, note="stopped")
    return tally


def _bar() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


def _note(tally: Tally, sender: Sender) -> str:
    notes = [f"{tally.words['duplicate']} duplicate"]
    if tally.refused:
        notes.append(f"{tally.refused} refused")
    if sender.retries:
        notes.append(f"{sender.retries} tried again")
    return ", ".join(notes)


def text(summary: dict[str, Any], examples: Iterable[Outcome]) -> str:
    """Return the summary for people."""
    lines = [
        f"{summary['sent']} callbacks answered in {summary['seconds']} s "
        f"({summary['per_second']}/s)",
        f"  202 accepted   {summary['accepted']}",
        f"  200 duplicate  {summary['duplicate']}",
        *(f"  refused        {n} {code}" for code, n in summary["refused"].items()),
    ]
    if summary["retried"]:
        lines.append(f"  tried again    {summary['retried']} (no answer, 429 or 5xx)")
    lines += [
        f"  {item.posting.transaction_id}: {item.status} {item.word}. {item.detail}"
        for item in examples
    ]
    return "\n".join(lines)


def as_json(summary: dict[str, Any]) -> str:
    """Return the summary for scripts."""
    return json.dumps(summary)
