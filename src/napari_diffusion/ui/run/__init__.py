"""Runs of the widget: requests, background tasks, the Run panel and kernel warm-up."""
