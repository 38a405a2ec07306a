"""What this process asks of other machines: downloads of pictures, and the tunnel."""
