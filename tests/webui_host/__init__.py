"""A webui in small: what the adapter touches of its interface, and a model that really generates.

`install(age)` puts modules called `modules.*` in place, as an extension in a webui finds them; `2026` and
`2023` differ where the adapter has to look twice. Written from the interface alone; it holds no code of any
webui.
"""

from .host import AGES, MiniHost, install

__all__ = ["AGES", "MiniHost", "install"]
