"""Pages that explain the words of the widgets by animated pictures of the user's own image."""
