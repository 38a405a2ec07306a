"""The installer, on trees of the shapes that the web UI has had over the years: where the extension goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scripts.webui_layouts import (
    AGES,
    BY_NAME,
    EXTENSION,
    Age,
    extension_files,
    files,
    install,
    installed,
    plain_tree,
    write,
)
from tests.support.process import ROOT

EVERY_AGE = pytest.mark.parametrize("age", AGES, ids=lambda age: age.name)


@EVERY_AGE
def test_it_lands_where_the_webui_looks_twice_and_leaves_as_it_came(
    tmp_path: Path, age: Age
) -> None:
    webui = plain_tree(tmp_path, age.name)
    before, place = files(webui), webui / age.place
    for _ in range(2):
        assert "--extensions opened_ai" in installed(webui)
        assert files(place) == extension_files()
    others = {name: text for name, text in files(webui).items() if not name.startswith(age.place)}
    assert others == before, "nothing else is changed"
    installed("--uninstall", webui)
    assert files(webui) == before
    assert "nothing to remove" in installed("--uninstall", webui)
    assert files(webui) == before


@EVERY_AGE
def test_linked(tmp_path: Path, age: Age) -> None:
    webui = plain_tree(tmp_path, age.name)
    before, place, own = files(webui), webui / age.place, files(EXTENSION)
    for _ in range(2):
        installed("--link", webui)
        assert place.is_symlink() and place.resolve() == EXTENSION
    installed(webui)
    assert not place.is_symlink() and files(place) == extension_files()
    installed("--link", webui)
    installed("--uninstall", webui)
    assert files(webui) == before
    assert files(EXTENSION) == own, "the link was removed, not what it points to"


def test_a_copy_from_before_an_update_of_the_webui_moves_to_the_new_place(tmp_path: Path) -> None:
    webui = plain_tree(tmp_path, "August 2024")
    installed(webui)
    (webui / "user_data" / "openedai").mkdir(parents=True)
    (webui / "user_data" / "openedai" / "keys.json").write_text("{}")
    write(webui, BY_NAME["January 2026"].files())
    installed(webui)
    assert not (webui / "extensions" / "opened_ai").exists()
    assert files(webui / "user_data" / "extensions" / "opened_ai") == extension_files()
    assert (webui / "user_data" / "openedai" / "keys.json").read_text() == "{}"


def release(root: Path, *, of_app: bool) -> Path:
    """A portable release: `user_data` beside the program, or (before May 2026) in it."""
    top = root / "textgen-4.9"
    app = top / "app" if of_app else top
    names = BY_NAME["May 2026"].files()
    in_user_data = {name: text for name, text in names.items() if name.startswith("user_data/")}
    write(app, {name: text for name, text in names.items() if name not in in_user_data})
    write(top, in_user_data)
    (app / "portable_env").mkdir()
    return top


@pytest.mark.parametrize("of_app", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_a_portable_release_keeps_it_in_user_data(
    tmp_path: Path, of_app: bool, shared: bool
) -> None:
    """`modules/paths.py`: a `user_data` beside the releases wins, so that the next one finds it."""
    top = release(tmp_path, of_app=of_app)
    user_data = (tmp_path if shared else top) / "user_data"
    user_data.mkdir(exist_ok=True)
    before = files(tmp_path)
    for path in (top, top / "app" if of_app else top):
        installed(path)
        assert files(user_data / "extensions" / "opened_ai") == extension_files()
    installed("--uninstall", top)
    assert files(tmp_path) == before


def test_keys_of_a_release_that_were_kept_in_its_program_move_along(tmp_path: Path) -> None:
    """An earlier installer put the extension into `app`, which the next release leaves behind."""
    top = release(tmp_path, of_app=True)
    write(top / "app", {
        "extensions/opened_ai/engines/base.py": "",
        "user_data/openedai/keys.secret": "secret",
    })  # fmt: skip
    installed(top)
    assert not (top / "app" / "extensions" / "opened_ai").exists()
    assert (top / "user_data" / "openedai" / "keys.secret").read_text() == "secret"


FLAGS = {
    "--user-data-dir {}": True,
    "# a comment\n--listen --user-data-dir={}\n": True,
    "--listen \\\n--user-data-dir '{}' --api": True,
    "# --user-data-dir {}": False,
    "--model-dir {}": False,
}


@pytest.mark.parametrize("text", FLAGS)
def test_another_user_data_folder_is_found_in_the_webuis_flags(tmp_path: Path, text: str) -> None:
    webui = plain_tree(tmp_path, "May 2026")
    other = tmp_path / "my data"
    other.mkdir()
    quoted = str(other) if "'" in text else str(other).replace(" ", "\\ ")
    write(webui, {"user_data/CMD_FLAGS.txt": text.format(quoted)})
    installed(webui)
    place = other if FLAGS[text] else webui / "user_data"
    assert files(place / "extensions" / "opened_ai") == extension_files()


def test_another_user_data_folder_is_given(tmp_path: Path) -> None:
    webui = plain_tree(tmp_path, "May 2026")
    (tmp_path / "data").mkdir()
    installed("--user-data-dir", tmp_path / "data", webui)
    assert files(tmp_path / "data" / "extensions" / "opened_ai") == extension_files()
    installed("--user-data-dir", "../data", "--uninstall", webui)
    assert files(tmp_path / "data") == {}
    for arguments in (("--user-data-dir", "nowhere"), ("--user-data-dir=nowhere",)):
        done = install("--no-requirements", *arguments, webui)
        assert done.returncode == 1 and "nowhere" in done.stderr
    older = plain_tree(tmp_path / "older", "January 2026")
    done = install("--no-requirements", "--user-data-dir", tmp_path / "data", older)
    assert done.returncode == 1 and "has no --user-data-dir" in done.stderr


@pytest.mark.parametrize("missing", ["server.py", "modules/extensions.py"])
def test_what_is_no_webui_is_refused(tmp_path: Path, missing: str) -> None:
    webui = plain_tree(tmp_path, "May 2026")
    (webui / missing).unlink()
    before = files(webui)
    done = install("--no-requirements", webui)
    assert done.returncode == 1 and missing in done.stderr and done.stderr.count("\n") == 1
    assert files(webui) == before


def test_a_webui_of_before_24_may_2023_is_refused_with_the_reason(tmp_path: Path) -> None:
    webui = plain_tree(tmp_path, "June 2023")
    (webui / "modules" / "shared.py").write_text("args = None\n")
    before = files(webui)
    done = install("--no-requirements", webui)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "24 May 2023" in done.stderr and "git pull" in done.stderr
    assert files(webui) == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "PATH"),
        (("/no/such/folder",), "/no/such/folder"),
        (("--python",), "--python"),
        (("--nonsense", "."), "--nonsense"),
        ((".", ".."), ".."),
        ((ROOT,), "modules/shared.py"),
    ],
)
def test_a_wrong_call_is_one_line(arguments: tuple[str, ...], named: str) -> None:
    done = install(*arguments)
    assert done.returncode == 1 and named in done.stderr and done.stderr.count("\n") == 1


def test_help() -> None:
    done = install("--help")
    assert done.returncode == 0 and "--uninstall" in done.stdout


def test_another_extension_of_that_name_is_left_alone(tmp_path: Path) -> None:
    webui = plain_tree(tmp_path, "May 2026")
    other = webui / "user_data" / "extensions" / "opened_ai" / "script.py"
    write(other.parent, {"script.py": "somebody else's\n"})
    done = install("--no-requirements", webui)
    assert done.returncode == 1 and "another extension" in done.stderr
    installed("--uninstall", webui)
    assert other.read_text() == "somebody else's\n"


@EVERY_AGE
@pytest.mark.parametrize("options", [(), ("--uninstall",)])
def test_a_dry_run_changes_nothing(tmp_path: Path, age: Age, options: tuple[str, ...]) -> None:
    webui = plain_tree(tmp_path, age.name)
    if options:
        installed(webui)
    before = files(webui)
    output = installed("--dry-run", *options, webui)
    assert files(webui) == before
    assert f"would: {'remove' if options else 'install'} {age.place}" in output


def test_a_check_tells_what_is_wrong(tmp_path: Path) -> None:
    webui = plain_tree(tmp_path, "May 2026")

    def problems() -> list[str]:
        done = install("--check", "--no-requirements", webui)
        found = [line for line in done.stdout.splitlines() if line.startswith("problem: ")]
        assert done.returncode == (1 if found else 0), done.stderr
        return found

    assert "not installed" in problems()[0]
    installed(webui)
    assert problems() == []
    (webui / BY_NAME["May 2026"].place / "script.py").write_text("an older one")
    before = files(webui)
    assert "another version" in problems()[0]
    assert files(webui) == before


def test_the_name_openai_on_the_users_word(tmp_path: Path) -> None:
    webui = plain_tree(tmp_path, "January 2026")
    before = files(webui)
    assert "--extensions openai" in installed("--take-over-openai", webui)
    place = webui / "user_data" / "extensions" / "openai"
    assert files(place) == extension_files(), "there the web UI prefers its user's extensions"
    others = {
        name: data
        for name, data in files(webui).items()
        if webui / name not in set(place.rglob("*"))
    }
    assert others == before
    installed(webui)
    assert not place.exists() and (webui / BY_NAME["January 2026"].place).exists()
    installed("--uninstall", webui)
    assert files(webui) == before


def test_the_name_openai_in_place_of_the_webuis_own_and_back(tmp_path: Path) -> None:
    webui = plain_tree(tmp_path, "August 2024")
    before = files(webui)
    for _ in range(2):
        installed("--take-over-openai", webui)
        assert files(webui / "extensions" / "openai") == extension_files()
    installed("--uninstall", webui)
    assert files(webui) == before
    installed("--take-over-openai", webui)
    installed(webui)
    assert files(webui / "extensions" / "opened_ai") == extension_files()
    installed("--uninstall", webui)
    assert files(webui) == before


def test_the_name_openai_cannot_be_taken_since_march_2026(tmp_path: Path) -> None:
    webui = plain_tree(tmp_path, "May 2026")
    done = install("--no-requirements", "--take-over-openai", webui)
    assert done.returncode == 1 and "March 2026" in done.stderr and done.stderr.count("\n") == 1
