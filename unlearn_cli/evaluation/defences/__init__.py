"""What a scraper does against protection: one file for each defence, with its source."""
