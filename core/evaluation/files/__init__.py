"""Windows from files, whoever made them, as a subject to judge."""
