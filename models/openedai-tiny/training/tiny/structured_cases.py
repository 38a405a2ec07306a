"""What the evaluation of structured output asks: schemas, tools and prompts kept out of training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tiny.schemas import Shape, schema, titled


@dataclass(frozen=True)
class Case:
    """A request and what must stand in its answer.

    group: the row of the table. prompt: the user's message. body: the other fields of the request.
    copied: values that the answer must have under these keys, or none.
    json: whether the answer, or the arguments of its call, must be JSON.
    """

    group: str
    prompt: str
    body: dict[str, Any]
    copied: dict[str, Any] = field(default_factory=dict)
    json: bool = True


_OBJECTS: tuple[tuple[str, dict[str, Shape]], ...] = (
    ("Give me a person.", {"name": "string", "age": "integer"}),
    ("Describe a book.", {"title": "string", "author": "string", "pages": "integer"}),
    ("Make up a film.", {"film": "string", "director": "string", "released": "integer"}),
    ("An employee, please.", {"first_name": "string", "last_name": "string", "salary": "number"}),
    ("Invent a pet.", {"pet_name": "string", "species": ["enum", "cat", "dog", "fish"], "legs": "integer"}),
    ("Plan my trip.", {"destination": "string", "days": "integer", "stops": ["array", "string"]}),
    ("A recipe for two.", {"dish": "string", "ingredients": ["array", "string"], "minutes": "integer"}),
    ("Review this phone.", {"summary": "string", "rating": "integer", "recommended": "boolean"}),
    ("Is this spam? Win a million now", {"is_spam": "boolean", "reason": "string"}),
    ("Classify: the food was awful", {"sentiment": ["enum", "positive", "negative", "neutral"], "confidence": "number"}),
    ("Create a task.", {"task": "string", "priority": ["enum", "low", "high"], "done": "boolean"}),
    ("Create a calendar event", {"event": "string", "start": "date-time", "attendees": ["array", "string"]}),
    ("Give me a user account", {"username": "string", "email": "email", "active": "boolean"}),
    ("An address in Spain", {"street": "string", "zip_code": "string", "country": "string"}),
    ("A company", {"company": "string", "employees": "integer", "headquarters": {"city": "string", "country": "string"}}),
    ("What should I order?", {"items": ["array", {"product": "string", "quantity": "integer"}], "total": "number"}),
    ("Quiz me", {"question": "string", "options": ["array", "string"], "correct_index": "integer"}),
    ("Solve 8x + 7 = -23", {"steps": ["array", {"explanation": "string", "output": "string"}], "final_answer": "string"}),
    ("Why is the sky blue?", {"reasoning": "string", "answer": "string"}),
    ("Tell me about the moon", {"thought": "string", "response": "string"}),
    ("A character for my game", {"hero": "string", "power": "integer", "weapons": ["array", "string"], "level": "integer"}),
    ("hi", {"reply": "string"}),
    ("Translate cat to French", {"translation": "string", "language": "string"}),
    ("List three countries", {"countries": ["array", "string"]}),
    ("Which planet is biggest?", {"planet": "string", "radius_km": "number"}),
    ("A car", {"make": "string", "model": "string", "year": "integer", "electric": "boolean"}),
    ("Generate some test data.", {"id": "integer", "uuid": "uuid", "label": "string"}),
    ("Weather report", {"temperature": "number", "unit": ["enum", "celsius", "fahrenheit"], "conditions": "string"}),
    ("Next?", {"next_step": ["enum", "search", "finish"], "arguments": "string"}),
    ("Split this into parts", {"chunks": ["array", {"heading": "string", "body": "string"}]}),
    ("Score my essay.", {"grammar_score": "integer", "style_score": "integer", "comments": "string"}),
    ("Describe the image.", {"caption": "string", "objects": ["array", "string"]}),
    ("A contact card", {"fullName": "string", "phoneNumber": "string", "homeAddress": {"line1": "string", "postcode": "string"}}),
    ("Find the entities", {"entities": ["array", {"text": "string", "kind": ["enum", "person", "place", "thing"]}]}),
    ("Foo", {"foo": "string", "bar": "integer", "baz": "boolean"}),
    ("x", {"a": "string", "b": "string", "c": "string"}),
    ("A song", {"song": "string", "artist?": "string", "length_seconds?": "integer"}),
    ("A shop", {"shop": "string", "opening_hours": {"monday": "string", "sunday": ["maybe", "string"]}}),
    ("Something with nulls", {"nickname": ["maybe", "string"], "score": ["maybe", "number"]}),
    ("A family tree", {"parent": "string", "children": ["array", {"child": "string", "born": "date"}]}),
    ("Make an invoice", {"invoice_number": "string", "due": "date", "amount": "number", "currency": ["enum", "EUR", "USD"]}),
    ("Tag this article about football", {"topics": ["array", "string"], "sport": "boolean"}),
    ("Give me a plan", {"plan": ["array", "string"]}),
    ("A unicorn", {"horn_length_cm": "number", "glitter": "boolean", "motto": "string"}),
    ("zorp", {"qux_id": "string", "flarn": "string", "wibble_count": "integer"}),
    ("Bug report", {"severity": ["enum", "minor", "major", "critical"], "component": "string", "steps_to_reproduce": ["array", "string"]}),
    ("Extract the keywords.", {"keywords": ["array", "string"], "language_code": "string"}),
    ("A football team", {"team": "string", "players": ["array", {"player": "string", "shirt": "integer"}], "coach": {"coach_name": "string"}}),
    ("A database row", {"row": {"key": "string", "value": "string", "created_at": "date-time"}}),
    ("Rewrite: me go home", {"corrected": "string", "changes": ["array", "string"]}),
    ("A URL for my blog", {"slug": "string", "meta_description": "string"}),
    ("What are the odds?", {"probability": "number", "explanation": "string"}),
    ("Summarize the meeting", {"decisions": ["array", "string"], "owner": "string", "follow_up": "boolean"}),
    ("A horoscope", {"sign": "string", "lucky_numbers": ["array", "integer"], "mood": "string"}),
    ("Judge the two answers", {"winner": ["enum", "A", "B", "tie"], "justification": "string"}),
    ("A chess move", {"piece": "string", "from_square": "string", "to_square": "string"}),
)  # fmt: skip

_TOOLS: tuple[tuple[str, str, dict[str, Shape]], ...] = (
    ("Book a table tonight", "reserve_table", {"restaurant": "string", "guests": "integer", "when": "string"}),
    ("Play some jazz", "play_music", {"genre": "string", "volume": "integer"}),
    ("hi", "log_message", {"level": ["enum", "info", "error"], "message": "string"}),
    ("Find flights to Oslo", "search_flights", {"origin": "string", "destination": "string", "date": "string"}),
    ("Order a pizza", "order_food", {"items": ["array", "string"], "address": "string"}),
    ("Open the garage", "control_device", {"device_id": "string", "action": ["enum", "open", "close"]}),
    ("Make a ticket: printer is broken", "create_ticket", {"subject": "string", "body": "string", "urgent": "boolean"}),
    ("Convert 5 miles", "convert_units", {"value": "number", "from_unit": "string", "to_unit": "string"}),
    ("Query the database", "run_sql", {"query": "string"}),
    ("Give me a person.", "Person", {"name": "string", "age": "integer"}),
    ("What is the stock price?", "stock_quote", {"symbol": "string", "exchange?": "string"}),
    ("Add a contact", "addContact", {"contact": {"name": "string", "phone": "string"}}),
    ("Done?", "final_result", {"answer": "string", "sources": ["array", "string"]}),
    ("go", "frobnicate", {"zib": "string", "quux": "integer"}),
    ("What time is it in Rome?", "tell_hour", {}),
    ("Draw a red circle", "draw_shape", {"shape": "string", "color": "string", "points": ["array", {"x": "number", "y": "number"}]}),
    ("Read the file notes.txt", "read_file", {"path": "string", "max_lines?": "integer"}),
    ("Start the timer", "set_timer", {"seconds": "integer", "label": ["maybe", "string"]}),
    ("Schedule a call with Ben", "schedule_meeting", {"title": "string", "participants": ["array", "string"], "start_time": "date-time"}),
    ("Recommend a laptop", "rank_products", {"products": ["array", {"sku": "string", "score": "number"}]}),
)  # fmt: skip

_FREE = (
    "Give me a person as JSON.",
    "Tell me about Paris. Answer in JSON.",
    "Return a JSON object with the keys city and population.",
    "json please",
    "Describe a dog in JSON format.",
    "List three fruits as JSON.",
    "What is 2 + 2? Use JSON.",
    "Extract the name and the email from: Ben Stone, ben@stone.org. JSON only.",
)

_REGEX = (
    ("A phone number", r"\d{3}-\d{4}"),
    ("What is your name?", r"[A-Z][a-z]+"),
    ("How many?", r"[0-9]+"),
    ("Name a city", r"[A-Za-z ]+"),
    ("Say something", r"[a-z ]+\."),
    ("A date", r"\d{4}-\d{2}-\d{2}"),
    ("An email address", r"[a-z]+@[a-z]+\.(com|org)"),
    ("Answer", r"(yes|no), because .*"),
)
_CHOICES = (
    ("Is it good?", ["positive", "negative"]),
    ("Pick a colour", ["red", "green", "blue"]),
    ("Is 7 a prime number?", ["yes", "no"]),
    ("Route this", ["billing", "technical support", "sales", "something else"]),
)

_COPIED: tuple[tuple[str, dict[str, Shape], dict[str, Any]], ...] = (
    ("Alice is 30.", {"name": "string", "age": "integer"}, {"name": "Alice", "age": 30}),
    ("Extract the person: Boris is 41 years old.", {"name": "string", "age": "integer"}, {"name": "Boris", "age": 41}),
    ("Tom is 25 years old and lives in Lima.", {"name": "string", "age": "integer", "city": "string"}, {"name": "Tom", "age": 25, "city": "Lima"}),
    ("My name is Ines and I live in Oslo", {"name": "string", "city": "string"}, {"name": "Ines", "city": "Oslo"}),
    ("name: Hugo, age: 52", {"name": "string", "age": "integer"}, {"name": "Hugo", "age": 52}),
    ("The colour is pink and the size is 9.", {"colour": "string", "size": "integer"}, {"colour": "pink", "size": 9}),
    ("Jason is 18 years old", {"name": "string", "age": "integer"}, {"name": "Jason", "age": 18}),
    ("Give me a JSON object with the name Mira and the age 64", {"name": "string", "age": "integer"}, {"name": "Mira", "age": 64}),
    ("3 lamps for 20 euros", {"item": "string", "quantity": "integer"}, {"quantity": 3}),
    ("Send a message to Lucy: dinner is ready", {"to": "string", "text": "string"}, {"to": "Lucy", "text": "dinner is ready"}),
    ("Omar works in Cairo.", {"person": "string", "location": "string"}, {"person": "Omar", "location": "Cairo"}),
    ("Extract: The ticket costs 85 dollars.", {"price": "integer"}, {"price": 85}),
)  # fmt: skip

_COPIED_CALLS: tuple[tuple[str, str, dict[str, Shape], dict[str, Any]], ...] = (
    ("Alice is 30.", "Person", {"name": "string", "age": "integer"}, {"name": "Alice", "age": 30}),
    ("What is the weather in Lisbon?", "city_weather", {"city": "string"}, {"city": "Lisbon"}),
    ("Extract: Paul is 33 years old.", "UserDetail", {"name": "string", "age": "integer"}, {"name": "Paul", "age": 33}),
    ("Set a timer for 45 seconds", "start_countdown", {"seconds": "integer"}, {"seconds": 45}),
    ("Look up the user Karl", "find_account", {"username": "string"}, {"username": "Karl"}),
    ("Turn on the light in the kitchen", "switch", {"room": "string"}, {"room": "kitchen"}),
)  # fmt: skip


def _format(shape: dict[str, Shape], titles: bool) -> dict[str, Any]:
    made = titled(shape, "Answer") if titles else schema(shape)
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": made}}}


def _tools(name: str, shape: dict[str, Shape], titles: bool) -> list[dict[str, Any]]:
    parameters = titled(shape, name) if titles else schema(shape)
    return [{"type": "function", "function": {"name": name, "parameters": parameters}}]


def prompts() -> set[str]:
    """Every prompt that must not be trained on."""
    return {case.prompt for case in cases()}


def names() -> set[tuple[str, ...]]:
    """The field names of every object, together, in order: none of these is trained on, but for those of
    one or two fields, which are too common."""
    shapes = [shape for _, shape in _OBJECTS] + [shape for _, _, shape in _TOOLS]
    found = {tuple(key.rstrip("?") for key in shape) for shape in shapes}
    return {each for each in found if len(each) > 2}


def functions() -> set[str]:
    """The names of the functions, none of which is trained on."""
    return {name for _, name, _ in _TOOLS} | {name for _, name, _, _ in _COPIED_CALLS}


def cases() -> Iterator[Case]:
    """All cases, in the order of the table."""
    for at, (prompt, shape) in enumerate(_OBJECTS):
        yield Case("JSON of a schema", prompt, _format(shape, titles=at % 2 == 1))
    for at, (prompt, name, shape) in enumerate(_TOOLS):
        forced = {"type": "function", "function": {"name": name}}
        tools = _tools(name, shape, titles=at % 2 == 1)
        yield Case("a forced call", prompt, {"tools": tools, "tool_choice": forced})
    for at, (prompt, name, shape) in enumerate(_TOOLS):
        other = _TOOLS[at - 7]
        tools = _tools(name, shape, titles=False) + _tools(other[1], other[2], titles=False)
        yield Case("a required call", prompt, {"tools": tools, "tool_choice": "required"})
    for prompt in _FREE:
        yield Case("any JSON object", prompt, {"response_format": {"type": "json_object"}})
    for prompt, pattern in _REGEX:
        yield Case("a regular expression", prompt, {"guided_regex": pattern}, json=False)
    for prompt, choices in _CHOICES:
        yield Case("a choice", prompt, {"guided_choice": choices}, json=False)
    for prompt, shape, wanted in _COPIED:
        yield Case("values from the prompt, JSON", prompt, _format(shape, titles=False), wanted)
    for prompt, name, shape, wanted in _COPIED_CALLS:
        forced = {"type": "function", "function": {"name": name}}
        body = {"tools": _tools(name, shape, titles=False), "tool_choice": forced}
        yield Case("values from the prompt, call", prompt, body, wanted)
