"""Which prompts are being read, so that others that begin alike wait for it instead of reading the same."""

from __future__ import annotations

import threading

from .prompt import Prompt, shared_length

LEAST_SHARED = 256
"""Tokens that two prompts must share for one to wait for the other."""


class Reading:
    """A prompt that is being read. Its reader is one thread; others follow it."""

    def __init__(self, readings: Readings, prompt: Prompt) -> None:
        self.prompt = prompt
        self.position = 0
        """How many tokens are read."""
        self._readings = readings
        self._followers: list[Follower] = []

    @property
    def wanted(self) -> int:
        """How many tokens those that follow wait for, at least; 0: none follow."""
        return min((follower.wanted for follower in self._followers), default=0)

    def published(self) -> None:
        """A copy of what is wanted can be had: all that follow go on. Those that share more follow again."""
        self._readings.publish(self)

    def close(self) -> None:
        """It is over: none follow any more."""
        self._readings.close(self)

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Follower:
    """Waits for a reading. Leaving the `with` block leaves it."""

    def __init__(self, readings: Readings, reading: Reading, wanted: int) -> None:
        self.wanted = wanted
        self.done = threading.Event()
        self._readings, self._reading = readings, reading

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self._readings.leave(self._reading, self)


class Readings:
    """The readings of one engine. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readings: list[Reading] = []
        self.published = 0
        """How often a copy was published."""

    @property
    def following(self) -> int:
        """How many wait for readings."""
        with self._lock:
            return sum(len(reading._followers) for reading in self._readings)

    def join(
        self, prompt: Prompt, known: int, least: int, published: int
    ) -> Reading | Follower | None:
        """Follow the reading that shares the most with a prompt, if `least` tokens more than `known`;
        otherwise begin one. None: more than `published` copies are there by now, so more may be known."""
        with self._lock:
            best, most = None, known + least - 1
            for reading in self._readings:
                if reading.prompt.space != prompt.space:
                    continue
                # The last token is computed by each: the answer begins with what comes of it.
                shared = min(shared_length(reading.prompt.ids, prompt.ids), len(prompt.ids) - 1)
                if shared > most:
                    best, most = reading, shared
            if best is None:
                if self.published > published:
                    return None
                started = Reading(self, prompt)
                self._readings.append(started)
                return started
            follower = Follower(self, best, most)
            best._followers.append(follower)
            return follower

    def publish(self, reading: Reading) -> None:
        with self._lock:
            self.published += 1
        self.release(reading)

    def release(self, reading: Reading) -> None:
        with self._lock:
            for follower in reading._followers:
                follower.done.set()
            reading._followers.clear()

    def leave(self, reading: Reading, follower: Follower) -> None:
        with self._lock:
            if follower in reading._followers:
                reading._followers.remove(follower)

    def close(self, reading: Reading) -> None:
        with self._lock:
            if reading in self._readings:
                self._readings.remove(reading)
        self.release(reading)
