"""`openedai backup`: the data folder copied, as `python -m extensions.openai backup` does it."""

from openedai.commands.keys import main as main
