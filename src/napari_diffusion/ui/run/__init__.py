"""Runs of the widget: requests, tasks in threads, the panel with Run, and compilation beforehand."""
