"""What operators do with stored data: copy, check, export and erase it."""
