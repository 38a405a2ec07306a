"""An example: finds notes that fit a conversation and adds them to its history, as if they had been said.

It runs in text-generation-webui and in our own host, there and here on the UI and through the API. The
notes come from the settings file, each under the word that it is found by; the one under `""` always fits:
`example_notes-notes: {"": The code is 4711., Rome: I went to Rome in May.}`
"""

from typing import Any

params: dict[str, Any] = {
    "display_name": "Notes",
    "is_tab": False,
    "notes": {"": "The code is 4711.", "Rome": "I went to Rome in May."},
    "answer": "I will remember that.",
}

History = dict[str, Any]
"""`internal` (what the model reads) and `visible` (what the UI shows): lists of pairs, user and model."""


def history_modifier(history: History) -> History:
    """The history with the notes in front that fit it and are not in it yet."""
    questions = [turn[0] for turn in history["internal"]]
    found = [
        [note, params["answer"]] for note in retrieve(" ".join(questions)) if note not in questions
    ]
    return {**history, **{kind: found + list(history[kind]) for kind in ("internal", "visible")}}


def retrieve(text: str) -> list[str]:
    """The notes whose word stands in a text."""
    notes: dict[str, str] = params["notes"]
    return [note for word, note in notes.items() if word.lower() in text.lower()]
