"""Functions of a host get our wrapper once, however often it is asked for."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import wraps
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from extensions.openai.engines.webui.loaders import (
    exllamav3,
    llama_cpp_python,
    llama_server,
    transformers,
)
from extensions.openai.engines.webui.patching import is_wrapped, wrap_once


def counting(before: Any) -> Any:
    def wrapper(*args: Any) -> Any:
        return [*before(*args), "ours"]

    return wrapper


class Host:
    """What a host has."""

    def say(self) -> list[str]:
        return ["theirs"]


def test_the_wrapper_of_a_class_acts_once_in_all_its_objects() -> None:
    kind = type("Kind", (Host,), {"say": lambda self: ["theirs"]})
    before = kind()
    for _ in range(3):
        wrap_once(kind, "say", counting)
    assert before.say() == kind().say() == ["theirs", "ours"]


def test_the_wrapper_of_an_object_leaves_the_others_alone() -> None:
    one, other = Host(), Host()
    wrap_once(one, "say", counting)
    wrap_once(one, "say", counting)
    assert (one.say(), other.say()) == (["theirs", "ours"], ["theirs"])
    assert is_wrapped(one, "say") and not is_wrapped(other, "say")


def test_a_module() -> None:
    module = ModuleType("theirs")
    module.say = lambda: ["theirs"]  # type: ignore[attr-defined]
    wrap_once(module, "say", counting)
    wrap_once(module, "say", counting)
    assert module.say() == ["theirs", "ours"]


def test_one_that_is_inherited_is_there_already() -> None:
    kind = type("Kind", (Host,), {"say": lambda self: ["theirs"]})
    wrap_once(kind, "say", counting)
    below = type("Below", (kind,), {})
    wrap_once(below, "say", counting)
    assert below().say() == ["theirs", "ours"]


def test_a_wrapper_of_another_extension_around_ours_is_seen_through_where_it_says_so() -> None:
    one = Host()
    wrap_once(one, "say", counting)
    ours = one.say

    @wraps(ours)
    def theirs() -> list[str]:
        return [*ours(), "another's"]

    one.say = theirs  # type: ignore[method-assign]
    wrap_once(one, "say", counting)
    assert one.say() == ["theirs", "ours", "another's"]


def test_what_has_any_attribute_is_not_taken_for_ours() -> None:
    host = SimpleNamespace(say=Mock(return_value=["theirs"]))
    wrap_once(host, "say", counting)
    assert host.say() == ["theirs", "ours"]


def test_a_function_that_a_host_replaces_is_wrapped_again() -> None:
    one = Host()
    wrap_once(one, "say", counting)
    one.say = lambda: ["new"]  # type: ignore[method-assign]
    wrap_once(one, "say", counting)
    assert one.say() == ["new", "ours"]


def test_many_threads_at_once_wrap_it_once() -> None:
    start, one = threading.Barrier(8), Host()

    def slowly(before: Any) -> Any:
        threading.Event().wait(0.02)
        return counting(before)

    def wrap() -> None:
        start.wait()
        wrap_once(one, "say", slowly)

    threads = [threading.Thread(target=wrap) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert one.say() == ["theirs", "ours"]


class Model:
    """A host's model, as far as it is wrapped."""

    def generate(self, **options: Any) -> Any:
        return options

    def generate_with_streaming(self, prompt: str, state: dict[str, Any]) -> Any:
        yield prompt

    def create_completion(self, *args: Any, **options: Any) -> Any:
        return options


def job(**options: Any) -> dict[str, Any]:
    return options


WRAPPED: list[tuple[Callable[[Any], None], bool, str]] = [
    (transformers.wrap_generate, False, "generate"),
    (exllamav3.wrap_model, False, "generate_with_streaming"),
    (llama_server.wrap_class, True, "generate_with_streaming"),
    (llama_cpp_python.wrap_class, True, "create_completion"),
]


@pytest.mark.parametrize(("wrap", "of_class", "name"), WRAPPED)
def test_what_each_adapter_wraps_is_wrapped_once(
    wrap: Callable[[Any], None], of_class: bool, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "Job", job, raising=False)
    kind = type("Kind", (Model,), {"__module__": __name__})
    target = kind if of_class else kind()
    wrap(target)
    wrapped, made = getattr(target, name), sys.modules[__name__].Job
    assert is_wrapped(target, name) and not is_wrapped(Model, name)
    wrap(target)
    assert getattr(target, name) == wrapped
    assert sys.modules[__name__].Job is made
    assert (made is job) == (wrap is not exllamav3.wrap_model)
    assert made(max_new_tokens=3) == {"max_new_tokens": 3}  # what is not ours is passed on
    model = kind() if of_class else target
    if name == "generate_with_streaming":
        assert list(model.generate_with_streaming("Hello", {"max_new_tokens": 3})) == ["Hello"]
    else:
        assert getattr(model, name)(max_tokens=3) == {"max_tokens": 3}
