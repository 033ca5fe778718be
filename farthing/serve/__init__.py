"""`farthing serve`: an app behind its paywall, with logs, metrics and health for who runs it."""
