"""Options: where they come from, which one wins, and how a wrong one is told."""

from __future__ import annotations

import argparse

import pytest

from extensions.openai.configuration.flags import add_arguments, sections
from extensions.openai.configuration.sources import load
from extensions.openai.settings import SECTIONS, Settings, SettingsError


def flags(*arguments: str) -> dict[str, object]:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return vars(parser.parse_args(arguments))


def test_defaults_are_safe() -> None:
    settings = load({}, {})
    assert settings.api_port == 5001
    assert not settings.listen and not settings.public_api and settings.listen_host is None
    assert settings.model_aliases == ("gpt-3.5-turbo",)
    assert settings.keep_alive == 10


def test_later_wins_default_file_environment_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load({"api_port": 1001}, {}).api_port == 1001
    monkeypatch.setenv("OPENEDAI_API_PORT", "1002")
    assert load({"api_port": 1001}, {}).api_port == 1002
    assert load({"api_port": 1001}, flags("--api-port", "1003")).api_port == 1003


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("OPENEDAI_API_PORT", "7001", "api_port", 7001),
        ("OPENEDAI_PORT", "7002", "api_port", 7002),
        ("OPENEDAI_DEBUG", "1", "debug", True),
        ("OPENEDAI_DEBUG", "0", "debug", False),
        ("OPENEDAI_LISTEN", "false", "listen", False),
        ("OPENEDAI_KEEP_ALIVE", "2.5", "keep_alive", 2.5),
        ("OPENEDAI_MODEL_ALIASES", "none, a, b ,,c", "model_aliases", ("a", "b", "c")),
        ("OPENEDAI_CORS_ORIGINS", "https://a.example", "cors_origins", ("https://a.example",)),
        ("USE_MOCK_API", "true", "use_mock_api", True),
        ("OPENEDAI_USE_MOCK_API", "true", "use_mock_api", True),
    ],
)
@pytest.mark.parametrize("given_in_file", [False, True])
def test_the_environment(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    text: str,
    field: str,
    value: object,
    given_in_file: bool,
) -> None:
    monkeypatch.setenv(name, text)
    params = {field: Settings.model_fields[field].default} if given_in_file else {}
    assert getattr(load(params, {}), field) == value


def test_an_empty_variable_is_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENEDAI_API_PORT", "")
    monkeypatch.setenv("OPENEDAI_API_KEY", "")
    assert load({}, {}).api_port == 5001
    assert load({}, {}).api_key is None


def test_variables_of_the_host_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENEDAI_MODEL", "x")
    monkeypatch.setenv("OPENEDAI_CTX_SIZE", "1")
    assert load({}, {}) == Settings()


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_option_is_a_flag_with_a_description(name: str) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    flag = "--" + name.replace("_", "-")
    action = next(action for action in parser._actions if flag in action.option_strings)
    assert action.dest == name
    assert action.help and action.help.strip().endswith((".", ")"))


def test_help_shows_defaults_and_choices() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    text = " ".join(parser.format_help().split())
    assert "--log-format {text,json} The format of" in text and "(default: text)" in text
    assert "--listen-host HOST, --host HOST" in text
    assert "--api-port PORT, --port PORT TCP port; 0 chooses a free one. (default: 5001)" in text


def test_every_setting_is_in_a_section() -> None:
    members = [name for section in sections().values() for name in section]
    assert members == list(Settings.model_fields)
    assert [next(iter(section)) for section in sections().values()] == list(SECTIONS)
    assert (
        "api_key" in sections()["Keys"] and "media_urls" in sections()["Pictures, sounds and files"]
    )


def test_what_other_servers_call_a_flag() -> None:
    assert flags("--host", "::1", "--port", "80") == {"listen_host": "::1", "api_port": "80"}


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_option_has_a_description(name: str) -> None:
    assert Settings.model_fields[name].description


def test_only_flags_that_were_given_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert flags() == {}
    assert flags("--listen", "--api-key", "k") == {"listen": True, "api_key": "k"}
    monkeypatch.setenv("OPENEDAI_LISTEN", "true")
    assert not load({}, flags("--no-listen")).listen


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"api_port": "abc"}, "api_port"),
        ({"api_port": -1}, "api_port"),
        ({"api_port": 65536}, "api_port"),
        ({"keep_alive": 0}, "keep_alive"),
        ({"max_body_mb": 0}, "max_body_mb"),
        ({"http_threads": 1}, "http_threads"),
        ({"queue_limit": -1}, "queue_limit"),
        ({"listen": "perhaps"}, "listen"),
        ({"api_prefix": "custom"}, "api_prefix"),
        ({"api_prefix": "/a b"}, "api_prefix"),
        ({"api_prefix": "/<x>"}, "api_prefix"),
        ({"nonsense": 1}, "nonsense"),
        ({"api_key": "line\nbreak"}, "api_key"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_option(
    params: dict[str, object], named: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(params, {})
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_variable_is_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENEDAI_PORT", "many")
    with pytest.raises(SettingsError) as caught:
        load({}, {})
    message = str(caught.value)
    assert "port" in message.lower() and "\n" not in message


def test_a_key_is_not_shown_when_it_is_refused() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"api_key": "secret\tkey"}, {})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "kept"), [("/custom", "/custom"), ("/custom/", "/custom"), ("", ""), ("/a/b", "/a/b")]
)
def test_prefixes(given: str, kept: str) -> None:
    assert load({"api_prefix": given}, {}).api_prefix == kept


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().listen = True  # type: ignore[misc]
