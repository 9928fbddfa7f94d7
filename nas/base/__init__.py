"""What every part stands on: errors, files, records, settings, seeds, this machine."""
