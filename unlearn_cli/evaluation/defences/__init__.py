"""The defences that a scraper may use against protection: a module for each, or for a few alike, with the source."""
