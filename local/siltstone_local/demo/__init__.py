"""``make demo``: receipts in, answers out, through the deployed template on the emulated AWS."""
