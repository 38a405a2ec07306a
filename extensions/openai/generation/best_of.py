"""The best of several candidates, as completions' `best_of` asks for."""

from __future__ import annotations

from dataclasses import replace

from .events import Event, Events


def best_of(events: Events, *, n: int, candidates: int) -> Events:
    """Yield only the `n` choices with the highest mean log-probability of each prompt's `candidates`.

    They come best first, with the indexes of a request without best_of. The tokens of all candidates
    count. No event comes before all candidates are complete.
    """
    kept: dict[int, list[Event]] = {}
    try:
        for event in events:
            if event is None:
                yield None
            else:
                kept.setdefault(event.index, []).append(event)
    finally:
        events.close()
    for prompt in range(len(kept) // candidates):
        choices = sorted(
            range(prompt * candidates, (prompt + 1) * candidates),
            key=lambda index: _mean_logprob(kept[index]),
            reverse=True,
        )
        for place, index in enumerate(choices):
            for event in kept[index]:
                if place < n:
                    yield replace(event, index=prompt * n + place)
                else:
                    # The tokens of rejected candidates are counted with a choice that is shown.
                    yield Event(prompt * n, tokens=event.tokens, prompt=event.prompt)


def _mean_logprob(events: list[Event]) -> float:
    logprobs = [
        token.logprob
        for event in events
        if not event.echo
        for token in event.logprobs
        if token.logprob is not None
    ]
    return sum(logprobs) / len(logprobs) if logprobs else float("-inf")
