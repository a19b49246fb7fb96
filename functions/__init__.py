"""One small file per state: parse the event, call core, return a small result. No logic lives here."""
