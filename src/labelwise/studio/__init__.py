"""The studio: annotate in the browser, learn at once; a project is one SQLite file."""
