"""Tools: what requests offer and demand, how calls are enforced, and how they are read."""
