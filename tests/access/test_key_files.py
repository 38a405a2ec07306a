"""The secret and the list of keys: made once, whole or not at all, by any number at a time."""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from extensions.openai.access.key_files import Entry, KeyFiles, KeysError
from extensions.openai.access.keys import Keys, has_keys
from extensions.openai.access.signed_keys import Grant, sign, verify
from extensions.openai.errors import KeysUnreadable, Unauthorized
from extensions.openai.settings import Settings


def grant(name: str = "alice", **more: object) -> Grant:
    return Grant("", name, frozenset({"read", "write"}), **more)  # type: ignore[arg-type]


def again(old: Entry) -> Grant:
    return replace(old.grant, id="")


@pytest.fixture
def files(tmp_path: Path) -> KeyFiles:
    return KeyFiles(tmp_path / "data")


@pytest.fixture
def keys(files: KeyFiles) -> Keys:
    """What a server in another process sees."""
    return Keys(Settings(data_folder=str(files.folder), api_key="shared"))


def may(keys: Keys, key: str) -> bool:
    try:
        keys.identify({"authorization": f"Bearer {key}"})
    except Unauthorized:
        return False
    return True


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_only_the_owner_may_read_them(files: KeyFiles) -> None:
    before = os.umask(0)
    try:
        files.create(grant())
    finally:
        os.umask(before)
    assert stat.S_IMODE(files.folder.stat().st_mode) == 0o700
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in files.folder.iterdir()}
    assert found == {"keys.secret": 0o600, "keys.json": 0o600, "keys.lock": 0o600}


def test_no_key_is_in_them(files: KeyFiles) -> None:
    key = files.create(grant())
    for path in files.folder.iterdir():
        assert key.rpartition(".")[2] not in path.read_text()


def test_a_key_is_known_revoked_and_made_again_while_the_server_runs(
    files: KeyFiles, keys: Keys
) -> None:
    key = files.create(grant())
    assert may(keys, key)
    assert files.revoke("alice") == 1
    assert not may(keys, key)
    other = files.create(grant())
    assert may(keys, other) and not may(keys, key)
    assert len({each.grant.id for each in files.entries()}) == 2


def test_rotation_ends_the_old_one_at_once_or_later(
    files: KeyFiles, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = files.create(grant())
    second, _ = files.rotate("alice", again)
    assert not may(keys, first) and may(keys, second)
    third, _ = files.rotate("alice", again, grace=3600)
    assert may(keys, second) and may(keys, third)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3601)
    assert not may(keys, second) and may(keys, third)
    # One that was given time, and is then revoked with its name, has none any more.
    monkeypatch.setattr(time, "time", lambda: now)
    assert may(keys, second)
    assert files.revoke("alice") == 2
    assert not may(keys, second) and not may(keys, third)


def test_a_clock_that_goes_back_makes_no_revoked_key_valid(
    files: KeyFiles, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = files.create(grant())
    now = time.time()
    files.revoke("alice")
    monkeypatch.setattr(time, "time", lambda: now - 10**6)
    assert not may(keys, key)
    # And a key that is made while the clock is wrong is valid.
    assert may(keys, files.create(grant()))


def test_expiry(files: KeyFiles, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    key = files.create(grant(expires=int(now) + 60))
    assert may(keys, key)
    monkeypatch.setattr(time, "time", lambda: now + 61)
    with pytest.raises(Unauthorized, match="expired on 20"):
        keys.identify({"x-api-key": key})
    assert may(keys, files.create(grant()))  # the name is free again


def test_names_that_are_taken_or_not_there(files: KeyFiles) -> None:
    files.create(grant())
    with pytest.raises(KeysError, match="a key alice already"):
        files.create(grant())
    with pytest.raises(KeysError, match="there is no key bob"):
        files.revoke("bob")
    files.revoke("alice")
    with pytest.raises(KeysError, match="is revoked or has expired"):
        files.rotate("alice", again)


def test_a_given_secret_needs_no_file(tmp_path: Path) -> None:
    secret = "0123456789abcdef"
    key = KeyFiles(tmp_path, secret).create(grant())
    assert not (tmp_path / "keys.secret").exists()
    elsewhere = Settings(data_folder=str(tmp_path / "elsewhere"), keys_secret=secret)
    assert has_keys(elsewhere) and may(Keys(elsewhere), key)  # nothing had to be looked up
    assert not may(Keys(Settings(api_key="k", keys_secret=secret[::-1])), key)


def test_a_server_without_keys_asks_for_them_once_there_is_one(tmp_path: Path) -> None:
    settings = Settings(data_folder=str(tmp_path))
    keys = Keys(settings)
    assert not has_keys(settings) and keys.identify({}).name == "local"
    key = KeyFiles(tmp_path).create(grant())
    assert has_keys(settings) and keys.identify({"api-key": key}).name == "alice"
    with pytest.raises(Unauthorized):
        keys.identify({})


def test_a_secret_that_is_deleted_opens_nothing(tmp_path: Path) -> None:
    settings = Settings(data_folder=str(tmp_path))
    keys, key = Keys(settings), KeyFiles(tmp_path).create(grant())
    assert may(keys, key)
    (tmp_path / "keys.secret").unlink()
    assert has_keys(settings) and not may(keys, key)
    with pytest.raises(Unauthorized):
        keys.identify({})


def test_damaged_files_open_nothing(files: KeyFiles, keys: Keys) -> None:
    key, other = files.create(grant()), files.create(grant("bob"))
    files.revoke("bob")
    listed = files.folder / "keys.json"
    whole = listed.read_bytes()
    for data in (b"", b"[]x", whole[:-30], b'{"a": 1}', b'[{"grant": 1}]'):
        listed.write_bytes(data)
        with pytest.raises(KeysUnreadable):
            keys.identify({"x-api-key": key})
        with pytest.raises(KeysError, match="damaged"):
            files.create(grant("carol"))
        assert listed.read_bytes() == data  # a file that can be repaired is not overwritten
        keys.identify({"x-api-key": "shared"})
    listed.write_bytes(whole)
    assert may(keys, key) and not may(keys, other)
    listed.unlink()  # what it said last stays in force
    assert may(keys, key) and not may(keys, other)
    (files.folder / "keys.secret").write_bytes(b"\n")
    with pytest.raises(KeysUnreadable):
        keys.identify({"x-api-key": key})
    keys.identify({"x-api-key": "shared"})


def test_many_at_once(tmp_path: Path) -> None:
    """Each with objects of its own, as processes have them; all begin with an empty folder."""
    folder, names = tmp_path / "data", [f"key-{at}" for at in range(12)]
    made: dict[str, list[str]] = {name: [] for name in names}
    begin = threading.Barrier(len(names))

    def work(name: str) -> None:
        begin.wait(30)
        made[name].append(KeyFiles(folder).create(grant(name)))
        for _ in range(3):
            made[name].append(KeyFiles(folder).rotate(name, again)[0])

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    files, keys = KeyFiles(folder), Keys(Settings(data_folder=str(folder), api_key="k"))
    assert len(files.entries()) == 4 * len(names)
    for name in names:
        assert [may(keys, key) for key in made[name]] == [False, False, False, True]
    assert not list(folder.glob("*.part"))


def test_an_id_is_never_used_twice(files: KeyFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    from extensions.openai.access import key_files

    ids = iter(["same", "same", "same", "other"])
    monkeypatch.setattr(key_files, "new_id", lambda: next(ids))
    files.create(grant("a"))
    files.create(grant("b"))
    assert [each.grant.id for each in files.entries()] == ["same", "other"]


def test_where_there_is_a_list_keys_that_are_not_on_it_are_void(
    files: KeyFiles, keys: Keys
) -> None:
    mine = files.create(grant())
    secret = files.secret()
    assert secret is not None
    key = sign(Grant("elsewhere", "bob", frozenset({"read"})), secret)
    assert verify(key.encode(), secret) is not None
    assert may(keys, mine) and not may(keys, key)


@pytest.mark.parametrize("data", [b"[]", b"[]\n", None])
@pytest.mark.parametrize("restart", [True, False])
def test_a_list_that_is_emptied_or_lost_makes_no_revoked_key_valid(
    files: KeyFiles, keys: Keys, data: bytes | None, restart: bool
) -> None:
    """`None`: the file is deleted."""
    revoked, valid = files.create(grant()), files.create(grant("bob"))
    files.revoke("alice")
    assert not may(keys, revoked) and may(keys, valid)
    if data is None:
        (files.folder / "keys.json").unlink()
    else:
        (files.folder / "keys.json").write_bytes(data)
    if restart:
        keys = Keys(Settings(data_folder=str(files.folder), api_key="shared"))
    if data is None and restart:  # revoked keys are unknown
        for key in (revoked, valid):
            with pytest.raises(KeysUnreadable):
                keys.identify({"api-key": key})
    else:
        assert not may(keys, revoked)
        assert may(keys, valid) is (data is None)
    assert may(keys, "shared") and not may(keys, "sk-wrong-mfrgg.xyz")
    # A new key begins a new list, and all is as it should be.
    fresh = KeyFiles(files.folder).create(grant("carol"))
    assert may(keys, fresh) and not may(keys, revoked) and not may(keys, valid)


def test_a_reload_does_not_forget_a_list_that_has_gone(files: KeyFiles, keys: Keys) -> None:
    revoked, valid = files.create(grant()), files.create(grant("bob"))
    files.revoke("alice")
    assert may(keys, valid)
    (files.folder / "keys.json").unlink()
    keys.configure(Settings(data_folder=str(files.folder), api_key="other"))
    assert may(keys, valid) and not may(keys, revoked)


def test_with_a_secret_that_is_given_the_list_that_was_there_is_missed(tmp_path: Path) -> None:
    secret = "0123456789abcdef"
    settings = Settings(data_folder=str(tmp_path), keys_secret=secret)
    elsewhere = sign(Grant("id", "dave", frozenset({"read"})), secret.encode())
    assert may(Keys(settings), elsewhere)  # there was never a list here: the signature is enough
    files = KeyFiles(tmp_path, secret)
    for attempt in (lambda: files.revoke("dave"), lambda: files.rotate("dave", again)):
        with pytest.raises(KeysError, match="there is no key dave"):
            attempt()
    assert may(Keys(settings), elsewhere)
    revoked = files.create(grant())
    files.revoke("alice")
    assert not may(Keys(settings), revoked) and not may(Keys(settings), elsewhere)
    (tmp_path / "keys.json").unlink()
    with pytest.raises(KeysUnreadable):
        Keys(settings).identify({"api-key": revoked})


def test_a_list_of_a_version_before(files: KeyFiles) -> None:
    """It has all limits of each key, also those that say nothing."""
    key = files.create(grant(limits={"rpm": 5}))
    path = files.folder / "keys.json"
    old = json.loads(path.read_text())
    old[0]["grant"]["limits"] |= {"tpm": None, "concurrent": None, "monthly_tokens": None}
    old[0]["grant"]["user_limits"] = {"rpm": None, "tpm": 7}
    path.write_text(json.dumps(old))
    (entry,) = files.entries()
    assert entry.grant.limits == {"rpm": 5} and entry.grant.user_limits == {"tpm": 7}
    assert may(Keys(Settings(data_folder=str(files.folder))), key)
