"""waitress, with our own connections, request parsing and threads."""

from .waitress_contract import check_names

check_names()  # before other modules here import missing names from it
