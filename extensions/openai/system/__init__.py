"""What the machine and its disk give this process."""
