"""waitress, and what is changed of it: connections, heads, threads."""

from .waitress_contract import check_names

check_names()  # before a module here takes something from it that is not there
