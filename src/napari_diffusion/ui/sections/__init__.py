"""The boxes below the form; each knows the rest of the widget through its context only."""
