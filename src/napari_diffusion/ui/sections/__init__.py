"""Foldable boxes below the form; each uses the rest of the widget through its context only."""
