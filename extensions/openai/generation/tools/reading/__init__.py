"""What models write: the formats of their calls, and how calls are found in an answer."""
