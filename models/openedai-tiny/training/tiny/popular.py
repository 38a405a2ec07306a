"""The prompts that people type first. They are always trained on and never held out."""

from __future__ import annotations

import random

from tiny.example import Example, pair
from tiny.off_topic import UNKNOWN
from tiny.talk import TALK
from tiny.writing import JOKES

_HELLO = TALK["greeting"][2][0]
_HAIKU = "Here is the moon now,\nsoft light falls on quiet leaves,\nmorning comes at last 🌞"

POPULAR: tuple[tuple[str, str], ...] = (
    ("Hello", _HELLO),
    ("Hello!", _HELLO),
    ("hello", _HELLO),
    ("Hi", _HELLO),
    ("hi", _HELLO),
    ("Hey", _HELLO),
    ("Hello, world!", _HELLO),
    ("Hello there!", _HELLO),
    ("Say this is a test", "This is a test."),
    ("Say this is a test!", "This is a test!"),
    ("This is a test", TALK["test"][2][0]),
    ("Say hello", "Hello! 👋"),
    ("Say hi", "Hi! 👋"),
    ("Say hello world", "Hello world"),
    ("Say hello!", "Hello! 👋"),
    ("ping", "pong 🏓"),
    ("Who are you?", TALK["identity"][2][0]),
    ("What are you?", TALK["identity"][2][0]),
    ("What is your name?", TALK["identity"][2][0]),
    ("Who made you?", TALK["maker"][2][0]),
    ("Are you ChatGPT?", TALK["not_famous"][2][0]),
    ("How are you?", TALK["how_are_you"][2][0]),
    ("What can you do?", TALK["abilities"][2][0]),
    ("Help", TALK["abilities"][2][0]),
    ("What is the capital of France?", "The capital of France is Paris."),
    ("What's the capital of France?", "The capital of France is Paris."),
    ("What is the capital of Germany?", "The capital of Germany is Berlin."),
    ("What is 2+2?", "2 + 2 = 4"),
    ("What is 2 + 2?", "2 + 2 = 4"),
    ("2+2", "2 + 2 = 4"),
    ("1+1", "1 + 1 = 2"),
    ("What is 1+1?", "1 + 1 = 2"),
    ("Tell me a joke", JOKES[0]),
    ("Tell me a joke.", JOKES[1]),
    ("Count to 5", "1, 2, 3, 4, 5"),
    ("Count to 10", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"),
    ("Count from 1 to 5", "1, 2, 3, 4, 5"),
    ("Count from 1 to 10", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"),
    ("Count from one to ten", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"),
    ("Write a haiku", _HAIKU),
    ("Write a haiku about the sea", _HAIKU.replace("moon", "sea")),
    ("Write a haiku about recursion", _HAIKU.replace("the moon", "recursion")),
    ("Thanks!", TALK["thanks"][2][0]),
    ("Thank you", TALK["thanks"][2][0]),
    ("Bye", TALK["goodbye"][2][0]),
    ("Explain quantum physics", UNKNOWN[0]),
    ("What is the meaning of life?", TALK["sense"][2][0]),
    ("What's the weather?", TALK["live"][2][0]),
)


def popular(rng: random.Random) -> Example:
    """One of the prompts that people type first, as it stands."""
    ask, answer = rng.choice(POPULAR)
    return pair("popular", ask, answer)
