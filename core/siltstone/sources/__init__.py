"""What records are made from: receipts and texts."""
