"""Where the program is, and where what belongs to the user is.

In a clone all is in the folder of `server.py`: models in `models`, the rest in `user_data`. An installed
package has no place for a user's files, so both are in `openedai` below XDG_DATA_HOME (`~/.local/share`).
"""

from pathlib import Path

from extensions.openai.system.private_packages import data_root, is_package

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds `host`, `extensions` and the embedded model."""

DATA = data_root(ROOT / "extensions" / "openai")
"""Keys, usage and what else must outlive the process."""

USER_DATA = DATA if is_package(ROOT) else ROOT / "user_data"
"""Where a user's own extensions are looked for, in `extensions`."""

MODELS = DATA / "models" if is_package(ROOT) else ROOT / "models"
"""Where models are looked for and downloaded to, unless --model-dir says another folder."""
