"""`openedai password`: the hash of a password, as `python -m extensions.openai password` prints it."""

from openedai.commands.keys import main as main
