"""Telling people: messages, the channels they go to, and the worker that sends them. Nothing here waits for a feed.

message    what there is to say: an alert fired or was withdrawn, a position changed, a feed's health, a report
channel    where it goes and how: address (never shown), texts, least severity, rate, retries
outbox     the durable list of what is to be sent; the lake keeps it
pace       when a channel may be used: the rate it allows, the wait after a failure
sender     apprise, and what its answers mean
notifier   the worker: outbox → channels, in order, each channel on its own thread
"""
