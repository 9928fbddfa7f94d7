"""What is written beside exported files: complete by itself, without anything of this project."""
