"""Sentences, which are spoken one by one."""

from __future__ import annotations

from extensions.openai.engines.audio.voices import sentences


def test_sentences() -> None:
    text = 'Hello there. "How are you?" she said!\nFine… 3.5 times.  '
    assert sentences(text) == ["Hello there.", '"How are you?', "she said!", "Fine…", "3.5 times."]
    assert sentences(" \n ") == []
