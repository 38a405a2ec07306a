"""State that extensions may read, under the name a webui gives it (`modules.shared`).

Both are set once, before the first `setup()`, and never changed after; reading them from any
thread is safe. Before that they are None.
"""

from host.models.spec import ModelSpec
from host.options import HostOptions

args: HostOptions | None = None
"""The host's own options. Flags of extensions are not in it, so no key can be."""

model: ModelSpec | None = None
"""The model that `load_model` will be asked to load."""
