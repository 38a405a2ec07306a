"""Where a request goes: the rows of the reference, what a path leads to, and addresses that lead nowhere."""
