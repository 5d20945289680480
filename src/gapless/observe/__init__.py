"""Observers of events: the audit document, and progress on a terminal or in plain lines."""
