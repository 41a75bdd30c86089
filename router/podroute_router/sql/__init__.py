"""Pure: what is asked, as SQL and parameters. Shared by every backend that speaks SQL."""
