"""The attackers that a protection is measured against, besides victims that train from scratch."""
