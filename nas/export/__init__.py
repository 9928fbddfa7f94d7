"""A network for a device: as integers, as a file of another format, and what of its scores that file keeps."""
