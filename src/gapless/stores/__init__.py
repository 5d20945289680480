"""Where bars, the ledger and features are kept."""
