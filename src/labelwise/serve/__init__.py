"""The HTTP server: texts and label sets in, entities out. Needs the extra ``serve``."""
