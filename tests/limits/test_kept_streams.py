"""Streams that can be resumed: how many bytes of each owner's, and how long."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from extensions.openai.errors import StreamInUse
from extensions.openai.limits.kept_streams import STREAM_OVERHEAD_BYTES, KeptStreams


@dataclass
class Stream:
    size: int = 0
    is_over: bool = False


MOST = 1 << 20


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def end(streams: KeptStreams[Stream], owner: str, id: str, stream: Stream, **how: float) -> None:
    stream.is_over = True
    streams.keep(owner, id, stream, seconds=how.get("seconds", 60), most=int(how.get("most", MOST)))


def test_each_owner_has_its_own() -> None:
    streams, stream = KeptStreams[Stream](), Stream()
    streams.add("a", "s", stream)
    assert streams.find("a", "s") is stream and streams.find("b", "s") is None
    streams.add("b", "s", Stream())
    assert streams.find("a", "s") is stream and list(streams.of("a")) == ["s"]


def test_one_under_way_keeps_its_name() -> None:
    streams, first, second = KeptStreams[Stream](), Stream(), Stream()
    streams.add("a", "s", first)
    with pytest.raises(StreamInUse):
        streams.add("a", "s", second)
    end(streams, "a", "s", first)
    streams.add("a", "s", second)
    assert streams.find("a", "s") is second
    end(streams, "a", "s", first)  # the replaced one has no say any more
    streams.forget("a", "s", first)
    assert streams.find("a", "s") is second


def test_the_latest_is_first() -> None:
    streams = KeptStreams[Stream]()
    for id in "xyz":
        streams.add("a", id, Stream())
    assert list(streams.of("a")) == ["z", "y", "x"]


def test_an_ended_one_is_kept_for_a_time() -> None:
    clock = Clock()
    streams, ended, running = KeptStreams[Stream](clock), Stream(), Stream()
    streams.add("a", "ended", ended)
    streams.add("a", "running", running)
    end(streams, "a", "ended", ended, seconds=1000)
    clock.now = 999.0
    assert streams.find("a", "ended") is ended
    clock.now = 1000.0
    assert streams.find("a", "ended") is None and streams.find("a", "running") is running


def test_it_is_dropped_though_no_request_comes() -> None:
    streams, stream = KeptStreams[Stream](), Stream()
    streams.add("a", "s", stream)
    end(streams, "a", "s", stream, seconds=0.01)
    deadline = time.monotonic() + 30
    while len(streams):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_oldest_ended_ones_make_room() -> None:
    streams, each = KeptStreams[Stream](), STREAM_OVERHEAD_BYTES + 1000
    made = {id: Stream(1000) for id in ("running", "old", "new", "last")}
    for id, stream in made.items():
        streams.add("a", id, stream)
    other = Stream(1000)
    streams.add("b", "other", other)
    end(streams, "b", "other", other)
    for id in ("old", "new"):
        end(streams, "a", id, made[id])
    assert list(streams.of("a")) == ["last", "new", "old", "running"]
    end(streams, "a", "last", made["last"], most=3 * each)
    assert list(streams.of("a")) == ["last", "new", "running"]
    end(streams, "a", "last", made["last"], most=1)
    assert list(streams.of("a")) == ["last", "running"]
    assert streams.find("b", "other") is other
