"""The server's keys, and what is sealed and signed with them."""

from __future__ import annotations

import stat
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from extensions.openai.settings import Settings, SettingsError
from extensions.openai.state.keyring import (
    FILE,
    KEY_BYTES,
    Keyring,
    NotOurs,
    keyring_file,
    keyring_of,
)

OLD, NEW = b"o" * KEY_BYTES, b"n" * KEY_BYTES
KEYS = Keyring([OLD, NEW])
SECRET = "Two and two: 四 🙂\n".encode()


def opened(keys: Keyring, text: str, purpose: str = "reasoning", owner: str = "local") -> bytes:
    return keys.open(purpose, owner, text)  # type: ignore[arg-type]


def verified(keys: Keyring, text: str, purpose: str = "reasoning", owner: str = "local") -> None:
    keys.verify(purpose, owner, SECRET, text)  # type: ignore[arg-type]


SEALED, SIGNED = (make("reasoning", "local", SECRET) for make in (KEYS.seal, KEYS.sign))
both = pytest.mark.parametrize(
    ("check", "text"), [(opened, SEALED), (verified, SIGNED)], ids=["sealed", "signed"]
)
Check = Callable[..., object]


def test_what_was_sealed_is_opened_and_cannot_be_read() -> None:
    assert opened(KEYS, SEALED) == SECRET
    assert SECRET not in b64decode(SEALED)
    assert KEYS.seal("reasoning", "local", SECRET) != SEALED, "each time it is another text"
    assert opened(KEYS, KEYS.seal("reasoning", "local", b"")) == b""


def test_what_was_signed_is_verified() -> None:
    verified(KEYS, SIGNED)
    with pytest.raises(NotOurs):
        KEYS.verify("reasoning", "local", SECRET + b".", SIGNED)


@both
def test_it_is_for_one_purpose_and_one_owner(check: Check, text: str) -> None:
    check(KEYS, text)
    for purpose, owner in (("compaction", "local"), ("reasoning", "loca"), ("reasoning", "")):
        with pytest.raises(NotOurs):
            check(KEYS, text, purpose, owner)


@both
def test_no_byte_can_be_changed_and_none_left_out(check: Check, text: str) -> None:
    data = b64decode(text)
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1
        for wrong in (bytes(changed), data[:at]):
            with pytest.raises(NotOurs):
                check(KEYS, b64encode(wrong).decode())


@both
def test_neither_is_taken_for_the_other(check: Check, text: str) -> None:
    with pytest.raises(NotOurs):
        check(KEYS, SIGNED if text == SEALED else SEALED)


@pytest.mark.parametrize("text", ["", "AA==", "no base64!", "é", "gAAAAABm", "A" * 10_000])
@pytest.mark.parametrize("check", [opened, verified])
def test_what_is_none_of_ours_is_refused(check: Check, text: str) -> None:
    with pytest.raises(NotOurs):
        check(KEYS, text)


@pytest.mark.parametrize("make", ["seal", "sign"])
def test_the_newest_key_seals_and_all_open(make: str) -> None:
    check: Check = opened if make == "seal" else verified
    before = getattr(Keyring([OLD]), make)("reasoning", "local", SECRET)
    check(KEYS, before)
    after = getattr(KEYS, make)("reasoning", "local", SECRET)
    check(Keyring([NEW]), after)
    for keys, text in ((Keyring([OLD]), after), (Keyring([NEW]), before)):
        with pytest.raises(NotOurs):
            check(keys, text)


# The file.


def in_folder(path: Path) -> Settings:
    return Settings(data_folder=str(path))


def test_it_is_made_once_and_private(tmp_path: Path) -> None:
    settings = in_folder(tmp_path / "data")
    keys = keyring_of(settings)
    file = tmp_path / "data" / FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in file.parent.iterdir()] == [FILE]
    assert opened(Keyring([b64decode(file.read_bytes())]), keys.seal("reasoning", "local", b"x"))
    assert keyring_of(settings).newest == keys.newest


def test_those_who_make_it_at_once_have_the_same(tmp_path: Path) -> None:
    start = threading.Barrier(8)
    found: list[bytes] = []

    def make() -> None:
        start.wait()
        # As other processes do: each has an object of its own.
        found.append(type(file)(file.path, False).read().newest)

    file = keyring_file(in_folder(tmp_path / "data"))
    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1


def test_a_new_key_is_in_force_at_once(tmp_path: Path) -> None:
    settings = in_folder(tmp_path)
    before = keyring_of(settings).seal("reasoning", "local", SECRET)
    keyring_file(settings).rotate()
    assert opened(keyring_of(settings), before) == SECRET
    after = keyring_of(settings).seal("reasoning", "local", SECRET)
    assert keyring_file(settings).forget() == 1
    assert opened(keyring_of(settings), after) == SECRET
    with pytest.raises(NotOurs):
        opened(keyring_of(settings), before)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_servers_share_a_file_that_a_setting_names(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    # As `openssl rand -base64 32` makes it.
    shared.write_text(b64encode(OLD).decode() + "\n")
    one, other = (
        Settings(data_folder=str(tmp_path / name), secret_file=str(shared)) for name in "ab"
    )
    text = keyring_of(one).seal("reasoning", "local", SECRET)
    assert opened(keyring_of(other), text) == opened(Keyring([OLD]), text) == SECRET
    assert [each.name for each in tmp_path.iterdir()] == ["shared"]


@pytest.mark.parametrize("data", [b"", b"x", b64encode(b"short"), b"\xff", b64encode(OLD) + b"\nx"])
def test_a_file_that_holds_no_keys_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE).write_bytes(data)
    for call in (keyring_file(in_folder(tmp_path)).check, keyring_file(in_folder(tmp_path)).read):
        with pytest.raises(SettingsError, match="it holds no keys") as refusal:
            call()
        assert data.decode(errors="replace") not in str(refusal.value) or not data
    assert (tmp_path / FILE).read_bytes() == data


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    settings = Settings(data_folder=str(tmp_path), secret_file=str(tmp_path / "none"))
    for call in (keyring_file(settings).check, keyring_file(settings).read):
        with pytest.raises(SettingsError, match="there is no file"):
            call()
    assert not list(tmp_path.iterdir())


def test_what_was_read_stays_in_force(tmp_path: Path) -> None:
    settings = in_folder(tmp_path)
    newest = keyring_of(settings).newest
    assert keyring_of(settings).newest == newest  # read from the file
    for spoil in ((tmp_path / FILE).unlink, lambda: (tmp_path / FILE).write_text("x")):
        spoil()
        assert keyring_of(settings).newest == newest


def test_without_a_folder_they_last_as_long_as_the_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    settings = in_folder(tmp_path / "file" / "data")
    assert keyring_of(settings).newest == keyring_of(settings).newest
    assert "void after a restart" in caplog.text and str(tmp_path) not in caplog.text
