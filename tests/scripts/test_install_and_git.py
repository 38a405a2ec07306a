"""The installer and git: nothing tracked is changed, updates go through, earlier installs heal."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from tests.scripts.webui_layouts import (
    AGES,
    BY_NAME,
    Age,
    checkout,
    earlier_install,
    extension_files,
    files,
    git,
    installed,
    status,
    update,
)

EVERY_AGE = pytest.mark.parametrize("age", AGES, ids=lambda age: age.name)
STEPS = pytest.mark.parametrize(("old", "new"), list(pairwise(AGES)), ids=lambda age: age.name)
BEFORE_MARCH_2026 = pytest.mark.parametrize("age", AGES[:3], ids=lambda age: age.name)


@EVERY_AGE
def test_git_sees_nothing_of_an_install(tmp_path: Path, age: Age) -> None:
    webui = checkout(tmp_path, age.name)
    exclude = webui / ".git" / "info" / "exclude"
    before, excluded = files(webui), exclude.read_text()
    installed(webui)
    data = webui / "user_data" / "openedai"
    data.mkdir(parents=True)
    (data / "keys.secret").write_text("secret")
    assert status(webui) == ""
    (data / "keys.secret").unlink()
    installed("--uninstall", webui)
    assert status(webui) == "" and files(webui) == before and exclude.read_text() == excluded


def test_updates_go_through_all_ages_and_the_extension_stays(tmp_path: Path) -> None:
    webui = checkout(tmp_path, AGES[0].name)
    installed(webui)
    for age in AGES[1:]:
        update(webui, age.name)
        assert status(webui) == "", age.name
        assert files(webui / "extensions" / "opened_ai") == extension_files(), (
            "all ages load it from there"
        )
    installed(webui)
    assert status(webui) == ""
    assert not (webui / "extensions" / "opened_ai").exists()
    assert files(webui / AGES[-1].place) == extension_files()


@BEFORE_MARCH_2026
def test_an_earlier_install_is_put_back(tmp_path: Path, age: Age) -> None:
    webui = checkout(tmp_path, age.name)
    earlier_install(webui)
    assert "extensions/openai/script.py" in status(webui)
    output = installed(webui)
    assert status(webui) == "" and "may be yours" not in output
    assert files(webui / age.place) == extension_files()
    assert not (webui / "extensions-before-openedai").exists()


@STEPS
def test_an_earlier_install_that_an_update_ran_into_is_healed(
    tmp_path: Path, old: Age, new: Age
) -> None:
    webui = checkout(tmp_path, old.name)
    earlier_install(webui)
    update(webui, new.name)
    broken = status(webui)
    assert "U" in broken, "git merged our files with those of the new version"
    if new.name == "May 2026":
        assert "modules/api/script.py" in broken
    output = installed(webui)
    assert status(webui) == ""
    expected = {name: text.encode() for name, text in new.files().items()}
    assert {name: data for name, data in files(webui).items() if name in expected} == expected
    assert files(webui / new.place) == extension_files()
    assert "may be yours" not in output and "git stash drop" in output
    installed("--uninstall", webui)
    assert files(webui).keys() == new.files().keys()


@pytest.mark.parametrize("uninstall", [True, False])
def test_the_users_own_changes_before_an_earlier_install_come_back(
    tmp_path: Path, uninstall: bool
) -> None:
    webui = checkout(tmp_path, "August 2024")
    own = webui / "extensions" / "openai" / "script.py"
    own.write_text(own.read_text() + "# mine\n")
    (own.parent / "notes.txt").write_text("mine, too\n")
    before = files(webui)
    earlier_install(webui)
    output = installed(*(("--uninstall",) if uninstall else ()), webui)
    assert "put back your own extensions/openai/script.py" in output
    assert before.items() <= files(webui).items()
    assert status(webui) == " M extensions/openai/script.py\n"


def test_the_users_own_changes_are_kept_aside_where_the_webui_was_updated_since(
    tmp_path: Path,
) -> None:
    webui = checkout(tmp_path, "January 2026")
    own = webui / "extensions" / "openai" / "completions.py"
    mine = own.read_text() + "# mine\n"
    own.write_text(mine)
    (own.parent / "notes.txt").write_text("mine, too\n")
    earlier_install(webui)
    (own.parent / "later.txt").write_text("put there after the install\n")
    (own.parent / "settings.py").write_text("# ours, changed by the user\n")
    update(webui, "May 2026")
    output = installed(webui)
    assert status(webui) == ""
    (kept,) = (webui / "user_data" / "openedai" / "kept").iterdir()
    assert files(kept) == {
        "extensions/openai/completions.py": mine.encode(),
        "extensions/openai/notes.txt": b"mine, too\n",
        "extensions/openai/later.txt": b"put there after the install\n",
        "extensions/openai/settings.py": b"# ours, changed by the user\n",
    }
    assert str(kept) in output
    installed("--uninstall", webui)
    assert files(kept), "what may be the user's stays"


def test_changes_that_have_nothing_to_do_with_it_are_left_alone(tmp_path: Path) -> None:
    webui = checkout(tmp_path, "January 2026")
    earlier_install(webui)
    update(webui, "May 2026")
    (webui / "server.py").write_text("# changed by the user\n")
    api = webui / "modules" / "api" / "typing.py"
    git(webui, "checkout", "HEAD", "--", "modules/api/typing.py")
    api.write_text(api.read_text() + "# one line of the user's\n")
    installed(webui)
    assert status(webui) == " M modules/api/typing.py\n M server.py\n"
    assert api.read_text().endswith("# one line of the user's\n")


def test_a_file_of_the_api_that_became_ours_in_a_merge_is_put_back(tmp_path: Path) -> None:
    """Where upstream only moved a file, git takes our text for it without a conflict."""
    webui = checkout(tmp_path, "January 2026")
    earlier_install(webui)
    (webui / "extensions" / "openai" / "images.py").write_bytes(
        (webui / "extensions" / "openai" / "models.py").read_bytes()
    )
    update(webui, "May 2026")
    moved = webui / "modules" / "api" / "images.py"
    assert b"of_the_web_ui" not in moved.read_bytes(), "it is ours, and there is no conflict"
    installed(webui)
    assert moved.read_text() == BY_NAME["May 2026"].files()["modules/api/images.py"]
    assert status(webui) == ""


def test_files_of_the_users_exclude_list_stay(tmp_path: Path) -> None:
    webui = checkout(tmp_path, "June 2023")
    exclude = webui / ".git" / "info" / "exclude"
    exclude.write_text("/mine\n")
    installed(webui)
    exclude.write_text(exclude.read_text() + "/opened_later\n")
    installed("--uninstall", webui)
    assert exclude.read_text() == "/mine\n/opened_later\n"


@BEFORE_MARCH_2026
def test_taking_the_name_openai_is_undone_before_an_update(tmp_path: Path, age: Age) -> None:
    webui = checkout(tmp_path, age.name)
    installed("--take-over-openai", webui)
    is_tracked = age.name != "January 2026"
    assert bool(status(webui)) == is_tracked, (
        "where the web UI looks at user_data first, git sees nothing"
    )
    assert "extensions-before-openedai" not in status(webui)
    installed(webui)
    assert status(webui) == ""
    assert files(webui / age.place) == extension_files()
