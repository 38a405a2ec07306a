"""From a parsed request to the events of an answer; no HTTP in here."""
