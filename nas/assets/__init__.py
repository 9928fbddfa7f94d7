"""What all candidates of a run share, and is made before them."""
