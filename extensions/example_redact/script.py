"""An example of a guard: replaces personal data before the model reads it, and before clients read answers.

It runs in text-generation-webui and in our own host, there and here on the UI and through the API. Patterns
find what has a form: addresses of mail, numbers of cards (with a right check digit), accounts (IBAN),
telephones with a country's code, and IP addresses. Names and streets have none: put a recogniser of your own
into `redacted` for these.
"""

import re
from typing import Any

params: dict[str, Any] = {
    "display_name": "Redact",
    "is_tab": False,
    "kinds": ["mail", "card", "iban", "phone", "address"],
}

BYTE = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
FORMS = {
    "mail": re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])"),
    "iban": re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"),
    "card": re.compile(r"(?<![\d-])\d(?:[ -]?\d){12,18}(?![\d-])"),
    "phone": re.compile(r"(?<![\w+])\+\d{1,3}(?:[ ()./-]{0,2}\d){6,12}(?!\d)"),
    "address": re.compile(rf"(?<![\d.])(?:{BYTE}\.){{3}}{BYTE}(?!\d|\.\d)"),
}


def history_modifier(history: dict[str, Any]) -> dict[str, Any]:
    """The turns before the last message."""
    for turns in (history["internal"], history["visible"]):
        turns[:] = [[redacted(text) for text in turn] for turn in turns]
    return history


def input_modifier(string: str, state: Any = None, is_chat: bool = False) -> str:
    """The user's words, before they go into the prompt."""
    return redacted(string)


def output_modifier(string: str, state: Any = None, is_chat: bool = False) -> str:
    """The model's words, before anybody reads them; always the whole text so far."""
    return redacted(string)


def redacted(text: str) -> str:
    """The text with `[mail]`, `[card]`, ... in place of personal data."""
    for kind in params["kinds"]:

        def replace(found: re.Match[str], kind: str = kind) -> str:
            return found[0] if kind == "card" and not has_check_digit(found[0]) else f"[{kind}]"

        text = FORMS[kind].sub(replace, text)
    return text


def has_check_digit(number: str) -> bool:
    """Whether the last digit is the one that Luhn's formula makes of the others."""
    digits = [int(digit) for digit in number if digit.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
