"""The steps that make a default model: check, train, export, measure, card."""
