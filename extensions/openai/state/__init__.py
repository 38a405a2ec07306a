"""What is kept: usage, and the store of objects that clients ask to keep.

The store's rules, and where each of them is:

- `store.py` is the door: it says whether anything is kept, and opens the database at its first use, because
  SQLAlchemy takes a tenth of a second and 25 MiB that a server without stored objects need not pay.
- "Stored" means committed: `Database.write` returns when the transaction has. Threads that write at the same
  time share one transaction (group commit): the first takes what the others have queued.
- There is one writer at a time, by `BEGIN IMMEDIATE` on SQLite and an advisory lock on PostgreSQL, so rows
  become visible in the order of their numbers. Lists are ordered by that number (`seq`), never by a time, and
  a page begins behind an id (`objects.py`).
- Every row has an owner: the lasting identity of the key that made it (`Caller.owner`). All look-ups name it,
  so the id of another's object is answered as an unknown id is.
- A table per kind of object (`tables.KINDS`). All have the columns that retention, erasure and export need,
  so these know no kind by name (`retention.py`).
- Bodies are JSON as bytes. What is searched for stands in columns beside them.
- The schema changes in numbered migrations, run from code before the server answers; the SQLite file is
  copied before. A newer schema, a damaged file and a file on a network file system are refused.
- With `--store off` nothing of a request is written anywhere; the answers to requests with `store` say so.
"""
