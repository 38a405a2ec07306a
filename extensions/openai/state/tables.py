"""The tables of the store. `migrations/` makes them; a test holds the two together."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

metadata = MetaData()

Number = BigInteger().with_variant(Integer, "sqlite")
"""64 bits; SQLite counts up only what is called INTEGER."""

chat_completions = Table(
    "chat_completions",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("created", Number, nullable=False),
    Column("bytes", Number, nullable=False),
    Column("end_user", Text),
    Column("safety_identifier", Text),
    Column("model", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("messages", LargeBinary, nullable=False),
    Column("completion", LargeBinary, nullable=False),
    Index("chat_completions_owner", "owner", "seq"),
    Index("chat_completions_model", "owner", "model", "seq"),
    Index("chat_completions_created", "created"),
    sqlite_autoincrement=True,
)

responses = Table(
    "responses",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("created", Number, nullable=False),
    Column("bytes", Number, nullable=False),
    Column("end_user", Text),
    Column("safety_identifier", Text),
    Column("model", Text, nullable=False),
    Column("previous", Text),
    Column("root", Text, nullable=False),
    Column("hidden", Boolean, nullable=False),
    Column("input", LargeBinary, nullable=False),
    Column("response", LargeBinary, nullable=False),
    Column("events", LargeBinary),
    Column("until", Number),
    Index("responses_owner", "owner", "seq"),
    Index("responses_created", "created"),
    Index("responses_previous", "previous"),
    Index("responses_root", "root", "created"),
    sqlite_autoincrement=True,
)
"""`input` has the items of this one request only: what came before is that of `previous`, and so on. `root`
is the first of them. A response that was deleted and that others go on from is `hidden`.
`events` are those of its stream, compressed; null where there was none. `until`: of one that is being made in
the background, the time by which its server says that it still is."""

conversations = Table(
    "conversations",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("created", Number, nullable=False),
    Column("bytes", Number, nullable=False),
    Column("end_user", Text),
    Column("safety_identifier", Text),
    Column("metadata", Text, nullable=False),
    Index("conversations_owner", "owner", "seq"),
    Index("conversations_created", "created"),
    sqlite_autoincrement=True,
)

conversation_items = Table(
    "conversation_items",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("created", Number, nullable=False),
    Column("bytes", Number, nullable=False),
    Column("end_user", Text),
    Column("safety_identifier", Text),
    Column("conversation", Text, nullable=False),
    Column("item", LargeBinary, nullable=False),
    Index("conversation_items_owner", "owner", "seq"),
    Index("conversation_items_created", "created"),
    Index("conversation_items_conversation", "conversation", "seq"),
    Index("conversation_items_id", "conversation", "id", unique=True),
    sqlite_autoincrement=True,
)

plots = Table(
    "plots",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("created", Number, nullable=False),
    Column("bytes", Number, nullable=False),
    Column("end_user", Text),
    Column("safety_identifier", Text),
    Column("chat", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("figure", LargeBinary, nullable=False),
    Index("plots_owner", "owner", "seq"),
    Index("plots_created", "created"),
    Index("plots_chat", "chat", "message", "seq"),
    sqlite_autoincrement=True,
)
"""`chat` is the id of a chat, `message` that of one of its messages. The end user is the chat's."""

sessions = Table(
    "sessions",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("created", Number, nullable=False),
    Column("bytes", Number, nullable=False),
    Column("end_user", Text),
    Column("safety_identifier", Text),
    Column("agent", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("used", Number, nullable=False),
    Index("sessions_owner", "owner", "seq"),
    Index("sessions_created", "created"),
    Index("sessions_name", "owner", "agent", "name", unique=True),
    Index("sessions_used", "used"),
    sqlite_autoincrement=True,
)
"""`agent` is an empty text where there is none. `end_user` is there where the session is named by it."""

session_turns = Table(
    "session_turns",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("created", Number, nullable=False),
    Column("bytes", Number, nullable=False),
    Column("end_user", Text),
    Column("safety_identifier", Text),
    Column("session", Text, nullable=False),
    Column("messages", LargeBinary, nullable=False),
    Index("session_turns_owner", "owner", "seq"),
    Index("session_turns_created", "created"),
    Index("session_turns_session", "session", "seq"),
    sqlite_autoincrement=True,
)

memories = Table(
    "memories",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("created", Number, nullable=False),
    Column("bytes", Number, nullable=False),
    Column("end_user", Text),
    Column("safety_identifier", Text),
    Column("agent", Text, nullable=False),
    Column("fact", LargeBinary, nullable=False),
    Index("memories_owner", "owner", "seq"),
    Index("memories_created", "created"),
    Index("memories_agent", "owner", "agent", "end_user", "seq"),
    sqlite_autoincrement=True,
)
"""What agents remember; `end_user` is whom a fact is about."""

files = Table(
    "files",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("created", Number, nullable=False),
    Column("bytes", Number, nullable=False),
    Column("end_user", Text),
    Column("safety_identifier", Text),
    Column("purpose", Text, nullable=False),
    Column("complete", Boolean, nullable=False),
    Column("expires", Number),
    Column("about", LargeBinary, nullable=False),
    Index("files_owner", "owner", "seq"),
    Index("files_created", "created"),
    Index("files_expires", "expires"),
    sqlite_autoincrement=True,
)
"""`bytes` are those of the content, which is in `file_chunks`. One that is not `complete`, or has expired, is
not found."""

file_chunks = Table(
    "file_chunks",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("created", Number, nullable=False),
    Column("bytes", Number, nullable=False),
    Column("end_user", Text),
    Column("safety_identifier", Text),
    Column("file", Text, nullable=False),
    Column("at", Number, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index("file_chunks_owner", "owner", "seq"),
    Index("file_chunks_created", "created"),
    Index("file_chunks_file", "file", "at", unique=True),
    sqlite_autoincrement=True,
)
"""`at` is where in the file a chunk begins. Its `bytes` are 0: they count with the file."""

batches = Table(
    "batches",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("created", Number, nullable=False),
    Column("bytes", Number, nullable=False),
    Column("end_user", Text),
    Column("safety_identifier", Text),
    Column("status", Text, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("ends", Number, nullable=False),
    Column("holder", Text),
    Column("until", Number, nullable=False),
    Column("input_file", Text, nullable=False),
    Column("output_file", Text),
    Column("error_file", Text),
    Column("total", Number, nullable=False),
    Column("completed", Number, nullable=False),
    Column("failed", Number, nullable=False),
    Column("prompt_tokens", Number, nullable=False),
    Column("cached_tokens", Number, nullable=False),
    Column("completion_tokens", Number, nullable=False),
    Column("reasoning_tokens", Number, nullable=False),
    Column("about", LargeBinary, nullable=False),
    Index("batches_owner", "owner", "seq"),
    Index("batches_created", "created"),
    Index("batches_status", "status", "seq"),
    sqlite_autoincrement=True,
)
"""`ends`: when its window does. `holder` and `until`: the server that looks through its file, or ends it, and
the time by which that says that it still does."""

batch_lines = Table(
    "batch_lines",
    metadata,
    Column(
        "batch",
        Number,
        ForeignKey("batches.seq", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("number", Number, primary_key=True, autoincrement=False),
    Column("at", Number, nullable=False),
    Column("length", Number, nullable=False),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("done", Boolean, nullable=False),
    Column("holder", Text),
    Column("until", Number, nullable=False),
    Index("batch_lines_name", "batch", "name", unique=True),
    Index("batch_lines_next", "batch", "done", "prefix", "number"),
    sqlite_with_rowid=False,
)
"""Where the lines of a batch's file are. `name` stands for the `custom_id`, `prefix` for what the prompt
begins with; both are keyed hashes. `holder` and `until` as above: the server that answers it."""

RAW = frozenset({"data"})
"""Contents that are any bytes; all others are JSON."""

for _table in (
    memories,
    files,
    file_chunks,
    batches,
    chat_completions,
    plots,
    responses,
    conversations,
    conversation_items,
    sessions,
    session_turns,
):
    for _name in ("end_user", "safety_identifier"):
        _column = _table.c[_name]
        Index(
            f"{_table.name}_{_name}",
            _column,
            sqlite_where=_column.is_not(None),
            postgresql_where=_column.is_not(None),
        )

response_items = Table(
    "response_items",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column(
        "seq",
        Number,
        ForeignKey("responses.seq", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Index("response_items_seq", "seq"),
    sqlite_with_rowid=False,
)
"""Which response has an item, among those that it was given or those that it gave."""

chat_completion_metadata = Table(
    "chat_completion_metadata",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column(
        "seq",
        Number,
        ForeignKey("chat_completions.seq", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Index("chat_completion_metadata_seq", "seq"),
    sqlite_with_rowid=False,
)
"""The pairs of `metadata`, for the filter of lists."""

agents = Table(
    "agents",
    metadata,
    Column("name", Text, primary_key=True),
    Column("definition", LargeBinary, nullable=False),
    Column("created", Number, nullable=False),
    Column("updated", Number, nullable=False),
    sqlite_with_rowid=False,
)
"""Agents are the operator's, and no key's objects."""

totals = Table(
    "totals",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("owner", Text, primary_key=True),
    Column("objects", Number, nullable=False),
    Column("bytes", Number, nullable=False),
    sqlite_with_rowid=False,
)
"""How much each owner has of each kind; changed in the transaction that changes the objects."""

deleted = Table(
    "deleted",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("seq", Number, nullable=False),
    Column("at", Number, nullable=False),
    Index("deleted_at", "at"),
    sqlite_with_rowid=False,
)
"""Where deleted objects stood, for a day: a client may delete a page, and ask for the one behind it."""

data_keys = Table(
    "data_keys",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("server_key", Text, nullable=False),
    Column("key", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""The keys that owners' contents are encrypted with, themselves encrypted with a server key, whose id is
`server_key`."""

idempotency = Table(
    "idempotency",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("holder", Text, nullable=False),
    Column("object", Text),
    Column("until", Number, nullable=False),
    Index("idempotency_until", "until"),
    Index("idempotency_object", "object"),
    sqlite_with_rowid=False,
)
"""The `Idempotency-Key` of requests that store something. Of one under way `object` is null, and its server
renews `until`; that of one with an object (its id, or an array of items' `seq`) is a day later. `holder` is
the one request that may change it."""

KINDS: Mapping[str, Table] = {
    "plots": plots,
    "chats": chat_completions,
    "responses": responses,
    "conversation_items": conversation_items,
    "conversations": conversations,
    "session_turns": session_turns,
    "sessions": sessions,
    "memories": memories,
    "batches": batches,
    "file_chunks": file_chunks,
    "files": files,
}
"""The kinds of objects, under the names that settings and receipts give them. Each table has the columns
seq, id, owner, created, bytes, end_user and safety_identifier. What goes with another stands before it, so
that receipts count it; and what writes into another, so that an erased batch begins no new file."""
