"""The formats of models' calls, and how calls are found in an answer."""
