"""What an operator wants to see at a glance: collections, versions, backlog, locks, the ledger. Reads only."""
