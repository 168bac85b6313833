"""``python -m unlearn_cli`` is ``unlearn``."""

from unlearn_cli.cli.app import app

if __name__ == "__main__":
    app(prog_name="unlearn")
