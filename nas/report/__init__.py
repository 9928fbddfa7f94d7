"""What a person or a program is shown: tables, rows, pictures, pages. Reads records only."""
