"""One flow per job that a user schedules, and the command line."""
